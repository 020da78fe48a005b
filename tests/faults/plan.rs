//! What is done with one seed: which rollout, which faults, when, and to whom. A pure function of the seed, so that
//! a run that failed can be run again.

use std::fmt;
use std::time::Duration;

/// By how much the operator's times are divided.
pub const TIME_SCALE: u32 = 5;
/// How many seeds in a row bring every kind of fault once.
pub const SEEDS_OF_A_ROUND: u64 = 5;
/// How many replicas there are.
pub const REPLICAS: usize = 3;
/// How many agents may fail before the rollout goes back.
pub const THRESHOLD: usize = 6;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The leader is killed, and started again.
    KillLeader,
    /// A replica that does not lead is killed, and started again.
    KillFollower,
    /// The leader stands still for longer than its Lease.
    FreezeLeader,
    /// A replica that does not lead stands still for longer than its Lease.
    FreezeFollower,
    /// The API server is killed, and started again.
    StopServer,
    /// The store is killed, and started again.
    StopStore,
    /// The store stands still.
    FreezeStore,
    /// The leader does not reach the API server.
    CutLeader,
    /// A replica that does not lead does not reach the API server.
    CutFollower,
    /// The agents of a replica do not reach it.
    CutAgents,
    /// Events of watches come twice.
    Duplicates,
    /// Events of watches come late.
    Delays,
    /// Every second write is answered with 409, and not carried out.
    Conflicts,
    /// Every second request is answered with 429, and not carried out.
    Throttling,
    /// Every second request is answered with 500, and not carried out.
    Errors,
    /// Every second write is answered with 500, and carried out.
    LostAnswers,
}

/// All of them.
pub const KINDS: [Kind; 16] = [
    Kind::KillLeader,
    Kind::KillFollower,
    Kind::FreezeLeader,
    Kind::FreezeFollower,
    Kind::StopServer,
    Kind::StopStore,
    Kind::FreezeStore,
    Kind::CutLeader,
    Kind::CutFollower,
    Kind::CutAgents,
    Kind::Duplicates,
    Kind::Delays,
    Kind::Conflicts,
    Kind::Throttling,
    Kind::Errors,
    Kind::LostAnswers,
];

/// What of the rollout a fault waits for. Whatever it is, the end of the rollout is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// A phase has begun, counted from 0.
    Phase(usize),
    /// So many agents were offered the target.
    Offered(usize),
    /// So many agents run the target.
    Updated(usize),
    /// The rollout goes back.
    RollingBack,
    /// The rollout has ended.
    Over,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// When it begins.
    pub when: When,
    /// For how long it lasts at least.
    pub lasts: Duration,
    /// Of a replica that is killed: it comes back under another name, as a pod that is replaced. Of a cut from the API
    /// server: packets are dropped, and no connection is refused.
    pub hard: bool,
    /// The agents of a replica that is away are sent to another one meanwhile.
    pub elsewhere: bool,
    /// Which of several replicas.
    pub whom: usize,
}

/// What agents make of the content that is rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// All apply it.
    Good,
    /// Fewer refuse it than are tolerated.
    Tolerable,
    /// So many refuse it that it must go back.
    Bad,
}

/// All that is done with one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many agents there are.
    pub agents: usize,
    /// Which of them refuse the target. Those with an odd number go back by themselves, the others say that it failed.
    pub refusers: Vec<usize>,
    /// What they make of the target.
    pub content: Content,
    /// So many agents are offered the target at a time; 0: no limit.
    pub max_in_flight: usize,
    /// What happens, in this order.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed, for so many agents.
    pub fn new(seed: u64, agents: usize) -> Self {
        let mut chance = Chance(seed);
        let content = [Content::Good, Content::Tolerable, Content::Bad][chance.below(3)];
        let refusing = match content {
            Content::Good => 0,
            Content::Tolerable => THRESHOLD - 2,
            Content::Bad => agents / 3,
        };
        let refusers = chance.shuffled(agents).into_iter().take(refusing).collect();
        let max_in_flight = [0, agents / 8][chance.below(2)];
        let kinds = kinds_of(seed);
        let mut moments: Vec<When> = moments(content, agents);
        while moments.len() > kinds.len() {
            moments.remove(chance.below(moments.len()));
        }
        let faults = kinds.into_iter().zip(moments);
        let faults = faults.map(|(kind, when)| Fault::draw(kind, when, &mut chance)).collect();
        Self { seed, agents, refusers, content, max_in_flight, faults }
    }

    /// Whether an agent polls over plain HTTP: every fifth does.
    pub fn polls(agent: usize) -> bool {
        agent % 5 == 4
    }

    /// Whether an agent that polls does so at all replicas in turn: every third of them does.
    pub fn roams(agent: usize) -> bool {
        agent % 15 == 14
    }

    /// The replica that an agent connects to as long as it is there.
    pub fn home(agent: usize) -> usize {
        agent % REPLICAS
    }
}

impl Fault {
    fn draw(kind: Kind, when: When, chance: &mut Chance) -> Self {
        let milliseconds = match kind {
            // Longer than the Lease, which is 15 s.
            Kind::FreezeLeader | Kind::FreezeFollower => 20_000 + 1_000 * chance.below(10),
            Kind::StopServer => 20_000,
            Kind::KillLeader | Kind::KillFollower => [1_000, 25_000][chance.below(2)],
            Kind::CutLeader | Kind::CutFollower => [7_000, 25_000][chance.below(2)],
            Kind::CutAgents => 5_000 + 1_000 * chance.below(10),
            _ => 15_000 + 1_000 * chance.below(10),
        };
        let lasts = Duration::from_millis(milliseconds as u64) / TIME_SCALE;
        let (hard, elsewhere) = (chance.below(2) == 1, chance.below(2) == 1);
        Self { kind, when, lasts, hard, elsewhere, whom: chance.below(REPLICAS) }
    }
}

/// The moments from which those of the faults are drawn, earlier ones first.
fn moments(content: Content, agents: usize) -> Vec<When> {
    let canaries = agents / 20;
    let mut moments =
        vec![When::Phase(0), When::Offered(canaries / 2), When::Updated(canaries / 2), When::Phase(1)];
    moments.extend(match content {
        Content::Bad => vec![When::RollingBack, When::Over],
        _ => vec![
            When::Updated(agents / 8),
            When::Phase(2),
            When::Updated(agents / 2),
            When::Updated(agents * 3 / 4),
            When::Over,
        ],
    });
    moments
}

/// The kinds of a seed: each round deals all of them out anew.
fn kinds_of(seed: u64) -> Vec<Kind> {
    let (round, place) = (seed / SEEDS_OF_A_ROUND, seed % SEEDS_OF_A_ROUND);
    let dealt = Chance(!round).shuffled(KINDS.len());
    let mine = dealt.into_iter().enumerate().filter(|(index, _)| *index as u64 % SEEDS_OF_A_ROUND == place);
    mine.map(|(_, kind)| KINDS[kind]).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match self.content {
            Content::Good => "all agents apply",
            Content::Tolerable => "fewer agents refuse than are tolerated",
            Content::Bad => "more agents refuse than are tolerated",
        };
        writeln!(
            f,
            "seed {}: {} agents, {} polling, {} of them at all replicas in turn; content that {content}, {} refuse; {} in flight at most",
            self.seed,
            self.agents,
            (0..self.agents).filter(|agent| Self::polls(*agent)).count(),
            (0..self.agents).filter(|agent| Self::roams(*agent)).count(),
            self.refusers.len(),
            if self.max_in_flight == 0 { "all".to_owned() } else { self.max_in_flight.to_string() },
        )?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  {fault}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "once {}: ", self.when)?;
        let elsewhere = if self.elsewhere { "; its agents go elsewhere meanwhile" } else { "" };
        match self.kind {
            Kind::KillLeader | Kind::KillFollower => {
                let name = if self.hard { "another name" } else { "its name" };
                let who = if self.kind == Kind::KillLeader { "the leader" } else { "a follower" };
                write!(f, "kill {who}, start it under {name} after {:?}{elsewhere}", self.lasts)
            }
            Kind::CutLeader | Kind::CutFollower => {
                let who = if self.kind == Kind::CutLeader { "the leader" } else { "a follower" };
                let how = if self.hard { "dropping all packets" } else { "refusing connections" };
                write!(f, "cut {who} from the API server for {:?}, {how}", self.lasts)
            }
            Kind::FreezeLeader => write!(f, "stop the leader as it stands for {:?}{elsewhere}", self.lasts),
            Kind::FreezeFollower => write!(f, "stop a follower as it stands for {:?}{elsewhere}", self.lasts),
            Kind::StopServer => write!(f, "kill the API server for {:?}", self.lasts),
            Kind::StopStore => write!(f, "kill the store for {:?}", self.lasts),
            Kind::FreezeStore => write!(f, "stop the store as it stands for {:?}", self.lasts),
            Kind::CutAgents => {
                write!(f, "cut the agents of replica {} off for {:?}{elsewhere}", self.whom + 1, self.lasts)
            }
            Kind::Duplicates => write!(f, "events of watches come twice for {:?}", self.lasts),
            Kind::Delays => write!(f, "events of watches come late for {:?}", self.lasts),
            Kind::Conflicts => write!(f, "every second write is answered with 409 for {:?}", self.lasts),
            Kind::Throttling => write!(f, "every second request is answered with 429 for {:?}", self.lasts),
            Kind::Errors => write!(f, "every second request is answered with 500 for {:?}", self.lasts),
            Kind::LostAnswers => {
                write!(f, "every second write is carried out and answered with 500 for {:?}", self.lasts)
            }
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phase(index) => write!(f, "phase {} has begun", index + 1),
            Self::Offered(agents) => write!(f, "{agents} agents were offered the target"),
            Self::Updated(agents) => write!(f, "{agents} agents run the target"),
            Self::RollingBack => write!(f, "the rollout goes back"),
            Self::Over => write!(f, "the rollout has ended"),
        }
    }
}

/// Chance that follows from a seed: splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    /// The numbers below `bound` in any order.
    fn shuffled(&mut self, bound: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..bound).collect();
        for last in (1..bound).rev() {
            numbers.swap(last, self.below(last + 1));
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn plan_follows_from_its_seed_alone() {
        for seed in 0..100 {
            assert_eq!(Plan::new(seed, 300), Plan::new(seed, 300));
        }
        let told: BTreeSet<String> = (0..100).map(|seed| Plan::new(seed, 300).to_string()).collect();
        assert_eq!(told.len(), 100, "each is another one");
    }

    #[test]
    fn each_round_of_seeds_brings_every_kind_of_fault_once() {
        for round in 0..20 {
            let seeds = round * SEEDS_OF_A_ROUND..(round + 1) * SEEDS_OF_A_ROUND;
            let mut kinds: Vec<Kind> = seeds.flat_map(kinds_of).collect();
            kinds.sort();
            assert_eq!(kinds, KINDS);
        }
    }

    #[test]
    fn faults_come_in_the_order_of_their_moments() {
        for seed in 0..100 {
            let plan = Plan::new(seed, 300);
            let order = moments(plan.content, 300);
            let places: Vec<_> =
                plan.faults.iter().map(|fault| order.iter().position(|when| *when == fault.when)).collect();
            assert!(places.is_sorted() && !places.contains(&None), "{plan}");
        }
    }

    #[test]
    fn agents_that_refuse_decide_how_the_rollout_ends() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let plan = Plan::new(seed, 300);
            let back = plan.refusers.len() > THRESHOLD;
            assert_eq!(back, plan.content == Content::Bad, "{plan}");
            assert_eq!(plan.refusers.is_empty(), plan.content == Content::Good, "{plan}");
            seen.insert(format!("{:?}", plan.content));
        }
        assert_eq!(seen.len(), 3);
    }
}
