//! An agent's message in the operator's own terms. The only place that reads the wire types into the domain.

use super::proto::{
    AgentDescription, AgentToServer, AvailableComponents, ComponentDetails, ComponentHealth,
    ConnectionSettingsStatus, ConnectionSettingsStatuses, EffectiveConfig, KeyValue, RemoteConfigStatus,
    RemoteConfigStatuses, any_value,
};
use crate::config::{ConfigFile, ConfigHash, Form, Inventory};
use crate::fleet::{
    Attributes, BuildKey, BuildReport, Capabilities, ConfigReport, Description, Missed, Outcome, Report,
    SettingsReport,
};

/// What a message says. What it leaves out is unchanged; capabilities of 0 are left out, because heartbeats of
/// real clients have none.
pub fn report(message: AgentToServer, full: bool) -> Report {
    Report {
        principal: None,
        full,
        description: message.agent_description.map(description),
        capabilities: capabilities(message.capabilities),
        healthy: message.health.as_ref().map(|health| health.healthy),
        started: message.health.as_ref().and_then(started),
        build: message.available_components.and_then(build),
        config: message.remote_config_status.map(config),
        settings: message.connection_settings_status.as_ref().map(|status| settings(status).into()),
        shows: message.effective_config.is_some(),
        number: message.sequence_num,
        missed: Missed::Nothing,
    }
}

/// Drops the attributes of a message that are beyond the limit in number, or in text, or have too long a key; true if
/// there are such. Identifying ones are kept first.
pub fn cut_attributes(message: &mut AgentToServer, most: usize) -> bool {
    let Some(description) = &mut message.agent_description else { return false };
    let count = |description: &AgentDescription| {
        description.identifying_attributes.len() + description.non_identifying_attributes.len()
    };
    let given = count(description);
    let mut room = Room { attributes: most, bytes: Attributes::MAX_BYTES };
    description.identifying_attributes.retain(|pair| room.takes(pair));
    description.non_identifying_attributes.retain(|pair| room.takes(pair));
    count(description) < given
}

/// What there is room for in an agent's attributes.
struct Room {
    attributes: usize,
    bytes: usize,
}

impl Room {
    fn takes(&mut self, pair: &KeyValue) -> bool {
        let value = match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text.len().min(Attributes::MAX_VALUE_BYTES),
            _ => 0,
        };
        let bytes = pair.key.len() + value;
        let fits = self.attributes > 0 && pair.key.len() <= Attributes::MAX_KEY_BYTES && bytes <= self.bytes;
        if fits {
            self.attributes -= 1;
            self.bytes -= bytes;
        }
        fits
    }
}

/// What an agent was built with. Agents send the hash alone until they are asked for more.
fn build(available: AvailableComponents) -> Option<BuildReport> {
    if available.hash.is_empty() {
        return None;
    }
    let types = |section: ComponentDetails| section.sub_component_map.into_keys().collect();
    let told = !available.components.is_empty();
    let sections = available.components.into_iter().map(|(name, section)| (name, types(section)));
    let components = told.then(|| Inventory::new(sections));
    Some(BuildReport { key: BuildKey::of(&available.hash), components })
}

/// When a process was started; 0 means that it does not run.
fn started(health: &ComponentHealth) -> Option<i64> {
    let seconds = health.start_time_unix_nano / 1_000_000_000;
    i64::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}

/// A message's capabilities, if it has any.
pub fn capabilities(bits: u64) -> Option<Capabilities> {
    (bits != 0).then_some(Capabilities(bits))
}

/// The files of an effective configuration.
pub fn effective(config: EffectiveConfig) -> Vec<ConfigFile> {
    let files = config.config_map.into_iter().flat_map(|map| map.config_map);
    files.map(|(name, object)| ConfigFile::new(name, object.content_type, &object.body[..])).collect()
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

/// What became of connection settings. The agent's words are not taken: they may repeat a token.
fn settings(status: &ConnectionSettingsStatus) -> SettingsReport {
    let hash = ConfigHash::from_wire(&status.last_connection_settings_hash);
    SettingsReport {
        hash: hash.and_then(|(hash, form)| (form == Form::Plain).then_some(hash)),
        failed: status.status() == ConnectionSettingsStatuses::Failed,
    }
}

fn config(status: RemoteConfigStatus) -> ConfigReport {
    let outcome = match status.status() {
        RemoteConfigStatuses::Unset => Outcome::Unset,
        RemoteConfigStatuses::Applying => Outcome::Applying,
        RemoteConfigStatuses::Applied => Outcome::Applied,
        RemoteConfigStatuses::Failed => Outcome::Failed(status.error_message),
    };
    let (hash, form) = ConfigHash::from_wire(&status.last_remote_config_hash).unzip();
    ConfigReport { hash, form: form.unwrap_or_default(), outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opamp::proto::{AnyValue, ArrayValue};
    use any_value::Value;

    /// The text under which a selector finds an attribute with this value.
    fn as_attribute(value: Option<Value>) -> Option<String> {
        let pair = KeyValue { key: "key".to_owned(), value: Some(AnyValue { value }) };
        let described = AgentDescription { identifying_attributes: vec![pair], ..Default::default() };
        let report =
            report(AgentToServer { agent_description: Some(described), ..Default::default() }, false);
        report.description?.attributes.get("key").map(str::to_owned)
    }

    #[test]
    fn attributes_of_text_truth_and_whole_numbers_are_kept() {
        for (value, expected) in [
            (Some(Value::StringValue("text".to_owned())), Some("text")),
            (Some(Value::StringValue(String::new())), Some("")),
            (Some(Value::BoolValue(true)), Some("true")),
            (Some(Value::IntValue(-7)), Some("-7")),
            (Some(Value::DoubleValue(1.0)), None),
            (Some(Value::BytesValue(vec![1])), None),
            (Some(Value::ArrayValue(ArrayValue::default())), None),
            (None, None),
        ] {
            let shown = format!("{value:?}");
            assert_eq!(as_attribute(value).as_deref(), expected, "{shown}");
        }
    }

    #[test]
    fn status_of_a_configuration_is_read_with_its_hash() {
        const PLAIN: Form = Form::Plain;
        for (length, status, hash, form, outcome) in [
            (32, 1, Some(ConfigHash::from_bytes([7; 32])), PLAIN, Outcome::Applied),
            (33, 2, Some(ConfigHash::from_bytes([7; 32])), Form::Correction(7), Outcome::Applying),
            (32, 3, Some(ConfigHash::from_bytes([7; 32])), PLAIN, Outcome::Failed("why".to_owned())),
            (0, 0, None, PLAIN, Outcome::Unset),
            (20, 1, None, PLAIN, Outcome::Applied),
            (32, 99, Some(ConfigHash::from_bytes([7; 32])), PLAIN, Outcome::Unset),
        ] {
            let last_remote_config_hash = vec![7; length];
            let status =
                RemoteConfigStatus { last_remote_config_hash, status, error_message: "why".to_owned() };
            let message = AgentToServer { remote_config_status: Some(status), ..Default::default() };
            let expected = Some(ConfigReport { hash, form, outcome });
            assert_eq!(report(message, false).config, expected, "{length} bytes");
        }
    }

    #[test]
    fn what_a_message_leaves_out_is_left_out() {
        assert_eq!(report(AgentToServer::default(), false), Report::default());
        let start_time_unix_nano = 1_700_000_000_900_000_000;
        let health = Some(ComponentHealth { healthy: true, start_time_unix_nano, ..Default::default() });
        let message = AgentToServer { health, capabilities: 5, ..Default::default() };
        let expected = Report {
            full: true,
            healthy: Some(true),
            started: Some(1_700_000_000),
            capabilities: Some(Capabilities(5)),
            ..Default::default()
        };
        assert_eq!(report(message, true), expected);
    }

    #[test]
    fn build_is_known_by_its_hash_and_its_components_once_they_are_told() {
        let types = |names: &[&str]| {
            let details = |name: &&str| ((*name).to_owned(), ComponentDetails::default());
            ComponentDetails { sub_component_map: names.iter().map(details).collect(), ..Default::default() }
        };
        let read = |hash: &[u8], components: &[(&str, ComponentDetails)]| {
            let components = components.iter().map(|(name, details)| ((*name).to_owned(), details.clone()));
            let available = AvailableComponents { components: components.collect(), hash: hash.to_vec() };
            report(AgentToServer { available_components: Some(available), ..Default::default() }, false).build
        };
        let key = BuildKey::of(b"hash");
        assert_eq!(read(b"hash", &[]), Some(BuildReport { key, components: None }));
        let expected = Inventory::new([("receivers", vec!["nop".to_owned(), "otlp".to_owned()])]);
        let told = read(b"hash", &[("receivers", types(&["otlp", "nop"])), ("other", types(&["x"]))]);
        assert_eq!(told, Some(BuildReport { key, components: Some(expected) }));
        assert_eq!(
            read(b"", &[("receivers", types(&["otlp"]))]),
            None,
            "without a hash nobody could ask once"
        );
    }
}
