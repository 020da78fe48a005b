//! Messages that say what is in effect. That is compared without the lock, because it takes long for a message that
//! wants it to.

use super::Hub;
use crate::config::ConfigFile;
use crate::drift::look;
use crate::fleet::{AgentKey, InstanceUid, Link, Principal};
use crate::opamp::answer::Answer;
use crate::opamp::chance::pause;
use crate::opamp::proto::AgentToServer;
use crate::opamp::report;
use jiff::Timestamp;
use std::sync::Arc;

impl Hub {
    /// Takes in a decoded message. What it says is in effect is compared afterwards and without the lock, because that
    /// takes long for a message that wants it to.
    pub(super) fn take_in(&self, message: AgentToServer, principal: &Arc<Principal>, link: Link) -> Answer {
        let effective = message.effective_config.clone();
        let uid = InstanceUid::from_wire(&message.instance_uid);
        let limits = self.limits();
        let answer = match self.with_state(|state| state.receive(message, principal, link, limits)) {
            Ok(answer) => answer,
            Err((uid, excess)) => {
                self.metrics.message_refused(excess.reason());
                return Answer::unavailable(uid, &excess.to_string(), pause());
            }
        };
        let key = uid.map(|uid| AgentKey { namespace: principal.namespace.clone(), uid });
        let own = |key: &AgentKey| {
            self.with_roster(|roster| roster.agent(key).is_some_and(|agent| agent.belongs_to(principal)))
        };
        if let (Some(effective), Some(key)) = (effective, key.filter(own)) {
            let files = report::effective(effective);
            self.conclude(&files, &key, link);
            self.look_for_drift(&files, &key, link);
        }
        answer
    }

    /// Finds out whether an agent that says nothing else of its configuration runs what it is assigned.
    fn conclude(&self, effective: &[ConfigFile], key: &AgentKey, link: Link) {
        if let Some(revision) = self.with_roster(|roster| roster.compared_with(key, link))
            && let Some(desired) = &revision.desired
        {
            let covers = desired.is_covered_by(effective);
            let now = Timestamp::now();
            self.with_state(|state| state.roster.note_effective(key, revision.hash, covers, now));
        }
    }

    /// Compares what is in effect on an agent that has applied its revision.
    fn look_for_drift(&self, effective: &[ConfigFile], key: &AgentKey, link: Link) {
        if let Some(hash_key) = self.key.get()
            && let Some((revision, rules)) = self.with_roster(|roster| roster.looked_for(key, link))
            && let Some(desired) = &revision.desired
        {
            let finding = look(desired, effective, &rules.ignore, hash_key);
            let of = (revision.hash, rules.ignore);
            self.with_state(|state| state.note_finding((key, link), of, &finding, Timestamp::now()));
        }
    }
}
