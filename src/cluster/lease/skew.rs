//! Two replicas whose clocks differ by hours and do not go equally fast.

use super::{Observed, Step, evaluate, relied_on};
use proptest::prelude::*;
use std::collections::VecDeque;
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
    /// Asks for the Lease.
    Ask(usize),
    /// The API server answers with the Lease as it is.
    Serve(usize),
    /// The answer comes, and it decides.
    Decide(usize),
    /// The API server tells of the Lease as it is to whoever watches it.
    Tell(usize),
    /// What was told first comes.
    Hear(usize),
    /// Writes what it decided, if the Lease is still the one that it read.
    Write(usize),
    Release(usize),
    Crash(usize),
}

#[derive(Clone, Default)]
struct Replica {
    /// The Lease's version, and when it was first seen.
    seen: Option<(u64, Duration)>,
    /// When it asked, and the version and holder that it was answered with.
    asking: Option<(Duration, Option<Answer>)>,
    /// The versions that it was told of and has not heard.
    told: VecDeque<u64>,
    /// What it is about to write: over which version, and when it began to ask.
    asked: Option<(u64, Duration)>,
    until: Option<Duration>,
}

/// A version of the Lease, and who held it.
type Answer = (u64, Option<usize>);

struct World {
    real: Duration,
    clocks: [Clock; 2],
    replicas: [Replica; 2],
    holder: Option<usize>,
    version: u64,
}

impl World {
    fn new(clocks: [Clock; 2]) -> Self {
        let replicas = [const { Replica::default }; 2].map(|replica| replica());
        Self { real: Duration::ZERO, clocks, replicas, holder: None, version: 0 }
    }

    fn name(replica: Option<usize>) -> &'static str {
        replica.map_or("", |replica| ["a", "b"][replica])
    }

    fn make(&mut self, next: Move) {
        match next {
            Move::Wait(milliseconds) => self.real += Duration::from_millis(milliseconds),
            Move::Ask(me) => self.replicas[me].asking = Some((self.clocks[me].at(self.real), None)),
            Move::Serve(me) => {
                let answer = (self.version, self.holder);
                if let Some((_, waits @ None)) = &mut self.replicas[me].asking {
                    *waits = Some(answer);
                }
            }
            Move::Decide(me) => self.decide(me),
            Move::Tell(me) => self.replicas[me].told.push_back(self.version),
            Move::Hear(me) => {
                if let Some(version) = self.replicas[me].told.pop_front() {
                    self.see(me, version);
                }
            }
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

    /// Takes a version in; since when it has been seen.
    fn see(&mut self, me: usize, version: u64) -> Duration {
        let now = self.clocks[me].at(self.real);
        let unchanged = self.replicas[me].seen.filter(|(seen, _)| *seen == version);
        let since = unchanged.map_or(now, |(_, since)| since);
        self.replicas[me].seen = Some((version, since));
        since
    }

    fn decide(&mut self, me: usize) {
        let Some((asked, Some((version, holder)))) = self.replicas[me].asking else { return };
        self.replicas[me].asking = None;
        let since = self.see(me, version);
        let unchanged_for = self.clocks[me].at(self.real).saturating_sub(since);
        let lease = Observed { holder: Self::name(holder), unchanged_for };
        let step = evaluate(Some(lease), Self::name(Some(me)), DURATION);
        self.replicas[me].asked = (step != Step::Wait).then_some((version, asked));
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
        6 => (0..2_usize).prop_map(Move::Serve),
        6 => (0..2_usize).prop_map(Move::Decide),
        3 => (0..2_usize).prop_map(Move::Tell),
        3 => (0..2_usize).prop_map(Move::Hear),
        6 => (0..2_usize).prop_map(Move::Write),
        1 => (0..2_usize).prop_map(Move::Release),
        1 => (0..2_usize).prop_map(Move::Crash),
    ];
    prop::collection::vec(one, 1..160)
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

/// Each replica asks for the Lease in turn, and is answered late: what the random walk would seldom meet.
#[test]
fn two_replicas_never_lead_at_the_same_moment_however_late_an_answer_is() {
    let clock = Clock { ahead: Duration::ZERO, speed: 1000 };
    let turn = |me| [Move::Ask(me), Move::Serve(me), Move::Decide(me), Move::Write(me)];
    for late in (0..5000).step_by(500) {
        let mut world = World::new([clock; 2]);
        let begins = [Move::Ask(1), Move::Wait(late)];
        let answered = [Move::Serve(1), Move::Wait(4999 - late), Move::Decide(1)];
        for next in turn(0).into_iter().chain(begins).chain(turn(0)).chain(answered) {
            world.make(next);
        }
        for _ in 0..200 {
            world.make(Move::Wait(100));
            for next in turn(1) {
                world.make(next);
            }
            assert!(world.leaders() < 2, "both lead after {:?}, asked {late} ms early", world.real);
        }
        assert_eq!(world.holder, Some(1));
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
            for next in [Some(0), Some(1), None, Some(1)] {
                let Some(me) = next else {
                    world.make(Move::Wait(milliseconds));
                    continue;
                };
                for next in [Move::Ask(me), Move::Serve(me), Move::Decide(me), Move::Write(me)] {
                    world.make(next);
                }
            }
            assert!(world.leaders() < 2, "both lead after {milliseconds} ms");
            taken_after = taken_after.or((world.holder == Some(1)).then_some(milliseconds));
        }
        assert_eq!(taken_after, Some(14_286), "when 15 s have passed by the fast clock");
    }
}
