//! Two replicas whose clocks differ by hours and do not go equally fast.

use super::{Observed, Step, evaluate, relied_on};
use proptest::prelude::*;
use std::time::Duration;

const DURATION: Duration = Duration::from_secs(15);

/// A clock that only goes forward, as a process reads it.
#[derive(Clone, Copy, Debug)]
struct Clock {
    ahead: Duration,
    /// How fast it goes, in thousandths.
    speed: u32,
}

impl Clock {
    fn at(self, real: Duration) -> Duration {
        self.ahead + real * self.speed / 1000
    }
}

#[derive(Clone, Copy, Debug)]
enum Move {
    /// So many milliseconds pass.
    Wait(u64),
    /// Reads the Lease and decides.
    Ask(usize),
    /// Writes what it decided, if the Lease is still the one that it read.
    Write(usize),
    Release(usize),
    Crash(usize),
}

#[derive(Clone, Copy, Default)]
struct Replica {
    /// The Lease's version, and when it was first seen.
    seen: Option<(u64, Duration)>,
    /// What it is about to write: over which version, and when it began to ask.
    asked: Option<(u64, Duration)>,
    until: Option<Duration>,
}

struct World {
    real: Duration,
    clocks: [Clock; 2],
    replicas: [Replica; 2],
    holder: Option<usize>,
    version: u64,
}

impl World {
    fn new(clocks: [Clock; 2]) -> Self {
        let replicas = [Replica::default(); 2];
        Self { real: Duration::ZERO, clocks, replicas, holder: None, version: 0 }
    }

    fn name(replica: Option<usize>) -> &'static str {
        replica.map_or("", |replica| ["a", "b"][replica])
    }

    fn make(&mut self, next: Move) {
        match next {
            Move::Wait(milliseconds) => self.real += Duration::from_millis(milliseconds),
            Move::Ask(me) => self.ask(me),
            Move::Write(me) => {
                let asked = self.replicas[me].asked.take();
                if let Some((_, at)) = asked.filter(|(version, _)| *version == self.version) {
                    (self.holder, self.version) = (Some(me), self.version + 1);
                    self.replicas[me].until = Some(at + relied_on(DURATION));
                }
            }
            Move::Release(me) => {
                self.replicas[me] = Replica::default();
                if self.holder == Some(me) {
                    (self.holder, self.version) = (None, self.version + 1);
                }
            }
            Move::Crash(me) => self.replicas[me] = Replica::default(),
        }
    }

    fn ask(&mut self, me: usize) {
        let (now, version) = (self.clocks[me].at(self.real), self.version);
        let since =
            self.replicas[me].seen.filter(|(seen, _)| *seen == version).map_or(now, |(_, since)| since);
        self.replicas[me].seen = Some((version, since));
        let lease = Observed { holder: Self::name(self.holder), unchanged_for: now.saturating_sub(since) };
        let step = evaluate(Some(lease), Self::name(Some(me)), DURATION);
        self.replicas[me].asked = (step != Step::Wait).then_some((version, now));
    }

    fn leaders(&self) -> usize {
        let leads =
            |me: &usize| self.replicas[*me].until.is_some_and(|until| self.clocks[*me].at(self.real) < until);
        [0, 1].iter().filter(|me| leads(me)).count()
    }
}

fn clock() -> impl Strategy<Value = Clock> {
    let ahead = (0..36_000_u64).prop_map(Duration::from_secs);
    (ahead, 950..=1050_u32).prop_map(|(ahead, speed)| Clock { ahead, speed })
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0..6000_u64).prop_map(Move::Wait),
        2 => (12_000..17_000_u64).prop_map(Move::Wait),
        6 => (0..2_usize).prop_map(Move::Ask),
        6 => (0..2_usize).prop_map(Move::Write),
        1 => (0..2_usize).prop_map(Move::Release),
        1 => (0..2_usize).prop_map(Move::Crash),
    ];
    prop::collection::vec(one, 1..80)
}

proptest! {
    #[test]
    fn two_replicas_never_lead_at_the_same_moment_whatever_their_clocks_say(
        clocks in [clock(), clock()],
        moves in moves(),
    ) {
        let mut world = World::new(clocks);
        for next in moves {
            world.make(next);
            prop_assert!(world.leaders() < 2, "after {:?}", world.real);
        }
    }
}

#[test]
fn lease_of_a_slow_clock_runs_out_before_a_fast_one_takes_it() {
    let hour = Duration::from_hours(1);
    for clocks in [[(950, hour), (1050, Duration::ZERO)], [(950, Duration::ZERO), (1050, hour * 9)]] {
        let clocks = clocks.map(|(speed, ahead)| Clock { ahead, speed });
        let mut taken_after = None;
        for milliseconds in 10_000..20_000 {
            let mut world = World::new(clocks);
            for next in [Move::Ask(0), Move::Write(0), Move::Ask(1), Move::Wait(milliseconds), Move::Ask(1)] {
                world.make(next);
            }
            world.make(Move::Write(1));
            assert!(world.leaders() < 2, "both lead after {milliseconds} ms");
            taken_after = taken_after.or((world.holder == Some(1)).then_some(milliseconds));
        }
        assert_eq!(taken_after, Some(14_286), "when 15 s have passed by the fast clock");
    }
}
