//! What a replica acts on: the groups with their assignments, and the revisions that these name.

use super::{
    Admission, AgentKey, Attributes, Belongings, Cohort, Ledger, PrincipalMark, Rank, Restart, Ring,
    TelemetryView, Treatment,
};
use crate::api::{AssignmentStatus, AttributeSelector, CollectorGroup, DriftMode, Term};
#[cfg(doc)]
use crate::config::Form;
use crate::config::{ConfigHash, Desired, Ignore, Inventory};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A revision that can be offered. It has no `Debug`, because it holds the configuration.
#[derive(Clone)]
pub struct Revision {
    /// The revision's name.
    pub name: Arc<str>,
    /// The hash of its content.
    pub hash: ConfigHash,
    /// Its files as they go over the wire.
    pub payload: Payload,
    /// What agents that cannot answer are expected to report as effective; parsed once and shared. Nothing for
    /// content that cannot be read.
    pub desired: Option<Desired>,
    /// The component types in it, if they are known.
    pub needs: Option<Inventory>,
    /// Texts from Secrets in it, which agents may repeat in their messages and nobody shall read there.
    pub secrets: Box<[Box<str>]>,
}

/// The files of a revision as they go over the wire, encoded once and shared by all sessions. No `Debug`: they are
/// the configuration.
#[derive(Clone, Default)]
pub struct Payload {
    /// The files.
    pub files: Bytes,
    /// One file more that says nothing, for [`Form::is_padded`]; empty where there is none.
    pub padding: Bytes,
}

/// A group's assignment, ready to be asked for each agent.
#[derive(Clone, Default)]
pub struct Assignment {
    /// The generation of the group that it was decided for.
    pub generation: i64,
    /// Whether every revision that it names is here, and the target's cohort can be read. Without either an agent
    /// of the cohort would be sent back to stable, so nothing is offered until then.
    pub loaded: bool,
    /// What the cohort is to run.
    pub target: Option<Arc<Revision>>,
    /// What all others are to run.
    pub stable: Option<Arc<Revision>>,
    /// The agents that are to run the target; absent: nobody.
    pub cohort: Option<Cohort>,
    /// Which adoptees are admitted; absent: none.
    pub admission: Option<Admission>,
    /// The rings of the attempt's phases.
    pub rings: Vec<Ring>,
    /// Stable is offered even to agents that refused it.
    pub rolling_back: bool,
    /// Refusals from before this time are forgiven.
    pub retried_at: Option<Timestamp>,
    /// An agent that was offered its revision and has not answered for so long drifts; nothing: it is not judged by
    /// that.
    pub apply_timeout: Option<Duration>,
}

impl Assignment {
    /// The live revisions.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        [&self.target, &self.stable].into_iter().flatten().map(|revision| &**revision)
    }
}

/// How drift is looked for in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriftRules {
    /// It is not.
    pub off: bool,
    /// The places at which it does not count.
    pub ignore: Ignore,
    /// How often each agent is asked for its full state; zero: never.
    pub scan_interval: Duration,
}

impl DriftRules {
    /// Whether what was seen under the other rules counts under these.
    pub fn sees_the_same_as(&self, other: &Self) -> bool {
        (self.off, &self.ignore) == (other.off, &other.ignore)
    }
}

/// One group as a replica sees it.
#[derive(Clone)]
pub struct GroupView {
    /// The group's name.
    pub name: Arc<str>,
    /// The generation of its spec.
    pub generation: i64,
    /// Which agents belong to it.
    pub selector: AttributeSelector,
    /// The keys of the selector that count only if the agent's credential verifies them.
    pub require_verified: Vec<String>,
    /// Decides between several groups that match.
    pub priority: i32,
    /// When it was created; decides after the priority.
    pub created: Timestamp,
    /// Whether drift is looked for, and where it does not count.
    pub drift: DriftRules,
    /// Where its agents send their own telemetry; absent: they are told nothing of it.
    pub telemetry: Option<Arc<TelemetryView>>,
    /// Silence that means disconnected for agents that poll.
    pub offline_after: Duration,
    /// How long a disconnected agent is remembered.
    pub forget_after: Duration,
    /// What its agents are to run.
    pub assignment: Assignment,
}

impl GroupView {
    /// The group as its object describes it, with the revisions that `load` knows by name.
    pub fn new(group: &CollectorGroup, load: impl Fn(&str) -> Option<Arc<Revision>>) -> Self {
        let spec = &group.spec;
        let assignment = group.status.as_ref().and_then(|status| status.assignment.as_ref());
        Self {
            name: group.metadata.name.as_deref().unwrap_or_default().into(),
            generation: group.metadata.generation.unwrap_or_default(),
            selector: spec.selector.clone(),
            require_verified: spec.require_verified.clone(),
            priority: spec.priority,
            created: group.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0),
            drift: DriftRules {
                off: spec.drift.mode == DriftMode::Off,
                // The API server has checked their form.
                ignore: Ignore::new(&spec.drift.ignore).unwrap_or_default(),
                scan_interval: spec.drift.scan_interval.get(),
            },
            telemetry: None,
            offline_after: spec.offline_after.get(),
            forget_after: spec.forget_after.get(),
            assignment: assignment.map_or_else(Assignment::default, |assignment| read(assignment, load)),
        }
    }

    /// A group of all agents of its namespace, each of which is to run `target`, else `stable`: what simulations and
    /// tests start from.
    pub fn of_all(name: &str, target: Option<Arc<Revision>>, stable: Option<Arc<Revision>>) -> Self {
        let everybody = [Term { boundary: Rank::ALL.to_string(), ..Term::default() }];
        Self {
            name: name.into(),
            generation: 1,
            selector: AttributeSelector::default(),
            require_verified: Vec::new(),
            priority: 0,
            created: Timestamp::UNIX_EPOCH,
            drift: DriftRules::default(),
            telemetry: None,
            offline_after: Duration::from_secs(90),
            forget_after: Duration::from_hours(1),
            assignment: Assignment {
                generation: 1,
                loaded: true,
                target,
                stable,
                cohort: Cohort::read("0000000000000001", &everybody),
                ..Assignment::default()
            },
        }
    }

    /// Whether replicas may act on the assignment: an edited selector never acts before the leader has seen it.
    pub fn may_offer(&self) -> bool {
        self.assignment.loaded && self.assignment.generation >= self.generation
    }

    /// From when on a refusal is not forgiven. Times are written by the second, so the answer to a retry must not
    /// bear the second of the retry.
    pub fn refusals_count_from(&self) -> Timestamp {
        let next = self
            .assignment
            .retried_at
            .and_then(|retried| retried.checked_add(SignedDuration::from_secs(1)).ok());
        next.unwrap_or(Timestamp::MIN)
    }
}

fn read(status: &AssignmentStatus, load: impl Fn(&str) -> Option<Arc<Revision>>) -> Assignment {
    let target = status.target.as_deref().and_then(&load);
    let stable = status.stable.as_deref().and_then(&load);
    let cohort = Cohort::read(&status.seed, &status.terms);
    let loaded = target.is_some() == status.target.is_some() && stable.is_some() == status.stable.is_some();
    // Nobody can tell who is in the cohort by a selector of a newer version.
    let known =
        !status.terms.iter().filter_map(|term| term.selector.as_ref()).any(AttributeSelector::is_newer);
    Assignment {
        generation: status.generation,
        loaded: loaded && known && (target.is_none() || cohort.is_some()),
        target,
        stable,
        cohort,
        admission: status.adoption.as_ref().and_then(Admission::read),
        rings: status.rings.iter().filter(|ring| !ring.is_newer()).cloned().map(Ring::new).collect(),
        rolling_back: status.rolling_back,
        retried_at: status.retried_at.as_ref().map(|time| time.0),
        apply_timeout: status.apply_timeout.as_ref().map(crate::api::Duration::get),
    }
}

/// Everything a replica acts on. Replaced as a whole when anything in it changes.
#[derive(Clone, Default)]
pub struct View {
    /// The groups of each namespace, in the order in which agents fall into them.
    namespaces: HashMap<Arc<str>, Vec<GroupView>>,
    /// Whose the revisions of each namespace are.
    belongings: HashMap<Arc<str>, Belongings>,
    /// The agents that the leader puts right.
    treatments: HashMap<AgentKey, Treatment>,
    /// The agents that it has started anew, because a person asked for that.
    restarts: HashMap<AgentKey, Restart>,
    /// What agents refused, whichever replica heard it.
    refusals: HashMap<AgentKey, Ledger>,
    /// Whose an agent is, where another holder's agent has come with its uid.
    bindings: HashMap<AgentKey, PrincipalMark>,
}

/// The groups that match an agent.
#[derive(Clone, Copy)]
pub struct Membership<'a> {
    /// The group that the agent belongs to.
    pub group: Option<&'a GroupView>,
    /// The next one that matches as well, and lost.
    pub overlapping: Option<&'a GroupView>,
}

impl View {
    /// A view of these groups, each with its namespace.
    pub fn new(groups: impl IntoIterator<Item = (Arc<str>, GroupView)>) -> Self {
        let mut namespaces: HashMap<Arc<str>, Vec<GroupView>> = HashMap::new();
        for (namespace, group) in groups {
            namespaces.entry(namespace).or_default().push(group);
        }
        for groups in namespaces.values_mut() {
            groups.sort_by(|a, b| {
                b.priority.cmp(&a.priority).then_with(|| (a.created, &a.name).cmp(&(b.created, &b.name)))
            });
        }
        Self { namespaces, ..Self::default() }
    }

    /// Adds an agent that the leader puts right.
    pub fn treat(&mut self, agent: AgentKey, treatment: Treatment) {
        self.treatments.insert(agent, treatment);
    }

    /// How the leader puts an agent right, if it does.
    pub fn treatment(&self, agent: &AgentKey) -> Option<&Treatment> {
        self.treatments.get(agent)
    }

    /// Adds an agent that is to be started anew, because a person asked for that.
    pub fn restart(&mut self, agent: AgentKey, restart: Restart) {
        self.restarts.insert(agent, restart);
    }

    /// The restart of an agent that a person asked for.
    pub fn restart_of(&self, agent: &AgentKey) -> Option<Restart> {
        self.restarts.get(agent).copied()
    }

    /// Adds what an agent refused.
    pub fn refuse(&mut self, agent: AgentKey, refused: Ledger) {
        self.refusals.insert(agent, refused);
    }

    /// What an agent refused, as the leader tells all replicas.
    pub fn refused(&self, agent: &AgentKey) -> Option<&Ledger> {
        self.refusals.get(agent)
    }

    /// Adds whose an agent is.
    pub fn bind(&mut self, agent: AgentKey, mark: PrincipalMark) {
        self.bindings.insert(agent, mark);
    }

    /// Whose an agent is, if the leader tells all replicas.
    pub fn binding(&self, agent: &AgentKey) -> Option<PrincipalMark> {
        self.bindings.get(agent).copied()
    }

    /// Adds whose the revisions of a namespace are. Without that no agent is taken to run another group's.
    pub fn know(&mut self, namespace: Arc<str>, belongings: Belongings) {
        self.belongings.insert(namespace, belongings);
    }

    /// Whether a content is a revision of other groups only.
    pub fn is_foreign(&self, namespace: &str, content: ConfigHash, group: &str) -> bool {
        self.belongings.get(namespace).is_some_and(|belongings| belongings.is_foreign(content, group))
    }

    /// The group of an agent: the highest priority wins, then the older group, then the name (design, section 2).
    /// `verified` are the attributes that come from its credential.
    pub fn membership(
        &self,
        namespace: &str,
        attributes: &Attributes,
        verified: &Attributes,
    ) -> Membership<'_> {
        let matches = |group: &&GroupView| {
            super::matches_verified(&group.selector, &group.require_verified, attributes, verified)
        };
        let mut matching = self.groups(namespace).iter().filter(matches);
        Membership { group: matching.next(), overlapping: matching.next() }
    }

    /// A group by name.
    pub fn group(&self, namespace: &str, name: &str) -> Option<&GroupView> {
        self.groups(namespace).iter().find(|group| &*group.name == name)
    }

    /// The rings of these groups, each once.
    pub fn rings<'a>(&'a self, namespace: &str, groups: impl IntoIterator<Item = &'a str>) -> Vec<&'a Ring> {
        let groups = groups.into_iter().filter_map(|name| self.group(namespace, name));
        let rings = groups.flat_map(|group| &group.assignment.rings).map(|ring| (ring.key(), ring));
        rings.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// A revision that some group of the namespace is assigned.
    pub fn revision(&self, namespace: &str, hash: ConfigHash) -> Option<&Revision> {
        let mut live = self.groups(namespace).iter().flat_map(|group| group.assignment.revisions());
        live.find(|revision| revision.hash == hash)
    }

    /// Whether some group is assigned this content.
    pub fn is_live(&self, content: ConfigHash) -> bool {
        let groups = self.namespaces.values().flatten();
        groups.flat_map(|group| group.assignment.revisions()).any(|revision| revision.hash == content)
    }

    fn groups(&self, namespace: &str) -> &[GroupView] {
        self.namespaces.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
