//! A month of a fleet's life in a test: agents come, go for good, move between replicas, change what they are and what
//! they run; replicas are replaced, crash and start anew; the leader sweeps, treats and tells.
//!
//! What decides is the real thing: [`Roster`](crate::fleet::Roster) for each replica's slices, [`merge`] and
//! [`outlived`](crate::fleet::outlived) for the leader's view, [`step`](crate::heal::step) and [`pack_exceptions`] for
//! what it tells. Around that are a store of objects that sometimes takes no write, and time, which is an argument.

mod agents;
mod checks;
mod leader;
mod replicas;
mod store;

use agents::{Content, Sim};
use jiff::{SignedDuration, Timestamp};
use leader::Leader;
use replicas::Replicas;
use store::Store;

const HOURS: usize = 30 * 24;
/// The hours of a day in which something happens to agents. In the others time passes, and replicas may crash.
const BUSY: [usize; 7] = [1, 4, 8, 11, 14, 17, 20];

/// A chance that is the same with the same seed: splitmix64.
pub struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `count`.
    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("it was one")
    }

    /// Whether what happens in so many of a thousand cases happens.
    fn happens(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }
}

/// Everything.
struct World {
    chance: Chance,
    now: Timestamp,
    hour: usize,
    agents: Vec<Sim>,
    /// How many agents there ever were.
    ever: u32,
    replicas: Replicas,
    store: Store,
    leader: Leader,
    most: checks::Most,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            now: Timestamp::from_second(1_700_000_000).expect("in range"),
            hour: 0,
            agents: Vec::new(),
            ever: 0,
            replicas: Replicas::default(),
            store: Store::default(),
            leader: Leader::default(),
            most: checks::Most::default(),
        }
    }

    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// What the agents of each group are to run: new content every day, and that of the day before as the last good one.
    fn contents(&self) -> [Content; 2] {
        let day = u8::try_from(self.hour / 24).expect("a month");
        [1, 101].map(|first| Content { target: first + day, stable: (day > 0).then(|| first + day - 1) })
    }

    fn one_hour(&mut self) {
        self.replicas.live(self.hour, &mut self.chance, self.now, &mut self.store, &mut self.agents);
        let view = self.leader.view(self.contents());
        self.replicas.see(&view, self.now);
        if BUSY.contains(&(self.hour % 24)) {
            self.agents_live();
        }
        self.replicas.flush(&mut self.chance, self.now, &mut self.store, false);
        self.pass(60);
        // A crash in the middle of something.
        if self.chance.happens(20) {
            self.replicas.crash(&mut self.chance, self.now, &mut self.store, &mut self.agents);
            self.replicas.see(&view, self.now);
        }
        self.agents_return();
        while self.replicas.are_due() {
            self.pass(10);
            self.replicas.flush(&mut self.chance, self.now, &mut self.store, true);
        }
        // Where nothing was written only time has passed: it is enough to look at that now and then.
        if !self.store.fresh.is_empty() || self.hour.is_multiple_of(4) {
            let contents = self.contents();
            self.leader.look(self.now, &self.replicas, &mut self.store, contents);
            self.check();
        }
        self.hour += 1;
        self.pass(3600 - 120);
    }
}

#[test]
fn slices_are_true_and_bounded_through_a_month_of_churn() {
    for seed in [20_260_901] {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..HOURS {
            world.one_hour();
        }
        println!("{:?}", world.most);
        world.check_that_much_happened();
    }
}
