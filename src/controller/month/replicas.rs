//! The replicas: replaced every day under new names, now and then killed, sometimes started anew under the same name.

use super::Chance;
use super::agents::Sim;
use super::store::Store;
use crate::fleet::{AgentKey, Delays, Replica, Roster, SliceId, View};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const REPLICAS: usize = 2;

/// All replicas.
#[derive(Default)]
pub struct Replicas {
    alive: BTreeMap<u32, Alive>,
    /// When the others died.
    pub died: BTreeMap<String, Timestamp>,
    /// How many there ever were.
    pub ever: u32,
}

/// A replica that is alive.
pub struct Alive {
    pub name: String,
    since: Timestamp,
    pub roster: Roster,
}

impl Replicas {
    pub fn alive(&self) -> impl Iterator<Item = &Alive> {
        self.alive.values()
    }

    /// What the leader makes of a replica.
    pub fn fate(&self, name: &str) -> Replica {
        let alive = self.alive.values().find(|alive| alive.name == name);
        alive.map_or_else(|| Replica::Dead(self.died[name]), |alive| Replica::Alive(alive.since))
    }

    /// The replica with a number, if that is alive.
    pub fn of(&mut self, number: Option<u32>) -> Option<(u32, &mut Roster)> {
        let number = number?;
        self.alive.get_mut(&number).map(|alive| (number, &mut alive.roster))
    }

    /// One of them.
    pub fn any(&mut self, chance: &mut Chance) -> (u32, &mut Roster) {
        let which = chance.below(self.alive.len());
        let (number, alive) = self.alive.iter_mut().nth(which).expect("there are some");
        (*number, &mut alive.roster)
    }

    /// What happens to replicas in an hour.
    pub fn live(
        &mut self,
        hour: usize,
        chance: &mut Chance,
        now: Timestamp,
        store: &mut Store,
        agents: &mut [Sim],
    ) {
        // A rolling update, one replica after the other.
        let replaced = (1..=REPLICAS).contains(&(hour % 24));
        if replaced && let Some(oldest) = self.alive.keys().next().copied() {
            self.end(oldest, true, now, store, agents);
        }
        if chance.happens(10) {
            self.crash(chance, now, store, agents);
        }
        while self.alive.len() < REPLICAS {
            self.start(now);
        }
    }

    /// One dies with all that it has not written; half of them come back under the same name.
    pub fn crash(&mut self, chance: &mut Chance, now: Timestamp, store: &mut Store, agents: &mut [Sim]) {
        let which = chance.below(self.alive.len());
        let number = *self.alive.keys().nth(which).expect("there are some");
        if chance.happens(500) {
            self.end(number, false, now, store, agents);
            return self.start(now);
        }
        let alive = self.alive.get_mut(&number).expect("it is one of them");
        alive.roster = roster(&alive.name);
        (alive.since, self.ever) = (now, self.ever + 1);
        for (name, spec) in &store.slices {
            if let Some(number) = name.strip_prefix(&format!("{}-", alive.name)).and_then(|n| n.parse().ok())
            {
                alive.roster.restore(&SliceId { namespace: "ns".into(), number }, spec, now);
            }
        }
        let again = self.alive.remove(&number).expect("it is one of them");
        self.alive.insert(self.ever, again);
        agents.iter_mut().filter(|agent| agent.at == Some(number)).for_each(|agent| agent.lose(now));
    }

    /// Names as those of a Deployment's pods; one may be the beginning of another.
    fn start(&mut self, now: Timestamp) {
        self.ever += 1;
        let name = format!("op-{}", self.ever).replace("op-1", "op-1-");
        self.alive.insert(self.ever, Alive { roster: roster(&name), name, since: now });
    }

    fn end(&mut self, number: u32, clean: bool, now: Timestamp, store: &mut Store, agents: &mut [Sim]) {
        let mut ends = self.alive.remove(&number).expect("it is one of them");
        if clean {
            for content in ends.roster.take_due(Timestamp::MAX) {
                drop(store.write(&ends.name, content));
            }
        }
        self.died.insert(ends.name, now);
        agents.iter_mut().filter(|agent| agent.at == Some(number)).for_each(|agent| agent.lose(now));
    }

    /// All learn what the leader has told.
    pub fn see(&mut self, view: &Arc<View>, now: Timestamp) {
        for alive in self.alive.values_mut() {
            alive.roster.set_view(view.clone(), now);
        }
    }

    /// Whether anything is still to be written.
    pub fn are_due(&self) -> bool {
        self.alive.values().any(|alive| alive.roster.next_due().is_some())
    }

    /// Time has passed: all write what is due, each write on its own, and some are not taken.
    pub fn flush(&mut self, chance: &mut Chance, now: Timestamp, store: &mut Store, surely: bool) {
        for Alive { name, roster, .. } in self.alive.values_mut() {
            roster.expire(now);
            let then = now + SignedDuration::from_secs(if surely { 0 } else { 11 });
            while let Some(content) = roster.take_next(then) {
                let id = content.id.clone();
                let (taken, told) = if surely { (0, 0) } else { (chance.below(100), chance.below(100)) };
                // One write in ten does not arrive, and the answer to one in ten does not come back.
                if taken >= 90 {
                    roster.write_failed(&id, then);
                    continue;
                }
                for lost in store.write(name, content) {
                    let key = AgentKey { namespace: "ns".into(), uid: lost };
                    assert!(
                        roster.agent(&key).is_none(),
                        "{lost:?} is in no slice after {name}-{}",
                        id.number
                    );
                }
                if told >= 90 {
                    roster.write_failed(&id, then);
                } else {
                    roster.written(&id, then);
                }
            }
        }
    }
}

fn roster(name: &str) -> Roster {
    let delays = Delays {
        urgent: Duration::from_secs(1),
        slow: Duration::from_secs(10),
        assumed_interval: Duration::from_secs(30),
    };
    Roster::new(name, delays)
}
