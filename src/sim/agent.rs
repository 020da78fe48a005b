//! What one agent says and does, without a connection and without a clock.

use super::files::{Files, in_one_file};
use super::habits::{Behaviour, Cure, Habits, Takes};
use super::profile::Profile;
use crate::config::ConfigHash;
use crate::opamp::proto::{
    AgentCapabilities, AgentConfigMap, AgentDescription, AgentDisconnect, AgentRemoteConfig, AgentToServer,
    AnyValue, CommandType, ComponentHealth, EffectiveConfig, KeyValue, RemoteConfigStatus,
    RemoteConfigStatuses, ServerToAgent, ServerToAgentCommand, ServerToAgentFlags, any_value,
};

/// When an agent was started that nobody gave a time, in seconds since 1970.
const STARTED: u64 = 1_767_225_600;

/// An agent.
#[derive(Clone)]
pub struct Agent {
    profile: Profile,
    behaviour: Behaviour,
    habits: Habits,
    /// The next message's number. It goes on over reconnects, as that of real clients does.
    sequence: u64,
    /// Whether the server has ever been sent the full state.
    introduced: bool,
    /// What it says of its configuration.
    config: RemoteConfigStatus,
    /// The hash of the last configuration that it applied.
    applied: Vec<u8>,
    /// The files that go with that, if the agent reports what is in effect or compares them.
    files: Files,
    healthy: bool,
    /// When it was last started, in seconds since 1970. Without a clock a restart takes one second.
    started: u64,
}

impl Agent {
    /// An agent that has just been started, with no configuration.
    pub fn new(profile: Profile, behaviour: Behaviour) -> Self {
        Self {
            profile,
            behaviour,
            habits: Habits::default(),
            sequence: 0,
            introduced: false,
            config: RemoteConfigStatus::default(),
            applied: Vec::new(),
            files: Files::default(),
            healthy: true,
            started: STARTED,
        }
    }

    /// The agent as if it had been started at this time, in seconds since 1970.
    #[must_use]
    pub fn started_at(mut self, seconds: u64) -> Self {
        self.started = seconds;
        self
    }

    /// The agent with habits that are not the usual ones.
    #[must_use]
    pub fn with(mut self, habits: Habits) -> Self {
        self.habits = habits;
        self
    }

    /// The agent's uid, which the server may have changed.
    pub fn uid(&self) -> [u8; 16] {
        self.profile.uid
    }

    /// What the agent says of its configuration.
    pub fn config(&self) -> &RemoteConfigStatus {
        &self.config
    }

    /// Whether a configuration is being applied, which [`Agent::finish`] ends.
    pub fn is_applying(&self) -> bool {
        self.config.status() == RemoteConfigStatuses::Applying
    }

    /// Makes the agent do something else with the next configuration.
    pub fn set_behaviour(&mut self, behaviour: Behaviour) {
        self.behaviour = behaviour;
    }

    /// Gives the agent other habits.
    pub fn set_habits(&mut self, habits: Habits) {
        self.habits = habits;
    }

    /// Puts another configuration in effect behind the agent's back, as whoever has a shell on its host can do. It
    /// stays until the agent applies one anew.
    pub fn tamper(&mut self, text: impl Into<String>) -> Option<AgentToServer> {
        self.files.tamper(in_one_file(text.into()));
        self.show()
    }

    /// The files that are in effect, as far as the agent keeps them.
    pub fn in_effect(&self) -> AgentConfigMap {
        self.files.in_effect()
    }

    /// Whether the agent is well.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Makes the agent ill or well, which it reports if it is news.
    pub fn set_healthy(&mut self, healthy: bool) -> Option<AgentToServer> {
        let news = std::mem::replace(&mut self.healthy, healthy) != healthy;
        if news { self.tell_health() } else { None }
    }

    /// The first message of a connection: the full state, and on a reconnect next to nothing.
    pub fn hello(&mut self) -> AgentToServer {
        if self.introduced { self.heartbeat() } else { self.full_state() }
    }

    /// A message with the whole state.
    pub fn full_state(&mut self) -> AgentToServer {
        self.introduced = true;
        let description = AgentDescription {
            identifying_attributes: self.profile.identifying.iter().map(attribute).collect(),
            non_identifying_attributes: self.profile.attributes.iter().map(attribute).collect(),
        };
        AgentToServer { agent_description: Some(description), health: self.health(), ..self.status() }
    }

    /// A message about the agent's configuration, as far as it speaks of that.
    fn status(&mut self) -> AgentToServer {
        AgentToServer {
            remote_config_status: self
                .can(AgentCapabilities::ReportsRemoteConfig)
                .then(|| self.config.clone()),
            effective_config: self.effective(),
            ..self.heartbeat()
        }
    }

    fn can(&self, capability: AgentCapabilities) -> bool {
        self.profile.capabilities & capability as u64 != 0
    }

    /// What is in effect: the files as they came, which is more than a Collector reports and enough for a server.
    fn effective(&self) -> Option<EffectiveConfig> {
        let reports = self.can(AgentCapabilities::ReportsEffectiveConfig);
        reports.then(|| EffectiveConfig { config_map: Some(self.in_effect()) })
    }

    /// How it is. Only an agent that can be told to restart says when it was started.
    fn health(&self) -> Option<ComponentHealth> {
        let restarts = self.can(AgentCapabilities::AcceptsRestartCommand);
        let start_time_unix_nano = if restarts { self.started * 1_000_000_000 } else { 0 };
        let health = ComponentHealth { healthy: self.healthy, start_time_unix_nano, ..Default::default() };
        self.can(AgentCapabilities::ReportsHealth).then_some(health)
    }

    /// A message about health alone, if the agent reports that.
    fn tell_health(&mut self) -> Option<AgentToServer> {
        let health = Some(self.health()?);
        Some(AgentToServer { health, ..self.heartbeat() })
    }

    /// A message about what is in effect alone, if the agent reports that.
    fn show(&mut self) -> Option<AgentToServer> {
        let effective_config = Some(self.effective()?);
        Some(AgentToServer { effective_config, ..self.heartbeat() })
    }

    /// A message that only shows that the agent is there.
    pub fn heartbeat(&mut self) -> AgentToServer {
        let sequence_num = self.sequence;
        self.sequence += 1;
        AgentToServer {
            instance_uid: self.profile.uid.to_vec(),
            sequence_num,
            capabilities: self.profile.capabilities,
            ..Default::default()
        }
    }

    /// The last message before the agent goes.
    pub fn goodbye(&mut self) -> AgentToServer {
        AgentToServer { agent_disconnect: Some(AgentDisconnect {}), ..self.heartbeat() }
    }

    /// Takes in a message of the server, and says what to answer at once.
    pub fn receive(&mut self, message: &ServerToAgent) -> Vec<AgentToServer> {
        if message.instance_uid != self.profile.uid || message.error_response.is_some() {
            return Vec::new();
        }
        if let Some(command) = &message.command {
            return self.obeys(command).then(|| self.restart()).flatten().into_iter().collect();
        }
        let renamed =
            message.agent_identification.as_ref().and_then(|new| new.new_instance_uid[..].try_into().ok());
        if let Some(uid) = renamed {
            self.profile.uid = uid;
        }
        let mut replies = Vec::new();
        if message.flags & ServerToAgentFlags::ReportFullState as u64 != 0 {
            replies.push(self.full_state());
        }
        replies.extend(message.remote_config.as_ref().and_then(|offer| self.take(offer)));
        replies
    }

    /// Whether the agent does what it is told. A message with a command says nothing else to it, even if it does not.
    pub fn obeys(&self, command: &ServerToAgentCommand) -> bool {
        command.r#type == CommandType::Restart as i32 && self.can(AgentCapabilities::AcceptsRestartCommand)
    }

    /// Starts anew with what is in effect, tampered or not.
    fn restart(&mut self) -> Option<AgentToServer> {
        self.started += 1;
        self.healthy = (self.healthy || self.habits.cure == Cure::Restart) && !self.habits.frail;
        self.tell_health()
    }

    /// Begins to apply a configuration, if it is one that the agent takes.
    fn take(&mut self, offer: &AgentRemoteConfig) -> Option<AgentToServer> {
        let known = offer.config_hash == self.config.last_remote_config_hash;
        if self.behaviour == Behaviour::Silent || known && self.habits.takes != Takes::Everything {
            return None;
        }
        if self.holds(offer) {
            self.applied = offer.config_hash.to_vec();
            return Some(self.report(&offer.config_hash, RemoteConfigStatuses::Applied, ""));
        }
        if self.can(AgentCapabilities::ReportsEffectiveConfig) || self.habits.takes == Takes::NewContent {
            self.files.take(offer.config.clone());
        }
        Some(self.report(&offer.config_hash, RemoteConfigStatuses::Applying, ""))
    }

    /// Whether the agent believes that it has done already what is offered, whatever became of it then.
    fn holds(&self, offer: &AgentRemoteConfig) -> bool {
        let compares = self.habits.takes == Takes::NewContent && !self.is_applying();
        compares && offer.config.as_ref().is_some_and(|config| self.files.hold(config))
    }

    /// Ends applying, and says what came of it.
    pub fn finish(&mut self) -> Vec<AgentToServer> {
        if !self.is_applying() {
            return Vec::new();
        }
        let hash = self.config.last_remote_config_hash.clone();
        match self.behaviour.clone() {
            Behaviour::Fail(message) => vec![self.report(&hash, RemoteConfigStatuses::Failed, &message)],
            Behaviour::Rollback if !self.applied.is_empty() => self.roll_back(&hash),
            Behaviour::Refuse(message) if !self.applied.is_empty() && self.applied != hash => {
                vec![self.report(&hash, RemoteConfigStatuses::Failed, &message)]
            }
            Behaviour::Apply | Behaviour::Rollback | Behaviour::Refuse(_) | Behaviour::Silent => {
                self.apply(&hash)
            }
        }
    }

    fn apply(&mut self, hash: &[u8]) -> Vec<AgentToServer> {
        self.applied = hash.to_vec();
        let tampered = self.files.apply();
        let mut said = vec![self.report(hash, RemoteConfigStatuses::Applied, "")];
        if let Some(tampered) = tampered.filter(|_| self.habits.reverts) {
            self.files.tamper(tampered);
            said.extend(self.show());
        }
        let content = ConfigHash::from_wire(hash).map(|(content, _)| content);
        said.extend(self.habits.health_with(content).and_then(|healthy| self.set_healthy(healthy)));
        said
    }

    fn roll_back(&mut self, hash: &[u8]) -> Vec<AgentToServer> {
        let failed = self.report(hash, RemoteConfigStatuses::Failed, "the configuration was rolled back");
        self.files.go_back();
        let applied = self.applied.clone();
        vec![failed, self.report(&applied, RemoteConfigStatuses::Applied, "")]
    }

    fn report(&mut self, hash: &[u8], status: RemoteConfigStatuses, message: &str) -> AgentToServer {
        self.config = RemoteConfigStatus {
            last_remote_config_hash: hash.to_vec(),
            status: status.into(),
            error_message: message.to_owned(),
        };
        self.status()
    }
}

fn attribute((key, value): &(String, String)) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.clone())) };
    KeyValue { key: key.clone(), value: Some(value) }
}

#[cfg(test)]
mod tests;
