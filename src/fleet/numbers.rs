//! What the numbers of an agent's messages tell a replica: whether it missed some, where they may have gone, and whether
//! the agent is to be asked for its full state (specification, "Agent Status Compression").

use super::Missed;
use jiff::SignedDuration;

/// An agent that was here so short a time ago has come back with the answer to a question of another replica. Shorter
/// than agents poll, longer than they take to answer.
const JUST_NOW: SignedDuration = SignedDuration::from_secs(1);

/// How a message stands to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing was heard of the agent before.
    First,
    /// It follows the last one.
    Next,
    /// It has the number of the last one: most often it is that one again, and taking in the newest message twice
    /// changes nothing. It may be another one all the same, and then something was lost.
    Repeated,
    /// Only a sign of life, which need not be numbered.
    Heartbeat,
    /// Messages in between were lost, this many.
    Gap(u64),
    /// Its number is lower: an old message came late, or the agent counts anew.
    Behind,
}

impl Place {
    /// The place of a message with this number after the one with the `last`; `empty` if it says nothing else.
    pub fn of(last: Option<u64>, number: u64, empty: bool) -> Self {
        match last {
            _ if number == 0 && empty => Self::Heartbeat,
            None => Self::First,
            Some(last) if last.checked_add(1) == Some(number) => Self::Next,
            Some(last) if last == number => Self::Repeated,
            Some(last) if last < number => Self::Gap(number - last - 1),
            Some(_) => Self::Behind,
        }
    }

    /// Whether the agent counts anew, or was never here.
    pub fn restarts(self, number: u64) -> bool {
        self == Self::First || self == Self::Behind && number <= 1
    }

    /// What the agent said to other replicas since its last message here, if there was one; nothing if it `begins` with
    /// this one.
    pub fn missed(self, is_known: bool, begins: bool) -> Missed {
        match self {
            _ if begins => Missed::Nothing,
            Self::Next | Self::Repeated => Missed::Nothing,
            Self::Heartbeat if is_known => Missed::Nothing,
            Self::Gap(missed) => Missed::Messages(missed),
            Self::First | Self::Heartbeat | Self::Behind => Missed::Unknown,
        }
    }
}

/// What decides whether an agent has to be asked for its full state after a message.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Where the message stands.
    pub place: Place,
    /// What went to other replicas.
    pub missed: Missed,
    /// The agent counts anew, or was never here.
    pub restarts: bool,
    /// The message has the agent's full state.
    pub full: bool,
    /// It says nothing but who sent it.
    pub empty: bool,
    /// It tells of the agent's health, if the agent can.
    pub tells_health: bool,
    /// The agent polls.
    pub polls: bool,
    /// It was asked for its full state here, which had not come before this message.
    pub asked: bool,
    /// How long ago it was here last.
    pub last_here: Option<SignedDuration>,
}

impl Message {
    /// Whether something of the agent may be unknown here that only its full state brings.
    pub fn shows_loss(&self) -> bool {
        match self.place {
            // Agents answer at once, to whose turn it is. If each replica asked for what the other has just been told
            // there would be no end.
            Place::Gap(_) | Place::Behind if self.answers_another() => false,
            Place::Gap(_) | Place::Behind => !(self.full && self.restarts),
            Place::Repeated => !self.full && !self.empty,
            // It polls several replicas, of which another one may still wait for the full state, unless it is this one
            // that has asked for it.
            Place::First => self.polls && self.missed == Missed::Unknown && !(self.full && self.asked),
            Place::Next | Place::Heartbeat => false,
        }
    }

    fn answers_another(&self) -> bool {
        let was_just_here = self.last_here.is_some_and(|ago| ago < JUST_NOW);
        self.polls && self.full && self.tells_health && was_just_here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_a_message_is_told_by_its_number() {
        for (last, number, empty, place, missed) in [
            (None, 0, false, Place::First, Missed::Unknown),
            (None, 7, true, Place::First, Missed::Unknown),
            (None, 0, true, Place::Heartbeat, Missed::Unknown),
            (Some(7), 0, true, Place::Heartbeat, Missed::Nothing),
            (Some(7), 8, false, Place::Next, Missed::Nothing),
            (Some(7), 7, false, Place::Repeated, Missed::Nothing),
            (Some(7), 9, false, Place::Gap(1), Missed::Messages(1)),
            (Some(0), u64::MAX, false, Place::Gap(u64::MAX - 1), Missed::Messages(u64::MAX - 1)),
            (Some(7), 6, false, Place::Behind, Missed::Unknown),
            (Some(7), 0, false, Place::Behind, Missed::Unknown),
            (Some(u64::MAX), 0, false, Place::Behind, Missed::Unknown),
        ] {
            let found = Place::of(last, number, empty);
            assert_eq!((found, found.missed(last.is_some(), false)), (place, missed), "{last:?}, {number}");
            assert_eq!(found.missed(last.is_some(), true), Missed::Nothing, "its process begins with it");
        }
    }

    #[test]
    fn agent_counts_anew_with_its_first_number_or_is_new_here() {
        for (last, number, expected) in [
            (None, 9, true),
            (Some(7), 0, true),
            (Some(7), 1, true),
            (Some(7), 2, false),
            (Some(7), 9, false),
        ] {
            assert_eq!(Place::of(last, number, false).restarts(number), expected, "{last:?}, {number}");
        }
    }

    /// A message of an agent on a socket that says something, and not everything.
    fn message(place: Place) -> Message {
        Message {
            place,
            missed: Missed::Nothing,
            restarts: false,
            full: false,
            empty: false,
            tells_health: true,
            polls: false,
            asked: false,
            last_here: Some(SignedDuration::from_secs(30)),
        }
    }

    #[test]
    fn agent_is_asked_again_when_something_may_be_unknown_that_only_its_full_state_brings() {
        let just_now = Some(SignedDuration::from_millis(999));
        let full = |message: Message| Message { full: true, ..message };
        let polls = |message: Message| Message { polls: true, ..message };
        let gap = message(Place::Gap(1));
        let answer = Message { last_here: just_now, ..full(polls(gap)) };
        let first = Message { missed: Missed::Unknown, restarts: true, ..message(Place::First) };
        let anew = Message { restarts: true, ..full(message(Place::Behind)) };
        for (name, message, expected) in [
            ("the next", message(Place::Next), false),
            ("a sign of life", message(Place::Heartbeat), false),
            ("the same again, and empty", Message { empty: true, ..message(Place::Repeated) }, false),
            ("the same again, and full", full(message(Place::Repeated)), false),
            ("another one of the same number", message(Place::Repeated), true),
            ("a gap", gap, true),
            ("a gap before the full state", full(gap), true),
            ("an old one", message(Place::Behind), true),
            ("a new process, with all", anew, false),
            ("a new process, without", Message { full: false, ..anew }, true),
            ("the answer to another replica's question", answer, false),
            ("the same on a socket", Message { polls: false, ..answer }, true),
            ("the same without health", Message { tells_health: false, ..answer }, true),
            ("the same a second later", Message { last_here: Some(JUST_NOW), ..answer }, true),
            ("the same of one who was never here", Message { last_here: None, ..answer }, true),
            ("the same, and not all", Message { full: false, ..answer }, true),
            ("a stranger's on a socket", first, false),
            ("a stranger's poll", full(polls(first)), true),
            ("a stranger's poll that was asked for", Message { asked: true, ..full(polls(first)) }, false),
            ("a stranger's poll, asked for all and without", Message { asked: true, ..polls(first) }, true),
            ("the first poll of a process", Message { missed: Missed::Nothing, ..polls(first) }, false),
        ] {
            assert_eq!(message.shows_loss(), expected, "{name}: {message:?}");
        }
    }
}
