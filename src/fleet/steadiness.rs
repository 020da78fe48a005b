//! Whether an agent stays well with the configuration that it applied (design, section 6: *Good*).
//!
//! The leader looks at an agent now and then, so the replica remembers what came and went in between.

use super::Outcome;
use crate::config::ConfigHash;
use jiff::Timestamp;
use std::num::NonZeroI64;

/// What happened to an agent since it applied the content that it runs. Small, because there is one for each agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steadiness {
    /// The first bytes of the content's hash; 0: it runs none.
    content: u64,
    /// It was healthy with it, or does not report its health.
    well: bool,
    /// When its process was started, by its own clock.
    started: Option<Second>,
    fell_ill: Option<Second>,
    restarted: Option<Second>,
}

/// Seconds since 1970, as slices have them.
type Second = NonZeroI64;

/// How an agent did not stay well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faltered {
    /// When it first turned unhealthy, after it had been healthy.
    pub fell_ill: Option<Timestamp>,
    /// When it was last seen to have been started anew.
    pub restarted: Option<Timestamp>,
}

impl Steadiness {
    /// What an earlier run of this replica wrote.
    pub fn restored(hash: Option<ConfigHash>, started: Option<i64>, faltered: Faltered) -> Self {
        let second = |time: Option<Timestamp>| Second::new(time?.as_second());
        Self {
            content: hash.map_or(0, prefix),
            well: false,
            started: started.and_then(Second::new),
            fell_ill: second(faltered.fell_ill),
            restarted: second(faltered.restarted),
        }
    }

    /// How it did not stay well.
    pub fn faltered(&self) -> Faltered {
        let time = |second: Option<Second>| Timestamp::from_second(second?.get()).ok();
        Faltered { fell_ill: time(self.fell_ill), restarted: time(self.restarted) }
    }

    /// When its process was started, by its own clock, in seconds since 1970.
    pub fn started(&self) -> Option<i64> {
        self.started.map(Second::get)
    }

    /// Takes in what the agent is known to run. Other content, and the same when it is applied anew, begin anew.
    pub fn runs(&mut self, hash: Option<ConfigHash>, outcome: &Outcome, healthy: Option<bool>) {
        match (outcome, hash) {
            (Outcome::Applied, Some(hash)) if self.content != prefix(hash) => {
                let well = healthy != Some(false);
                *self = Self { content: prefix(hash), well, started: self.started, ..Self::default() };
            }
            // It applies something, which may start it anew.
            (Outcome::Applying, _) => self.is_disturbed(),
            _ => {}
        }
    }

    /// Something was sent to the agent that may start it anew, or make it ill for a while, by order.
    pub fn is_disturbed(&mut self) {
        self.well = false;
        self.started = None;
    }

    /// Takes in a report of health; true if the agent faltered.
    pub fn reports(&mut self, healthy: bool, started: Option<i64>, now: Timestamp) -> bool {
        let (now, started) = (Second::new(now.as_second()), started.and_then(Second::new));
        let before = (self.fell_ill, self.restarted);
        if !healthy && self.well {
            self.fell_ill = self.fell_ill.or(now);
        }
        if started.zip(self.started).is_some_and(|(new, known)| new > known) {
            self.restarted = now;
        }
        self.well |= healthy;
        self.started = started.or(self.started);
        (self.fell_ill, self.restarted) != before
    }
}

fn prefix(hash: ConfigHash) -> u64 {
    hash.as_bytes().iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{B, C, at, hash};

    /// An agent that applied `B` while it was healthy and had been started at second 100.
    fn steady() -> Steadiness {
        let mut steady = Steadiness::default();
        steady.runs(Some(hash(B)), &Outcome::Applying, Some(true));
        steady.reports(false, None, at(1));
        steady.reports(true, Some(100), at(2));
        steady.runs(Some(hash(B)), &Outcome::Applied, Some(true));
        steady
    }

    #[test]
    fn supervised_collector_that_is_restarted_to_apply_does_not_falter() {
        assert_eq!(steady().faltered(), Faltered::default());
    }

    #[test]
    fn agent_that_falls_ill_for_a_moment_has_faltered() {
        let mut steady = steady();
        assert!(steady.reports(false, Some(100), at(5)));
        assert!(!steady.reports(true, Some(100), at(6)));
        assert!(!steady.reports(false, Some(100), at(7)), "the first time counts");
        assert_eq!(steady.faltered(), Faltered { fell_ill: Some(at(5)), restarted: None });
    }

    #[test]
    fn agent_that_was_never_well_with_it_does_not_fall_ill() {
        let mut steady = Steadiness::default();
        steady.runs(Some(hash(B)), &Outcome::Applied, Some(false));
        assert!(!steady.reports(false, None, at(1)));
        assert!(!steady.reports(true, None, at(2)));
        assert!(steady.reports(false, None, at(3)));
    }

    #[test]
    fn agent_that_is_started_anew_has_faltered_and_the_last_time_counts() {
        let mut steady = steady();
        assert!(!steady.reports(true, Some(100), at(5)));
        assert!(!steady.reports(true, None, at(5)), "it does not say");
        assert!(steady.reports(true, Some(105), at(6)));
        assert!(steady.reports(true, Some(107), at(8)));
        assert_eq!(steady.faltered(), Faltered { fell_ill: None, restarted: Some(at(8)) });
    }

    #[test]
    fn other_content_and_the_same_applied_anew_begin_anew() {
        let mut ill = steady();
        ill.reports(false, Some(105), at(5));
        ill.runs(Some(hash(B)), &Outcome::Applied, Some(false));
        assert_ne!(ill.faltered(), Faltered::default(), "a repeated report changes nothing");
        ill.runs(Some(hash(C)), &Outcome::Applied, Some(true));
        assert_eq!(ill.faltered(), Faltered::default());

        let mut again = steady();
        again.runs(Some(hash(B)), &Outcome::Applying, Some(true));
        again.reports(false, Some(105), at(9));
        assert_eq!(again.faltered(), Faltered::default(), "it is being applied again");
    }

    #[test]
    fn what_was_restored_goes_on() {
        let ill = Faltered { fell_ill: Some(at(1)), restarted: None };
        let mut steady = Steadiness::restored(Some(hash(B)), Some(100), ill);
        steady.runs(Some(hash(B)), &Outcome::Applied, Some(true));
        assert_eq!(steady.faltered(), ill);
        assert!(steady.reports(true, Some(200), at(9)), "it was started anew while nobody looked");
    }
}
