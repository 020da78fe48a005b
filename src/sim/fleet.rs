//! A whole fleet of simulated agents, counted.

use super::agent::Agent;
use super::endpoint::Endpoint;
use super::habits::Behaviour;
use super::observer::Tally;
use super::profile::Profile;
use super::runner::{Pace, run};
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A fleet to simulate.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Where all agents connect to.
    pub endpoint: Endpoint,
    /// How many there are.
    pub agents: usize,
    /// What they do with a configuration.
    pub behaviour: Behaviour,
    /// How many of them fail instead.
    pub failing: Share,
    /// Whether they also report what is in effect.
    pub shows_effective: bool,
    /// Attributes of all of them.
    pub attributes: Vec<(String, String)>,
    /// Makes their uids: the same seed, the same agents.
    pub seed: u64,
    /// When they speak.
    pub pace: Pace,
}

/// A part of a fleet: a percentage, or a count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    /// So many agents.
    Count(usize),
    /// So many of a hundred.
    Percent(f64),
}

/// A text that is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a share is a count such as 5, or a percentage such as 10%")]
pub struct ShareError;

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Count).map_err(|_| ShareError),
            Some(percent) => match percent.parse() {
                Ok(percent @ 0.0..=100.0) => Ok(Self::Percent(percent)),
                _ => Err(ShareError),
            },
        }
    }
}

impl Share {
    /// How many of so many agents that is, rounded to the nearest.
    pub fn of(self, agents: usize) -> usize {
        match self {
            Self::Count(count) => count.min(agents),
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "no fleet is so large, and the share is at most all of it"
            )]
            Self::Percent(percent) => (agents as f64 * percent / 100.0).round() as usize,
        }
    }
}

/// Runs a fleet until `stop` turns true, and until every agent has said goodbye then.
pub async fn run_fleet(fleet: Fleet, tally: Arc<Tally>, stop: watch::Receiver<bool>) {
    let endpoint = Arc::new(fleet.endpoint.clone());
    let mut agents = JoinSet::new();
    for index in 0..fleet.agents {
        agents.spawn(run(fleet.agent(index), endpoint.clone(), fleet.pace, tally.clone(), stop.clone()));
    }
    while agents.join_next().await.is_some() {}
}

impl Fleet {
    /// The agent with this number, from 0. The first ones fail; their uids say nothing of that.
    fn agent(&self, index: usize) -> Agent {
        let uid = uid(self.seed, index as u64);
        let mut profile =
            Profile::new(uid).with("host.name", &format!("sim-{index:05}")).with("os.type", "linux");
        profile.identifying.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
        profile.identifying.push(("service.instance.id".to_owned(), hex::encode(uid)));
        profile.attributes.extend(self.attributes.iter().cloned());
        let profile = if self.shows_effective { profile.showing_effective() } else { profile };
        let behaviour = if index < self.failing.of(self.agents) {
            Behaviour::Fail("fleetsim was told to fail".to_owned())
        } else {
            self.behaviour.clone()
        };
        Agent::new(profile, behaviour)
    }
}

/// The uid of an agent: two numbers of the splitmix64 sequence that is the agent's own, marked as a UUID of
/// version 8, which is for such uses.
fn uid(seed: u64, index: u64) -> [u8; 16] {
    let start = mix(seed ^ mix(index));
    let random = (u128::from(mix(start)) << 64) | u128::from(mix(start.wrapping_add(1)));
    uuid::Builder::from_custom_bytes(random.to_be_bytes()).into_uuid().into_bytes()
}

/// One step of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn shares_are_counts_or_percentages() {
        for (text, of_ten) in [("0", 0), ("3", 3), ("20", 10), ("0%", 0), ("25%", 3), ("100%", 10)] {
            assert_eq!(text.parse::<Share>().map(|share| share.of(10)), Ok(of_ten), "{text}");
        }
        for text in ["", "-1", "101%", "%", "a%", "NaN%"] {
            assert_eq!(text.parse::<Share>(), Err(ShareError), "{text}");
        }
    }

    #[test]
    fn seed_makes_the_same_distinct_agents() {
        let uids = |seed| (0..1000).map(|index| uid(seed, index)).collect::<BTreeSet<_>>();
        assert_eq!((uids(1).len(), uids(1) == uids(1)), (1000, true));
        assert!(uids(1).is_disjoint(&uids(2)));
    }

    #[test]
    fn agents_show_what_is_in_effect_if_their_fleet_does() {
        for shows_effective in [false, true] {
            let fleet = Fleet {
                endpoint: "ws://127.0.0.1/".parse().expect("an endpoint"),
                agents: 1,
                behaviour: Behaviour::Apply,
                failing: Share::Count(0),
                shows_effective,
                attributes: Vec::new(),
                seed: 1,
                pace: Pace::default(),
            };
            assert_eq!(fleet.agent(0).hello().effective_config.is_some(), shows_effective);
        }
    }
}
