//! Polls of one agent that go now to one replica, now to another: which of them has the agent (design, section 8, and
//! ADR 0018).
//!
//! Replicas do not hear of each other's polls. All that tells one that an agent speaks to others too is the numbers of
//! the messages that it gets itself.

use crate::fleet::Edge;
use jiff::Timestamp;
use std::time::Duration;

/// An agent of whose messages a replica gets at least one in so many is shared by few replicas, and in turn: each of
/// them has it. One that comes more rarely has lost its way.
const FARTHEST: u8 = 10;

/// What an agent said elsewhere since its last message here, or before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// Nothing: this message follows the last one, or is the first of the agent's process.
    #[default]
    Nothing,
    /// So many messages.
    Messages(u64),
    /// Nobody knows.
    Unknown,
}

impl Missed {
    /// How many of the agent's messages there are for one that comes here; nothing if they are too many to say.
    fn apart(self) -> Option<u8> {
        let missed = match self {
            Self::Nothing => 0,
            Self::Messages(missed) => missed,
            Self::Unknown => return None,
        };
        u8::try_from(missed.saturating_add(1)).ok().filter(|apart| *apart <= FARTHEST)
    }
}

/// When a replica last learned something of an agent that others may not know. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct News {
    /// When that was. Replicas compare it by the second.
    pub at: Timestamp,
    /// The agent's own number of the message that told it (`sequence_num`), which is the same wherever it goes; zero for
    /// an agent that has not polled.
    pub number: u64,
}

/// How an agent polls this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polls {
    /// How many of its messages there are for one that comes here.
    apart: u8,
    /// Its last message here did not follow the one before it.
    interrupted: bool,
    /// What it said elsewhere before that is not known.
    unsure: bool,
    /// When it last said something new here, or came back to poll nobody else.
    news: News,
}

impl Polls {
    /// An agent whose polls begin to come here.
    pub fn new(news: News) -> Self {
        Self { apart: 1, interrupted: false, unsure: false, news }
    }

    /// Whether a replica that does not have an agent takes it in: it is the agent's first replica, or the next message
    /// after the last one here comes here as well, or one of the next few, so that nobody else can have it alone. An
    /// agent that this replica `had` before it was started anew is back.
    pub fn take_in(missed: Missed, had: bool) -> bool {
        had || missed.apart().is_some()
    }

    /// Takes in that the agent, which this replica has, polls, perhaps with its `full` state. If it has come back from
    /// others, to poll nobody else, this replica knows it best by now.
    pub fn polled(&mut self, missed: Missed, full: bool, news: News) -> Edge {
        self.unsure = !full && (self.unsure || missed != Missed::Nothing);
        let apart = missed.apart().unwrap_or(FARTHEST);
        self.apart = apart.max(self.apart.saturating_sub(1));
        let returns = std::mem::replace(&mut self.interrupted, missed != Missed::Nothing);
        if returns && !self.interrupted {
            self.news = news;
            return Edge::Slow;
        }
        Edge::None
    }

    /// Whether it may have said something elsewhere that is not known here: an answer to what it was offered, perhaps.
    pub fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Takes in that the agent has said something new here.
    pub fn note_news(&mut self, news: News) {
        self.news = news;
    }

    /// When this replica last learned something of the agent that others may not know.
    pub fn news(&self) -> News {
        self.news
    }

    /// After how long without a poll here the agent is away, if it were after so long where nobody shares it.
    pub fn patience(&self, silence: Duration) -> Duration {
        silence.saturating_mul(self.apart.into())
    }
}

/// For how long a replica remembers an agent that only passed by.
pub fn remembered(silence: Duration) -> Duration {
    silence.saturating_mul(FARTHEST.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::at;

    /// A message for each second.
    fn news(second: u32) -> News {
        News { at: at(second.into()), number: second.into() }
    }

    #[test]
    fn replica_takes_an_agent_in_that_said_little_or_nothing_elsewhere() {
        for (missed, expected) in [
            (Missed::Nothing, true),
            (Missed::Messages(1), true),
            (Missed::Messages(9), true),
            (Missed::Messages(10), false),
            (Missed::Messages(u64::MAX), false),
            (Missed::Unknown, false),
        ] {
            assert_eq!(Polls::take_in(missed, false), expected, "{missed:?}");
            assert!(Polls::take_in(missed, true), "{missed:?}: it had the agent before it was started anew");
        }
    }

    /// Where three replicas are polled in turn, each hears of the agent three times as rarely.
    #[test]
    fn agent_that_is_shared_is_waited_for_as_much_longer_as_it_polls_others() {
        let minute = Duration::from_mins(1);
        let mut polls = Polls::new(news(0));
        let mut patience = |missed| {
            polls.polled(missed, true, news(1));
            polls.patience(minute).as_secs() / 60
        };
        let missed = [Missed::Nothing, Missed::Messages(2), Missed::Messages(2), Missed::Unknown];
        assert_eq!(missed.map(&mut patience), [1, 3, 3, 10]);
        assert_eq!([Missed::Nothing; 10].map(&mut patience), [9, 8, 7, 6, 5, 4, 3, 2, 1, 1]);
    }

    #[test]
    fn what_an_agent_said_elsewhere_is_known_once_it_has_told_everything() {
        let mut polls = Polls::new(news(0));
        let told = [
            (Missed::Nothing, false, false),
            (Missed::Messages(1), false, true),
            (Missed::Nothing, false, true),
            (Missed::Nothing, true, false),
            (Missed::Unknown, true, false),
            (Missed::Unknown, false, true),
        ];
        for (missed, full, unsure) in told {
            polls.polled(missed, full, news(1));
            assert_eq!(polls.is_unsure(), unsure, "{missed:?}");
        }
    }

    #[test]
    fn agent_that_comes_back_from_others_is_known_best_here_from_then_on() {
        let mut polls = Polls::new(news(0));
        let missed =
            [Missed::Nothing, Missed::Messages(1), Missed::Messages(1), Missed::Nothing, Missed::Nothing];
        let told = [10, 20, 30, 40, 50].map(news).into_iter().zip(missed);
        let told: Vec<_> =
            told.map(|(now, missed)| (polls.polled(missed, true, now), polls.news())).collect();
        let before = (Edge::None, news(0));
        let back = news(40);
        assert_eq!(told, [before, before, before, (Edge::Slow, back), (Edge::None, back)]);
        polls.note_news(news(60));
        assert_eq!(polls.news(), news(60));
    }
}
