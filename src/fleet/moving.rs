//! How the agents of a Secret get from one of its tokens to another: each is told once, and then comes with it or not.
//!
//! A wrong address would cost every agent that is told. So the first one is told alone, and the next when some have
//! come with the new token: never more at a time than have, and never more than a tenth.

use super::{Link, PrincipalMark, TokenName, most_at_once};
use crate::config::ConfigHash;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// For how long an agent that was told counts as on its way. Clients try again for up to a minute.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(1);

/// The tokens of all Secrets, as far as agents are to be told of them.
#[derive(Clone, Default)]
pub struct Tokens {
    /// All of them, each with its namespace.
    pub known: Vec<(Arc<str>, TokenName)>,
    /// The token that the agents of a Secret are to use from now on.
    pub successors: HashMap<PrincipalMark, Successor>,
}

/// The token that the agents of a Secret are to use. No `Debug`: it is in the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Successor {
    /// Its data key.
    pub key: Arc<str>,
    /// Stands for the payload.
    pub hash: ConfigHash,
    /// The settings of the connection as they go over the wire.
    pub payload: Bytes,
}

/// Which settings a message to an agent is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those of its connection to the server.
    Connection,
    /// Those of its own telemetry.
    Telemetry,
}

/// The hash under which settings go out. It stands for all that an agent is to be told, also what is left out of this
/// message (specification, `ConnectionSettingsOffers.hash`), and for what the message is about: else nobody could tell
/// which of them an agent refuses.
pub fn wire_hash(part: Part, connection: Option<ConfigHash>, telemetry: Option<ConfigHash>) -> ConfigHash {
    let (connection, telemetry) = match (connection, telemetry) {
        (Some(one), None) | (None, Some(one)) => return one,
        (None, None) => return ConfigHash::from_bytes([0; 32]),
        (Some(connection), Some(telemetry)) => (connection, telemetry),
    };
    let part: &[u8] = match part {
        Part::Connection => b"connection",
        Part::Telemetry => b"telemetry",
    };
    let digest = Sha256::new().chain_update(connection.as_bytes()).chain_update(telemetry.as_bytes());
    ConfigHash::from_bytes(digest.chain_update(part).finalize().into())
}

/// Where an agent is that uses another token than it is to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moving {
    /// The settings that this is about.
    pub to: ConfigHash,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is told next.
    Chosen,
    /// It was told over this link.
    Told(Link, Timestamp),
    /// It has said no, or come again with the token that it had.
    Stays,
}

impl Moving {
    /// It is the agent's turn to be told of these settings.
    pub fn chosen(to: ConfigHash) -> Self {
        Self { to, step: Step::Chosen }
    }

    /// Whether it is still to be told.
    pub fn is_chosen(self) -> bool {
        self.step == Step::Chosen
    }

    /// It is being told over this link.
    #[must_use]
    pub fn told(self, link: Link, now: Timestamp) -> Self {
        Self { step: Step::Told(link, now), ..self }
    }

    /// It has said that it cannot take these settings.
    pub fn refused(to: ConfigHash) -> Self {
        Self { to, step: Step::Stays }
    }

    /// The agent speaks over this link, and not with the token that it is to use. Over another link than the one on
    /// which it was told, that is its answer.
    #[must_use]
    pub fn speaks(self, link: Link) -> Self {
        match self.step {
            Step::Told(told, _) if told != link => Self { step: Step::Stays, ..self },
            _ => self,
        }
    }

    /// Whether it may be about to come with the other token.
    pub fn is_on_its_way(self, now: Timestamp) -> bool {
        match self.step {
            Step::Chosen => true,
            Step::Told(_, at) => now.duration_since(at) < ON_ITS_WAY,
            Step::Stays => false,
        }
    }
}

/// The agents of a Secret on this replica, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Those that are connected.
    pub connected: usize,
    /// Those among them that use the token that they are to use.
    pub arrived: usize,
    /// Those that were told and may be about to come with it.
    pub on_their_way: usize,
}

impl Progress {
    /// How many more may be told now.
    pub fn places(self) -> usize {
        self.arrived.clamp(1, most_at_once(self.connected)).saturating_sub(self.on_their_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{A, OTHER_SOCKET, SOCKET, at, hash};

    #[test]
    fn first_agent_is_told_alone_then_as_many_as_have_arrived_and_at_most_a_tenth() {
        for (connected, arrived, on_their_way, expected) in [
            (0, 0, 0, 1),
            (1, 0, 0, 1),
            (1000, 0, 0, 1),
            (1000, 0, 1, 0),
            (1000, 1, 0, 1),
            (1000, 2, 0, 2),
            (1000, 50, 0, 50),
            (1000, 50, 20, 30),
            (1000, 500, 0, 100),
            (1000, 500, 150, 0),
            (9, 8, 0, 1),
            (19, 18, 0, 1),
            (20, 18, 0, 2),
        ] {
            let progress = Progress { connected, arrived, on_their_way };
            assert_eq!(progress.places(), expected, "{progress:?}");
        }
    }

    #[test]
    fn agent_that_was_told_is_on_its_way_for_a_minute_or_until_it_comes_as_it_was() {
        let chosen = Moving::chosen(hash(A));
        assert!(chosen.is_chosen() && chosen.is_on_its_way(at(9999)));
        assert_eq!(chosen.speaks(OTHER_SOCKET), chosen, "nothing was said to it yet");
        let told = chosen.told(SOCKET, at(0));
        assert_eq!((told.is_chosen(), told.speaks(SOCKET)), (false, told));
        assert!(told.is_on_its_way(at(59)) && !told.is_on_its_way(at(60)));
        assert_eq!(told.speaks(OTHER_SOCKET), Moving::refused(hash(A)));
        assert!(!Moving::refused(hash(A)).is_on_its_way(at(0)));
        let polling = chosen.told(Link::Polling, at(0));
        assert_eq!(polling.speaks(Link::Polling), polling);
    }
}
