//! What a message of an agent carries, in one word for the metrics.

use super::proto::AgentToServer;

/// Nothing could be read.
pub const UNREADABLE: &str = "unreadable";
/// All words.
pub const ALL: [&str; 8] = [
    "disconnect",
    "description",
    "config_status",
    "effective_config",
    "health",
    "other",
    "heartbeat",
    UNREADABLE,
];

/// The first of these that the message carries. What begins an agent's session carries nearly all of them, and is told
/// by its description.
pub fn kind(message: &AgentToServer) -> &'static str {
    let other = message.package_statuses.is_some()
        || message.connection_settings_request.is_some()
        || message.custom_capabilities.is_some()
        || message.custom_message.is_some()
        || message.available_components.is_some()
        || message.connection_settings_status.is_some();
    let carried = [
        message.agent_disconnect.is_some(),
        message.agent_description.is_some(),
        message.remote_config_status.is_some(),
        message.effective_config.is_some(),
        message.health.is_some(),
        other,
        true,
    ];
    carried.iter().zip(ALL).find(|(carried, _)| **carried).map_or(UNREADABLE, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opamp::proto::{
        AgentDescription, AgentDisconnect, ComponentHealth, CustomMessage, EffectiveConfig,
        RemoteConfigStatus,
    };

    #[test]
    fn message_is_called_by_the_first_thing_that_it_carries() {
        let mut message = AgentToServer { sequence_num: 7, capabilities: 3, ..AgentToServer::default() };
        let mut kinds = vec![kind(&message)];
        message.custom_message = Some(CustomMessage::default());
        kinds.push(kind(&message));
        message.health = Some(ComponentHealth::default());
        kinds.push(kind(&message));
        message.effective_config = Some(EffectiveConfig::default());
        kinds.push(kind(&message));
        message.remote_config_status = Some(RemoteConfigStatus::default());
        kinds.push(kind(&message));
        message.agent_description = Some(AgentDescription::default());
        kinds.push(kind(&message));
        message.agent_disconnect = Some(AgentDisconnect::default());
        kinds.push(kind(&message));
        let expected: Vec<&str> = ALL.iter().rev().skip(1).copied().collect();
        assert_eq!(kinds, expected);
    }
}
