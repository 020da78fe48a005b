//! Simulated agents of one group, each over all of its lives: an agent that is started anew is another process with
//! the same uid, which runs nothing yet.

use super::{eventually, within};
use opamp_operator::opamp::proto::RemoteConfigStatuses;
use opamp_operator::sim::{self, Behaviour, Endpoint, Journal, Offer, Pace, Profile, Simulated};
use std::collections::BTreeSet;
use std::time::Duration;

/// Several agents with the attribute `test: NAME`.
pub struct Fleet {
    /// The value of the attribute.
    pub name: String,
    endpoint: Endpoint,
    key: u8,
    pace: Pace,
    agents: Vec<Member>,
}

struct Member {
    life: Simulated,
    attributes: Vec<(String, String)>,
    /// What it was offered in its earlier lives.
    past: Vec<Offer>,
}

impl Member {
    fn offers(&self) -> Vec<Offer> {
        self.past.iter().cloned().chain(self.life.journal().offers).collect()
    }
}

impl Fleet {
    /// A fleet without agents; `key` tells its agents from those of others.
    ///
    /// # Panics
    /// When the endpoint is none.
    pub fn new(endpoint: &str, name: &str, key: u8, heartbeat: Duration) -> Self {
        let last_backoff = Duration::from_secs(1);
        let pace = Pace { heartbeat, last_backoff, ..Pace::default() };
        let endpoint = endpoint.parse().expect("an endpoint");
        Self { name: name.to_owned(), endpoint, key, pace, agents: Vec::new() }
    }

    /// Starts more agents, which do this with every configuration.
    pub fn join(&mut self, agents: usize, behaviour: &Behaviour) {
        self.join_with(agents, behaviour, &[]);
    }

    /// Starts more agents with further attributes.
    pub fn join_with(&mut self, agents: usize, behaviour: &Behaviour, attributes: &[(&str, &str)]) {
        for _ in 0..agents {
            let attributes: Vec<(String, String)> =
                attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let life = self.live(self.agents.len(), &attributes, behaviour);
            self.agents.push(Member { life, attributes, past: Vec::new() });
        }
    }

    /// Ends these agents, each with a goodbye, and starts them anew: they run nothing, and do this from now on.
    pub async fn start_anew(&mut self, which: &BTreeSet<usize>, behaviour: &Behaviour) {
        let mut rest = Vec::new();
        for (index, member) in std::mem::take(&mut self.agents).into_iter().enumerate() {
            if !which.contains(&index) {
                rest.push(member);
                continue;
            }
            let Member { life, attributes, mut past } = member;
            past.extend(life.stop().await.offers);
            let life = self.live(index, &attributes, behaviour);
            rest.push(Member { life, attributes, past });
        }
        self.agents = rest;
    }

    /// How many agents there are.
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// What each agent was ever offered, oldest first.
    pub fn offers(&self) -> Vec<Vec<Offer>> {
        self.agents.iter().map(Member::offers).collect()
    }

    /// The agents that were ever offered this content.
    pub fn offered(&self, hash: &str) -> BTreeSet<usize> {
        let had = |offers: &[Offer]| offers.iter().any(|offer| content(offer) == hash);
        let offers = self.offers();
        (0..offers.len()).filter(|&index| had(&offers[index])).collect()
    }

    /// How often this content was offered in all.
    pub fn times_offered(&self, hash: &str) -> usize {
        self.offers().iter().flatten().filter(|offer| content(offer) == hash).count()
    }

    /// The agents that say that they have applied this content.
    pub fn running(&self, hash: &str) -> BTreeSet<usize> {
        let runs = |journal: &Journal| {
            let (said, outcome) = &journal.config;
            *outcome == RemoteConfigStatuses::Applied && content_of(said) == hash
        };
        (0..self.len()).filter(|&index| runs(&self.agents[index].life.journal())).collect()
    }

    /// Whether an agent has said anything of a configuration in this life.
    pub fn has_answered(&self, agent: usize) -> bool {
        self.agents[agent].life.journal().config.1 != RemoteConfigStatuses::Unset
    }

    /// How often each agent has connected in this life.
    pub fn connections(&self) -> Vec<usize> {
        self.agents.iter().map(|agent| agent.life.journal().connections).collect()
    }

    /// Waits until each agent has connected more often than `before` says.
    pub async fn return_after(&mut self, before: &[usize]) {
        for (agent, before) in self.agents.iter_mut().zip(before) {
            let back = agent.life.until(|journal| journal.connected && journal.connections > *before);
            within(format!("an agent of {} to return", self.name), back).await;
        }
    }

    /// Waits until each agent has been answered so many times more: time in which it could have been offered something.
    pub async fn hear(&mut self, answers: usize) {
        let heard: Vec<usize> = self.agents.iter().map(|agent| agent.life.journal().messages).collect();
        for (agent, heard) in self.agents.iter_mut().zip(heard) {
            let answered = agent.life.until(|journal| journal.messages >= heard + answers);
            within(format!("answers to an agent of {}", self.name), answered).await;
        }
    }

    /// Waits until so many agents were offered this content, and returns them.
    pub async fn until_offered(&self, hash: &str, agents: usize) -> BTreeSet<usize> {
        let what = format!("{agents} agents of {} to be offered {hash}", self.name);
        eventually(what, async || Some(self.offered(hash)).filter(|offered| offered.len() >= agents)).await
    }

    fn live(&self, index: usize, attributes: &[(String, String)], behaviour: &Behaviour) -> Simulated {
        let mut uid = [self.key; 16];
        uid[15] = u8::try_from(index).expect("few agents");
        let profile = Profile::new(uid).with("test", &self.name).with("host.name", &format!("host-{index}"));
        let profile = attributes.iter().fold(profile, |profile, (key, value)| profile.with(key, value));
        sim::spawn(sim::Agent::new(profile, behaviour.clone()), self.endpoint.clone(), self.pace)
    }
}

/// The content that an offer brings.
pub fn content(offer: &Offer) -> String {
    content_of(&offer.hash)
}

/// The content that a hash on the wire stands for: that of a correction has one more byte.
fn content_of(hash: &[u8]) -> String {
    hex::encode(hash.get(..32).unwrap_or_default())
}
