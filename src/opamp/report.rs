//! An agent's message in the operator's own terms. The only place that reads the wire types into the domain.

use super::proto::{
    AgentDescription, AgentToServer, KeyValue, RemoteConfigStatus, RemoteConfigStatuses, any_value,
};
use crate::config::ConfigHash;
use crate::fleet::{Attributes, Capabilities, ConfigReport, Description, Outcome, Report};

/// What a message says. What it leaves out is unchanged; capabilities of 0 are left out, because heartbeats of
/// real clients have none.
pub fn report(message: AgentToServer, full: bool) -> Report {
    Report {
        full,
        description: message.agent_description.map(description),
        capabilities: capabilities(message.capabilities),
        healthy: message.health.map(|health| health.healthy),
        config: message.remote_config_status.map(config),
    }
}

/// A message's capabilities, if it has any.
pub fn capabilities(bits: u64) -> Option<Capabilities> {
    (bits != 0).then_some(Capabilities(bits))
}

fn description(description: AgentDescription) -> Description {
    let identifying = description.identifying_attributes.into_iter().filter_map(attribute);
    let other = description.non_identifying_attributes.into_iter().filter_map(attribute);
    Description { attributes: Attributes::new(identifying, other) }
}

/// An attribute as text; nothing for the kinds that no selector matches (design, section 2).
fn attribute(pair: KeyValue) -> Option<(String, String)> {
    use any_value::Value;
    let text = match pair.value?.value? {
        Value::StringValue(text) => text,
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(_) | Value::ArrayValue(_) | Value::KvlistValue(_) | Value::BytesValue(_) => {
            return None;
        }
    };
    Some((pair.key, text))
}

fn config(status: RemoteConfigStatus) -> ConfigReport {
    let outcome = match status.status() {
        RemoteConfigStatuses::Unset => Outcome::Unset,
        RemoteConfigStatuses::Applying => Outcome::Applying,
        RemoteConfigStatuses::Applied => Outcome::Applied,
        RemoteConfigStatuses::Failed => Outcome::Failed(status.error_message),
    };
    ConfigReport { hash: ConfigHash::from_wire(&status.last_remote_config_hash), outcome }
}
