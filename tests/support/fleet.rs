//! Simulated agents of one group, each over all of its lives: an agent that is started anew is another process with
//! the same uid, which runs nothing yet.

use super::{eventually, within};
use opamp_operator::opamp::proto::RemoteConfigStatuses;
use opamp_operator::sim::{
    self, Access, Behaviour, Endpoint, Habits, Journal, Offer, Pace, Profile, Refused, Simulated,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// When agents were first started if nothing else is said, in seconds since 1970; an hour later in each further life.
const FIRST_START: u64 = 1_767_225_600;

/// Several agents with the attribute `test: NAME`.
pub struct Fleet {
    /// The value of the attribute.
    pub name: String,
    endpoint: Endpoint,
    key: u8,
    pace: Pace,
    agents: Vec<Member>,
}

/// What is the same for agents that join together.
#[derive(Clone)]
pub struct Kind {
    /// What they do with every configuration.
    pub behaviour: Behaviour,
    /// What they do beside that.
    pub habits: Habits,
    /// Attributes beside those that all of the fleet have.
    pub attributes: Vec<(String, String)>,
    /// Whether they report what is in effect.
    pub shows_effective: bool,
    /// Whether they restart when they are told to.
    pub accepts_restarts: bool,
    /// When they were first started, in seconds since 1970.
    pub first_start: u64,
}

impl Kind {
    /// Those that only report what becomes of a configuration.
    pub fn new(behaviour: &Behaviour) -> Self {
        Self {
            behaviour: behaviour.clone(),
            habits: Habits::default(),
            attributes: Vec::new(),
            shows_effective: false,
            accepts_restarts: false,
            first_start: FIRST_START,
        }
    }

    /// Those that apply every configuration, and also report what is in effect.
    pub fn showing_effective() -> Self {
        Self { shows_effective: true, ..Self::new(&Behaviour::Apply) }
    }

    /// The kind with these habits.
    #[must_use]
    pub fn with(mut self, habits: Habits) -> Self {
        self.habits = habits;
        self
    }

    /// The kind that was first started at this time, in seconds since 1970.
    #[must_use]
    pub fn started_at(mut self, seconds: u64) -> Self {
        self.first_start = seconds;
        self
    }

    /// The kind that restarts when it is told to.
    #[must_use]
    pub fn accepting_restarts(mut self) -> Self {
        self.accepts_restarts = true;
        self
    }
}

struct Member {
    life: Simulated,
    kind: Kind,
    /// What happened to it in its earlier lives.
    past: Vec<Journal>,
}

impl Member {
    fn offers(&self) -> Vec<Offer> {
        self.lives(|journal| journal.offers.clone()).flatten().collect()
    }

    /// Something of each life, oldest first.
    fn lives<T>(&self, what: impl Fn(&Journal) -> T) -> impl Iterator<Item = T> {
        let now = self.life.journal();
        self.past.iter().chain([&now]).map(what).collect::<Vec<_>>().into_iter()
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

    /// The fleet, whose agents divide the pauses that servers tell them by so much.
    #[must_use]
    pub fn hasty(mut self, haste: u32) -> Self {
        self.pace.haste = haste;
        self
    }

    /// The same agents, which are let in by this token.
    ///
    /// # Panics
    /// When there are agents already.
    #[must_use]
    pub fn by_token(mut self, token: &str) -> Self {
        assert!(self.agents.is_empty(), "before they join");
        let header = ("authorization".to_owned(), format!("Bearer {token}"));
        self.endpoint = self.endpoint.with(Access::default().by_headers([header]));
        self
    }

    /// The same agents, which poll these replicas as well, each in its turn.
    ///
    /// # Panics
    /// When there are agents already.
    #[must_use]
    pub fn in_turn_with(mut self, others: &[&str]) -> Self {
        assert!(self.agents.is_empty(), "before they join");
        self.endpoint = self.endpoint.in_turn_with(others.iter().map(|&other| other.to_owned()));
        self
    }

    /// Starts more agents, which do this with every configuration.
    pub fn join(&mut self, agents: usize, behaviour: &Behaviour) {
        self.join_with(agents, behaviour, &[]);
    }

    /// Starts more agents with further attributes.
    pub fn join_with(&mut self, agents: usize, behaviour: &Behaviour, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.join_as(agents, &Kind { attributes: attributes.collect(), ..Kind::new(behaviour) });
    }

    /// Starts more agents of this kind.
    pub fn join_as(&mut self, agents: usize, kind: &Kind) {
        for _ in 0..agents {
            let life = self.live(self.agents.len(), kind, 0);
            self.agents.push(Member { life, kind: kind.clone(), past: Vec::new() });
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
            let Member { life, kind, mut past } = member;
            past.push(life.stop().await);
            let kind = Kind { behaviour: behaviour.clone(), ..kind };
            let life = self.live(index, &kind, past.len());
            rest.push(Member { life, kind, past });
        }
        self.agents = rest;
    }

    /// Puts another configuration in effect on an agent, behind its back; see [`Simulated::tamper`].
    pub fn tamper(&self, agent: usize, text: &str) {
        self.agents[agent].life.tamper(text);
    }

    /// Makes an agent ill until something cures it; see [`Habits::cure`].
    pub fn fall_ill(&self, agent: usize) {
        self.agents[agent].life.fall_ill();
    }

    /// Makes an agent well.
    pub fn recover(&self, agent: usize) {
        self.agents[agent].life.recover();
    }

    /// Makes an agent do something else with the next configuration, in this life.
    pub fn set_behaviour(&self, agent: usize, behaviour: &Behaviour) {
        self.agents[agent].life.set_behaviour(behaviour.clone());
    }

    /// Gives an agent other habits, in this life.
    pub fn set_habits(&self, agent: usize, habits: &Habits) {
        self.agents[agent].life.set_habits(habits.clone());
    }

    /// What has happened to an agent in this life.
    pub fn journal(&self, agent: usize) -> Journal {
        self.agents[agent].life.journal()
    }

    /// Waits until an agent's journal of this life is as the condition wants it.
    pub async fn until(
        &mut self,
        agent: usize,
        what: &str,
        condition: impl FnMut(&Journal) -> bool,
    ) -> Journal {
        let what = format!("agent {agent} of {}: {what}", self.name);
        within(what, self.agents[agent].life.until(condition)).await
    }

    /// How often each agent was ever asked for its full state.
    pub fn full_state_requests(&self) -> Vec<usize> {
        self.count(|journal| journal.full_states)
    }

    /// How often each agent was ever restarted by command.
    pub fn restarts(&self) -> Vec<usize> {
        self.count(|journal| journal.restarts)
    }

    /// How often each agent was ever sent a command that it does not accept.
    pub fn ignored_commands(&self) -> Vec<usize> {
        self.count(|journal| journal.ignored_commands)
    }

    /// What agents were told that were not let in.
    pub fn refusals(&self) -> Vec<Refused> {
        self.agents
            .iter()
            .flat_map(|agent| agent.lives(|journal| journal.refusals.clone()))
            .flatten()
            .collect()
    }

    /// The agents that are well.
    pub fn healthy(&self) -> BTreeSet<usize> {
        (0..self.len()).filter(|&agent| self.journal(agent).healthy).collect()
    }

    fn count(&self, what: impl Fn(&Journal) -> usize) -> Vec<usize> {
        self.agents.iter().map(|agent| agent.lives(&what).sum()).collect()
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
        (0..self.len()).filter(|&index| runs(&self.journal(index))).collect()
    }

    /// Whether an agent has said anything of a configuration in this life.
    pub fn has_answered(&self, agent: usize) -> bool {
        self.journal(agent).config.1 != RemoteConfigStatuses::Unset
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

    /// Waits until each agent is connected.
    pub async fn are_connected(&mut self) {
        for agent in &mut self.agents {
            within(format!("an agent of {}", self.name), agent.life.until(|journal| journal.connected)).await;
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

    fn live(&self, index: usize, kind: &Kind, lives_before: usize) -> Simulated {
        let mut uid = [self.key; 16];
        uid[15] = u8::try_from(index).expect("few agents");
        let profile = Profile::new(uid).with("test", &self.name).with("host.name", &format!("host-{index}"));
        let profile = kind.attributes.iter().fold(profile, |profile, (key, value)| profile.with(key, value));
        let profile = if kind.shows_effective { profile.showing_effective() } else { profile };
        let profile = if kind.accepts_restarts { profile.accepting_restarts() } else { profile };
        let hours = u64::try_from(lives_before).expect("few lives");
        let agent = sim::Agent::new(profile, kind.behaviour.clone())
            .with(kind.habits.clone())
            .started_at(kind.first_start + 3600 * hours);
        sim::spawn(agent, self.endpoint.clone(), self.pace)
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
