//! A notice as a CloudEvent 1.0 in JSON. docs/notifications.md has the schema; it changes only by new members, or under
//! another version in `type`.

use super::notice::Notice;
use serde_json::{Value, json};

/// How the types of events begin: the API group, the other way round.
const TYPES: &str = "dev.opamp.fleet";
/// The version of the schema of `data`.
const VERSION: &str = "v1";

/// The event.
pub fn payload(notice: &Notice, cluster: &str, left_out: u64) -> Value {
    let slash = if cluster.is_empty() { "" } else { "/" };
    json!({
        "specversion": "1.0",
        "id": notice.id,
        "source": format!("/opamp-operator{slash}{cluster}"),
        "type": format!("{TYPES}.{}.{VERSION}", notice.kind.event_type()),
        "subject": notice.subject(),
        "time": notice.time.to_string(),
        "datacontenttype": "application/json",
        "data": {
            "event": notice.kind.as_str(),
            "cluster": cluster,
            "object": {"kind": notice.object_kind(), "namespace": notice.namespace, "name": notice.name},
            "severity": notice.severity,
            "reason": notice.reason,
            "title": notice.title(),
            "message": notice.message,
            "detail": notice.detail,
            "leftOut": left_out,
        },
    })
}
