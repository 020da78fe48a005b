//! Validation rules (CEL) that several kinds share.

use kube::core::Rule;

/// Refuses a status of an earlier leader, and one without its term.
///
/// It is a rule of the whole object, because a rule of the status is not asked when the status is taken away.
pub fn leader_term_rule() -> Rule {
    Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.leaderTerm) || \
         (has(self.status) && has(self.status.leaderTerm) && self.status.leaderTerm >= oldSelf.status.leaderTerm)",
    )
    .message("leaderTerm never falls: this write comes from a leader that has been replaced")
    .field_path(".status.leaderTerm")
}
