//! How often and how fast an agent is put right.

use crate::api::{CollectorGroupSpec, DriftMode, Duration, OnUnhealthy};
use crate::fleet::{InstanceUid, Seed, signed};
use jiff::{SignedDuration, Timestamp};

/// What treatments are decided by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Drift is put right.
    pub corrects: bool,
    /// Unhealthy agents are healed.
    pub heals: bool,
    /// After so many attempts an agent is quarantined.
    pub max_attempts: u32,
    /// The pause after the first attempt.
    pub initial_backoff: SignedDuration,
    /// The longest pause; who stays well for so long is forgotten.
    pub max_backoff: SignedDuration,
    /// Unhealthy for so long: healed.
    pub unhealthy_after: SignedDuration,
    /// Treatments from before this time are over: a person asked to try again.
    pub retried_at: Option<Timestamp>,
    /// So many agents of the group are disturbed by something else, and count against the limit.
    pub disturbed: usize,
    /// The time.
    pub now: Timestamp,
}

/// At least a second, which is how exactly the times of treatments are written.
fn least(duration: &Duration) -> SignedDuration {
    signed(duration.get()).max(SignedDuration::from_secs(1))
}

impl Rules {
    /// The rules of a group, of whose agents something else disturbs this many.
    pub fn new(
        spec: &CollectorGroupSpec,
        retried_at: Option<Timestamp>,
        disturbed: usize,
        now: Timestamp,
    ) -> Self {
        let correction = &spec.drift.correction;
        Self {
            corrects: spec.drift.mode == DriftMode::Correct,
            heals: spec.health.on_unhealthy == OnUnhealthy::Heal,
            max_attempts: u32::try_from(correction.max_attempts).unwrap_or(1),
            initial_backoff: least(&correction.initial_backoff),
            max_backoff: least(&correction.max_backoff),
            unhealthy_after: least(&spec.health.unhealthy_after),
            retried_at,
            disturbed,
            now,
        }
    }

    /// The pause after so many attempts: doubled each time, and up to a quarter shorter, so that agents which fell
    /// together are not put right together for ever. The chance is in the uid: every leader comes to the same.
    pub(super) fn pause(&self, uid: InstanceUid, attempts: u32) -> SignedDuration {
        let doublings = attempts.saturating_sub(1).min(30);
        let whole = self.initial_backoff.saturating_mul(2_i32.pow(doublings)).min(self.max_backoff);
        let shorter = Seed::new(u64::from(attempts)).rank(uid).fraction() / 4.0;
        whole - SignedDuration::from_secs_f64(whole.as_secs_f64() * shorter)
    }
}
