//! A notice as an event of PagerDuty's Events API v2. All that is told of one object is one alert.

use super::notice::{Detail, Kind, Notice, Severity, Turn};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Longest key of an alert, in bytes.
const MAX_KEY: usize = 255;
/// Longest summary, in characters: the API takes 1024.
const MAX_SUMMARY: usize = 1000;

/// The key of the alert: one for each object of a cluster, so that whatever ends the trouble ends the alert.
pub fn dedup_key(notice: &Notice, cluster: &str) -> String {
    let key = format!("opamp-operator/{cluster}/{}", notice.subject());
    if key.len() <= MAX_KEY {
        return key;
    }
    format!("opamp-operator/{}", hex::encode(Sha256::digest(key)))
}

/// The event.
pub fn payload(
    notice: &Notice,
    cluster: &str,
    routing_key: &str,
    severities: &BTreeMap<Kind, Severity>,
    left_out: u64,
) -> Value {
    let resolves = notice.kind.turn() == Turn::Relief;
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": if resolves { "resolve" } else { "trigger" },
        "dedup_key": dedup_key(notice, cluster),
    });
    if resolves {
        return event;
    }
    let (class, group) = match &notice.detail {
        Detail::Rollout(rollout) => ("rollout", rollout.group.as_str()),
        Detail::Group(_) => ("agents", notice.name.as_str()),
    };
    let severity = severities.get(&notice.kind).copied().unwrap_or(notice.severity);
    let mut details = json!({
        "event": notice.kind.as_str(),
        "reason": notice.reason,
        "message": notice.message,
        "namespace": notice.namespace,
        "object": notice.object_kind(),
        "name": notice.name,
        "detail": notice.detail,
    });
    if left_out > 0 {
        details["leftOut"] = json!(left_out);
    }
    let source = if cluster.is_empty() { "opamp-operator" } else { cluster };
    event["payload"] = json!({
        "summary": cut(&format!("{}: {}", notice.title(), notice.message)),
        "source": source,
        "severity": severity,
        "timestamp": notice.time.to_string(),
        "component": notice.subject(),
        "group": group,
        "class": class,
        "custom_details": details,
    });
    event["client"] = json!("opamp-operator");
    event
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_SUMMARY {
        return text.to_owned();
    }
    text.chars().take(MAX_SUMMARY).chain(['…']).collect()
}
