use super::*;
use crate::config::ConfigHash;
use crate::fleet::fixtures::*;
use crate::fleet::{DriftClass, GroupView, Ledger, Ordered, Outcome, Revision, Verdict};

mod adoptees;
mod asked;
mod builds;
mod expiry;
mod machine;
mod moves;
mod offers;
mod orders;
mod principals;
mod restore;
mod rings;
mod secrets;
mod told;
mod turns;
mod written;

impl Roster {
    /// All slices that are due, for tests in which it does not matter in what order and how fast they are written.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<SliceContent> {
        let mut taken = Vec::new();
        while let Some(content) = self.take_next(now) {
            self.slices.release(&content.id.namespace);
            taken.push(content);
        }
        taken.sort_by_key(|content| content.id.clone());
        taken
    }
}

/// A roster with this target and stable revision for all agents of the namespace.
fn serving(target: Option<u8>, stable: Option<u8>) -> Roster {
    let mut roster = roster();
    roster.set_view(view([group("g", target, stable)]), at(0));
    roster
}

/// An agent connects over this link and sends its full state.
fn connect(roster: &mut Roster, n: u32, link: Link, now: Timestamp) {
    roster.receive(&key(n), full(), link, now);
}

fn ledger(roster: &Roster, n: u32) -> &Ledger {
    &roster.agent(&key(n)).expect("known").ledger
}
