//! The agents: what they are, and what happens to them.

use super::{Chance, World};
use crate::config::{ConfigHash, Form, Inventory};
use crate::fleet::fixtures::{TAKES_CONFIG, hash, key};
use crate::fleet::{
    AgentKey, Attributes, BuildKey, BuildReport, Capabilities, ConfigReport, Description, DriftClass, Link,
    Offer, Outcome, Report, Roster, Shown, Sight,
};
use jiff::Timestamp;

/// The groups: agents of the first stay, those of the second come by day and go by night.
pub const GROUPS: [&str; 2] = ["steady", "scaled"];
/// How many agents each group has at noon and at midnight.
const COUNTS: [[usize; 2]; 2] = [[160, 160], [400, 30]];

/// What the agents of a group are to run.
#[derive(Clone, Copy)]
pub struct Content {
    pub target: u8,
    pub stable: Option<u8>,
}

/// One agent as it is.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Sim {
    pub n: u32,
    pub group: usize,
    /// The replica that it is connected to, by its number.
    pub at: Option<u32>,
    pub healthy: bool,
    /// What it says became of its last configuration.
    config: ConfigReport,
    /// Its version and its build.
    version: usize,
    started: i64,
    link: u64,
    /// It does not come back.
    pub gone: bool,
    /// When it was last there.
    pub left: Timestamp,
    /// The leader has seen it since it came.
    pub seen: bool,
    /// It was of another group once.
    pub moved: bool,
}

impl Sim {
    pub fn key(&self) -> AgentKey {
        key(self.n)
    }

    pub fn host(&self) -> String {
        format!("ip-10-0-{}-{}.eu-central-1.compute.internal", self.n / 250, self.n % 250)
    }

    pub fn version(&self) -> String {
        format!("0.{}.0", 100 + self.version)
    }

    fn socket(&self) -> Link {
        Link::Socket(self.link)
    }

    fn description(&self) -> Description {
        let pairs = [
            ("host.name", self.host()),
            ("service.version", self.version()),
            ("team", GROUPS[self.group].into()),
        ];
        Description { attributes: Attributes::new(pairs.map(|(name, value)| (name.to_owned(), value)), []) }
    }

    fn health(&self) -> Report {
        Report { healthy: Some(self.healthy), started: Some(self.started), ..Report::default() }
    }

    /// What it runs, as far as it says so.
    pub fn running(&self) -> Option<ConfigHash> {
        self.config.hash.filter(|_| self.config.outcome == Outcome::Applied)
    }

    fn full(&self) -> Report {
        let reports = Capabilities::REPORTS_HEALTH.0 | Capabilities::REPORTS_EFFECTIVE_CONFIG.0;
        let able = TAKES_CONFIG.0 | reports | Capabilities::ACCEPTS_RESTART_COMMAND.0;
        let receivers = vec!["otlp".to_owned(), format!("new-in-{}", self.version)];
        Report {
            full: true,
            description: Some(self.description()),
            capabilities: Some(Capabilities(able)),
            build: Some(BuildReport {
                key: BuildKey::of(self.version().as_bytes()),
                components: Some(Inventory::new([("receivers", receivers)])),
            }),
            config: Some(self.config.clone()),
            ..self.health()
        }
    }

    fn connect(&mut self, replica: u32, roster: &mut Roster, now: Timestamp) {
        (self.at, self.link, self.seen) = (Some(replica), self.link + 1, false);
        roster.receive(&self.key(), self.full(), self.socket(), now);
    }

    /// It is not connected any more.
    pub fn lose(&mut self, now: Timestamp) {
        (self.at, self.left) = (None, now);
    }

    /// Answers what it is offered.
    fn answer(&mut self, offer: &Offer, chance: &mut Chance, roster: &mut Roster, now: Timestamp) {
        let refuses = Some(offer.hash()) != self.running() && chance.happens(30);
        let words = || format!("cannot start pipelines: listen tcp :{}: in use", self.n % 9 + 4317);
        let outcome = if refuses { Outcome::Failed(words()) } else { Outcome::Applied };
        self.config = ConfigReport { hash: Some(offer.hash()), form: offer.form, outcome };
        let report = Report { config: Some(self.config.clone()), ..Report::default() };
        roster.receive(&self.key(), report, self.socket(), now);
        let shown = if chance.happens(950) { Shown::InSync } else { drifted(chance) };
        self.show(shown, roster, now);
    }

    fn show(&self, shown: Shown, roster: &mut Roster, now: Timestamp) {
        let Some(of) = self.running() else { return };
        let sight =
            Sight { of, shown, since: now, baseline: Some(crate::config::Digest::from_bytes([7; 8])) };
        roster.note_sight(&self.key(), sight, true, now);
    }

    /// What happens to an agent that is there, in an hour.
    fn live(&mut self, day: usize, chance: &mut Chance, roster: &mut Roster, now: Timestamp) {
        let (key, socket) = (self.key(), self.socket());
        match chance.below(1000) {
            0..10 => {
                self.healthy = !self.healthy;
                roster.receive(&key, self.health(), socket, now);
            }
            10..13 => {
                (self.group, self.moved) = (1 - self.group, true);
                let report = Report { description: Some(self.description()), ..Report::default() };
                roster.receive(&key, report, socket, now);
            }
            13..18 => self.show(drifted(chance), roster, now),
            18..198 if self.version < day => {
                (self.version, self.started) = (day, now.as_second());
                roster.receive(&key, self.full(), socket, now);
                self.show(Shown::InSync, roster, now);
            }
            200..800 => {
                if let Some(offer) = roster.take_offer(&key, now) {
                    self.answer(&offer, chance, roster, now);
                } else if roster.take_restart(&key, now) {
                    (self.started, self.healthy) = (now.as_second(), chance.happens(700));
                    roster.receive(&key, self.health(), socket, now);
                }
            }
            _ => {}
        }
    }
}

fn drifted(chance: &mut Chance) -> Shown {
    let path = format!("receivers::otlp/{}::protocols::grpc::endpoint", chance.below(20));
    Shown::Drifted(DriftClass::Modified, path.into())
}

impl World {
    /// What happens to all agents in an hour.
    pub(super) fn agents_live(&mut self) {
        let (hour, day, now) = (self.hour % 24, self.hour / 24, self.now);
        for agent in &mut self.agents {
            let Some((_, roster)) = self.replicas.of(agent.at) else { continue };
            agent.live(day, &mut self.chance, roster, now);
            // It loses its connection, and one in ten goes for good.
            if self.chance.happens(20) {
                roster.disconnect(&agent.key(), agent.socket(), now);
                agent.lose(now);
                agent.gone = self.chance.happens(100);
            }
        }
        for (group, [noon, midnight]) in COUNTS.into_iter().enumerate() {
            let wanted = if (8..20).contains(&hour) { noon } else { midnight };
            self.scale(group, wanted);
        }
        let latest = now - jiff::SignedDuration::from_hours(60);
        self.agents.retain(|agent| !agent.gone || agent.left > latest);
        self.agents_return();
    }

    /// Brings a group to so many agents: others come, or some go for good.
    fn scale(&mut self, group: usize, wanted: usize) {
        let now = self.now;
        let there = self.agents.iter().filter(|agent| agent.group == group && !agent.gone).count();
        for _ in there..wanted {
            self.agents.push(Sim {
                n: self.ever,
                group,
                at: None,
                healthy: true,
                config: ConfigReport { hash: None, form: Form::Plain, outcome: Outcome::Unset },
                version: self.hour / 24,
                started: now.as_second(),
                link: 0,
                gone: false,
                left: Timestamp::MIN,
                seen: false,
                moved: false,
            });
            self.ever += 1;
        }
        for _ in wanted..there {
            let mut left = self.agents.iter_mut().filter(|agent| agent.group == group && !agent.gone);
            let which = self.chance.below(there.min(wanted + 1));
            let Some(agent) = left.nth(which) else { continue };
            agent.gone = true;
            if let Some((_, roster)) = self.replicas.of(agent.at) {
                roster.disconnect(&agent.key(), agent.socket(), now);
                agent.lose(now);
            }
        }
    }

    /// Agents that lost their connection come back, to whichever replica.
    pub(super) fn agents_return(&mut self) {
        for agent in self.agents.iter_mut().filter(|agent| agent.at.is_none() && !agent.gone) {
            let (replica, roster) = self.replicas.any(&mut self.chance);
            agent.connect(replica, roster, self.now);
        }
    }

    /// The contents that agents were told of, as what stands for them.
    pub(super) fn hash_of(n: u8) -> ConfigHash {
        hash(n)
    }
}
