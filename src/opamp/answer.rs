//! What the server says to one message of an agent.

use super::offer::Encoded;
use super::proto::{
    AgentIdentification, CommandType, RetryInfo, ServerCapabilities, ServerErrorResponse,
    ServerErrorResponseType, ServerToAgent, ServerToAgentCommand, ServerToAgentFlags, server_error_response,
};
use super::settings;
use crate::fleet::{Agent, AgentKey, InstanceUid, Offer, Roster};
use jiff::Timestamp;
use std::time::Duration;

/// What this server does. It is said in every answer, not only in the first: that costs two bytes, and nobody has
/// to remember who has heard it.
const CAPABILITIES: u64 = ServerCapabilities::AcceptsStatus as u64
    | ServerCapabilities::OffersRemoteConfig as u64
    | ServerCapabilities::AcceptsEffectiveConfig as u64
    | ServerCapabilities::OffersConnectionSettings as u64;
/// Longest invalid uid that an error echoes, in bytes. Some old clients have uids of 26 or 36 characters, and
/// recognise only answers to those.
const MAX_ECHOED_BYTES: usize = 64;

/// An answer, in which the offer is still apart.
#[derive(Default)]
pub struct Answer {
    /// All but the remote config.
    pub message: ServerToAgent,
    /// The offer that goes with it.
    pub offer: Option<Offer>,
    /// Whether the agent has polled another replica since its last poll here, or may have.
    pub missed: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// It was taken in.
    Taken,
    /// It was bad.
    BadRequest,
    /// There was no place for it.
    Unavailable,
}

impl Reception {
    /// A fixed text for the metrics.
    pub fn result(self) -> &'static str {
        match self {
            Self::Taken => "ok",
            Self::BadRequest => "bad_request",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Answer {
    /// The answer that says nothing but that the message has come.
    pub fn plain(uid: InstanceUid) -> Self {
        let instance_uid = uid.as_bytes().to_vec();
        let message = ServerToAgent { instance_uid, capabilities: CAPABILITIES, ..Default::default() };
        Self { message, ..Self::default() }
    }

    /// Gives the agent another uid. It is told under the old one, or it would not know that it is meant.
    pub fn rename(old: InstanceUid, new: InstanceUid) -> Self {
        let mut answer = Self::plain(old);
        let new_instance_uid = new.as_bytes().to_vec();
        answer.message.agent_identification = Some(AgentIdentification { new_instance_uid });
        answer
    }

    /// Commands the agent to start anew. A command goes alone: all other fields would be ignored.
    pub fn restart(uid: InstanceUid) -> Self {
        let mut answer = Self::plain(uid);
        answer.message.command = Some(ServerToAgentCommand { r#type: CommandType::Restart.into() });
        answer
    }

    /// Whether this is a command.
    pub fn is_command(&self) -> bool {
        self.message.command.is_some()
    }

    /// The answer to what cannot be understood. An error goes alone: all other fields would be ignored.
    pub fn bad_request(instance_uid: &[u8], reason: &str) -> Self {
        let echoed = if instance_uid.len() <= MAX_ECHOED_BYTES { instance_uid } else { &[] };
        let error = ServerErrorResponse {
            r#type: ServerErrorResponseType::BadRequest.into(),
            error_message: reason.to_owned(),
            details: None,
        };
        let message = ServerToAgent {
            instance_uid: echoed.to_vec(),
            error_response: Some(error),
            ..Default::default()
        };
        Self { message, ..Self::default() }
    }

    /// The answer to an agent that there is no place for: it is to come back after a while. An error goes alone.
    pub fn unavailable(uid: InstanceUid, reason: &str, pause: Duration) -> Self {
        let retry_after_nanoseconds = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let error = ServerErrorResponse {
            r#type: ServerErrorResponseType::Unavailable.into(),
            error_message: reason.to_owned(),
            details: Some(server_error_response::Details::RetryInfo(RetryInfo { retry_after_nanoseconds })),
        };
        let instance_uid = uid.as_bytes().to_vec();
        let message = ServerToAgent { instance_uid, error_response: Some(error), ..Default::default() };
        Self { message, ..Self::default() }
    }

    /// Asks the agent for its full state.
    pub fn ask_full_state(&mut self) {
        self.message.flags |= ServerToAgentFlags::ReportFullState as u64;
    }

    /// Asks for the components that the agent was built with.
    pub fn ask_components(&mut self) {
        self.message.flags |= ServerToAgentFlags::ReportAvailableComponents as u64;
    }

    /// Adds what is due to an agent: an offer, and the question what it has in effect. That goes with every offer to an
    /// agent that cannot say what becomes of it, but shows what is in effect: it reports only changes unasked, and an
    /// offer may change nothing for it. Another token waits for a message without either: an agent that changes its
    /// connection may forget what else it was told.
    pub fn add_errands(&mut self, key: &AgentKey, roster: &mut Roster, now: Timestamp) {
        self.offer = roster.take_offer(key, now);
        let shows = self.offer.is_some() && roster.agent(key).is_some_and(Agent::shows_effective);
        if roster.ask_what_is_in_effect(key, now) || shows {
            self.ask_full_state();
        }
        // A supervisor that is told together with its configuration starts its Collector anew once.
        self.message.connection_settings = roster.take_telemetry(key).and_then(settings::telemetry);
        if self.offer.is_none() && self.message.connection_settings.is_none() {
            self.message.connection_settings = roster.take_move(key, now).map(settings::token);
        }
    }

    /// Whether there is more in it than that the message has come.
    pub fn says_something(&self) -> bool {
        self.offer.is_some() || self.message.flags != 0 || self.message.connection_settings.is_some()
    }

    /// What became of the message that this answers.
    pub fn reception(&self) -> Reception {
        match self.message.error_response.as_ref().map(ServerErrorResponse::r#type) {
            None => Reception::Taken,
            Some(ServerErrorResponseType::Unavailable) => Reception::Unavailable,
            Some(_) => Reception::BadRequest,
        }
    }

    /// The answer as it goes over the wire.
    pub fn encode(&self) -> Encoded {
        Encoded::new(&self.message, self.offer.as_ref())
    }
}
