//! The simulated agents of a run, each with a log of all that it sees and says.

use super::oracle::{Entry, Happening, Log};
use super::plan::{Plan, REPLICAS};
use super::roundabout::Roundabout;
use crate::support::eventually;
use crate::support::switch::Switch;
use jiff::Timestamp;
use opamp_operator::opamp::proto::RemoteConfigStatuses;
use opamp_operator::sim::{
    self, Agent, Behaviour, Endpoint, Event, Observer, Pace, Profile, Simulated, spawn_observed,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The value of the attribute `test` that all of them have.
pub const NAME: &str = "all";

/// All agents.
pub struct Agents {
    members: Vec<Member>,
    roundabout: Roundabout,
}

struct Member {
    life: Simulated,
    writer: Arc<Writer>,
}

/// Writes an agent's log.
struct Writer {
    log: Mutex<Log>,
    /// What the agent said of its configuration last.
    said: Mutex<(Vec<u8>, RemoteConfigStatuses)>,
}

impl Agents {
    /// Starts as many as the plan has; each connects to its home's switch, or to all of them in turn.
    pub async fn start(plan: &Plan, switches: &[Switch]) -> Self {
        let roundabout = Roundabout::start(switches).await;
        let url = |agent| match &switches[Plan::home(agent)] {
            _ if Plan::roams(agent) => roundabout.endpoint.clone(),
            home if Plan::polls(agent) => home.http(),
            home => home.websocket(),
        };
        let members = (0..plan.agents).map(|agent| Member::start(agent, &url(agent))).collect();
        Self { members, roundabout }
    }

    /// Makes those refuse what they are offered next that the plan names.
    pub fn refuse(&self, plan: &Plan) {
        for &agent in &plan.refusers {
            let refuses = Behaviour::Refuse("no such exporter".to_owned());
            self.members[agent].life.set_behaviour(if agent % 2 == 1 {
                Behaviour::Rollback
            } else {
                refuses
            });
        }
    }

    /// The logs as they are now.
    pub fn logs(&self) -> Vec<Log> {
        self.members.iter().map(|member| member.writer.log().clone()).collect()
    }

    /// Notes that the home of some agents leads to another replica.
    pub fn moved(&self, home: usize) {
        for member in self.members.iter().skip(home).step_by(REPLICAS) {
            member.writer.write(Happening::Moved);
        }
    }

    /// How many agents were offered this content.
    pub fn offered(&self, content: &str) -> usize {
        self.members.iter().filter(|member| member.writer.log().was_offered(content)).count()
    }

    /// How many agents run this content.
    pub fn running(&self, content: &str) -> usize {
        self.members.iter().filter(|member| member.writer.log().runs() == Some(content)).count()
    }

    /// Waits until each agent has had so many answers more, and is connected.
    pub async fn are_heard(&self, answers: usize) {
        let heard = || self.members.iter().map(|member| member.life.journal());
        let before: Vec<usize> = heard().map(|journal| journal.messages).collect();
        eventually("answers to all agents", async || {
            let mut both = heard().zip(&before);
            both.all(|(now, before)| now.connected && now.messages >= before + answers).then_some(())
        })
        .await;
    }

    /// How many agents are connected.
    pub fn connected(&self) -> usize {
        self.members.iter().filter(|member| member.writer.log().is_connected()).count()
    }

    /// Whether all agents with this home are connected.
    pub fn are_connected(&self, home: usize) -> bool {
        self.members.iter().skip(home).step_by(REPLICAS).all(|member| member.writer.log().is_connected())
    }

    /// How many polls went to all replicas in turn.
    pub fn roaming_polls(&self) -> usize {
        self.roundabout.polls()
    }

    /// How often agents with this home have lost their connection.
    pub fn disconnections(&self, home: usize) -> usize {
        let of = |member: &Member| {
            let log = member.writer.log();
            log.entries.iter().filter(|entry| entry.what == Happening::Disconnected).count()
        };
        self.members.iter().skip(home).step_by(REPLICAS).map(of).sum()
    }
}

impl Member {
    fn start(agent: usize, url: &str) -> Self {
        let polls = Plan::polls(agent);
        let mut uid = [7; 16];
        uid[8..].copy_from_slice(&(agent as u64).to_be_bytes());
        let profile = Profile::new(uid).with("test", NAME).with("host.name", &format!("host-{agent}"));
        let endpoint: Endpoint = url.parse().expect("an endpoint");
        let pace = Pace {
            heartbeat: Duration::from_millis(if polls { 700 } else { 2_000 }),
            last_backoff: Duration::from_secs(1),
            ..Pace::default()
        };
        let writer = Arc::new(Writer {
            log: Mutex::new(Log { agent, uid, polls, roams: Plan::roams(agent), entries: Vec::new() }),
            said: Mutex::default(),
        });
        let agent = sim::Agent::new(profile, Behaviour::Apply);
        Self { life: spawn_observed(agent, endpoint, pace, writer.clone()), writer }
    }
}

impl Writer {
    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, what: Happening) {
        self.log().entries.push(Entry { at: Timestamp::now(), what });
    }
}

impl Observer for Writer {
    fn observe(&self, agent: &Agent, event: &Event<'_>) {
        match event {
            Event::Connected => self.write(Happening::Connected),
            Event::Disconnected => self.write(Happening::Disconnected),
            Event::Failed(_) => {}
            Event::Received(message) => {
                if let Some(offer) = &message.remote_config {
                    self.write(Happening::Offered(content_of(&offer.config_hash)));
                }
            }
            Event::Changed(_) => {
                let config = agent.config();
                let now = (config.last_remote_config_hash.clone(), config.status());
                let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                let (content, before) = (content_of(&now.0), std::mem::replace(&mut *said, now.clone()));
                match now.1 {
                    _ if before == now => {}
                    RemoteConfigStatuses::Applied => {
                        if before.1 == RemoteConfigStatuses::Applying && before.0 != now.0 {
                            // It went back by itself, and said in the same breath that the other one failed.
                            self.write(Happening::Failed(content_of(&before.0)));
                        }
                        self.write(Happening::Applied(content));
                    }
                    RemoteConfigStatuses::Failed => self.write(Happening::Failed(content)),
                    _ => {}
                }
            }
        }
    }
}

/// The content that a hash on the wire stands for: that of a correction has one more byte.
fn content_of(hash: &[u8]) -> String {
    hex::encode(hash.get(..32).unwrap_or_default())
}
