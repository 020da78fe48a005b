//! What must hold before this replica is ready, and why it does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One thing that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The key of the content hashes is there.
    HashKey,
    /// The groups have been read once.
    Groups,
    /// This replica's own Lease is held.
    ReplicaLease,
    /// It has not been told to stop.
    Draining,
}

/// All checks, with the reason of each that does not hold. A handle.
#[derive(Clone)]
pub struct Readiness(Arc<Mutex<BTreeMap<Check, String>>>);

impl Default for Readiness {
    fn default() -> Self {
        let all = [Check::HashKey, Check::Groups, Check::ReplicaLease];
        Self(Arc::new(Mutex::new(all.map(|check| (check, "not known yet".to_owned())).into())))
    }
}

impl Readiness {
    /// The check holds.
    pub fn pass(&self, check: Check) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&check);
    }

    /// The check does not hold, and why.
    pub fn fail(&self, check: Check, why: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(check, why.to_owned());
    }

    /// What does not hold, a line each; empty when ready.
    pub fn report(&self) -> String {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<String> = failing.iter().map(|(check, why)| format!("{check:?}: {why}\n")).collect();
        lines.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_each_check_that_does_not_hold_and_why() {
        let readiness = Readiness::default();
        readiness.pass(Check::Groups);
        readiness.pass(Check::ReplicaLease);
        readiness.fail(Check::HashKey, "the secret is missing");
        assert_eq!(readiness.report(), "HashKey: the secret is missing\n");
        readiness.pass(Check::HashKey);
        assert_eq!(readiness.report(), "");
    }
}
