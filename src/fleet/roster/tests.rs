use super::*;
use crate::fleet::fixtures::*;
use crate::fleet::{Ledger, Verdict};

mod secrets;

/// A roster with this target and stable revision for all agents of the namespace.
fn serving(target: Option<u8>, stable: Option<u8>) -> Roster {
    let mut roster = roster();
    roster.set_view(view([group("g", target, stable)]), at(0));
    roster
}

fn ledger(roster: &Roster, n: u32) -> &Ledger {
    &roster.agent(&key(n)).expect("known").ledger
}
