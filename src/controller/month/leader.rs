//! The leader: merges, forgets, treats, tells of refusals, and sweeps.

use super::World;
use super::agents::{Content, GROUPS};
use super::replicas::Replicas;
use super::store::Store;
use crate::api::{AgentSliceSpec, AssignmentStatus, CollectorGroupSpec, Term};
use crate::config::ConfigHash;
use crate::fleet::fixtures::{revision, selector};
use crate::fleet::{
    AgentKey, Excepted, GroupView, InstanceUid, Live, Memory, ObservedAgent, Rank, Restarts, SliceSource,
    View, bindings, is_forgotten, merge, outlived, pack_exceptions, unpack_exceptions,
};
use crate::heal::{Rules, Step, step};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time;

/// How long the agents of each group are remembered.
pub const FORGET_AFTER: [time::Duration; 2] = [time::Duration::from_hours(24), time::Duration::from_hours(2)];

/// What the leader has told, and what it saw last.
#[derive(Default)]
pub struct Leader {
    pub exceptions: [Vec<AgentSliceSpec>; 2],
    pub seen: Vec<ObservedAgent>,
    pub swept: usize,
    pub treated: usize,
    pub refused: usize,
}

fn memory(contents: [Content; 2], group: Option<&str>) -> Memory {
    let Some(index) = GROUPS.iter().position(|name| Some(*name) == group) else { return Memory::default() };
    let Content { target, stable } = contents[index];
    let live = [Some(target), stable].into_iter().flatten().map(World::hash_of).collect();
    Memory { forget_after: FORGET_AFTER[index], live, retried_at: None }
}

impl Leader {
    /// What replicas act on.
    pub fn view(&self, contents: [Content; 2]) -> Arc<View> {
        let group = |index: usize| {
            let Content { target, stable } = contents[index];
            let mut group = GroupView::of_all(GROUPS[index], Some(revision(target)), stable.map(revision));
            group.selector = selector("team", GROUPS[index]);
            group.forget_after = FORGET_AFTER[index];
            (Arc::from("ns"), group)
        };
        let mut view = View::new([group(0), group(1)]);
        let key = |uid| AgentKey { namespace: "ns".into(), uid };
        let told = unpack_exceptions(self.exceptions.iter().flatten());
        told.treatments.into_iter().for_each(|(uid, treatment)| view.treat(key(uid), treatment));
        told.refusals.into_iter().for_each(|(uid, refused)| view.refuse(key(uid), refused));
        Arc::new(view)
    }

    /// Looks at all slices, decides, tells and deletes.
    pub fn look(&mut self, now: Timestamp, replicas: &Replicas, store: &mut Store, contents: [Content; 2]) {
        let source =
            |(name, slice): (&'_ String, &'_ AgentSliceSpec)| (name.clone(), replicas.fate(&slice.replica));
        let fates: BTreeMap<_, _> = store.slices.iter().map(source).collect();
        let sources: Vec<SliceSource<'_>> = store
            .slices
            .iter()
            .map(|(name, slice)| SliceSource { name, replica: fates[name], slice })
            .collect();
        let forgotten = |agent: &ObservedAgent| {
            is_forgotten(agent, memory(contents, agent.group.as_deref()).forget_after, now)
        };
        let told = unpack_exceptions(self.exceptions.iter().flatten()).bindings;
        let seen = merge(sources.iter().copied(), &told).into_iter();
        self.seen = seen.filter(|agent| !forgotten(agent)).collect();
        let gone = outlived(&sources, |group| memory(contents, group), now);
        let gone: Vec<String> = gone.into_iter().map(str::to_owned).collect();
        let known: BTreeSet<InstanceUid> = self.seen.iter().map(|agent| agent.uid).collect();
        for name in gone {
            let lost = store.delete(&name);
            assert!(
                lost.iter().all(|uid| !known.contains(uid)),
                "{name} told of one that nobody else tells of"
            );
            self.swept += 1;
        }
        for group in 0..GROUPS.len() {
            self.exceptions[group] = self.tell(group, contents, now);
        }
    }

    fn tell(&mut self, group: usize, contents: [Content; 2], now: Timestamp) -> Vec<AgentSliceSpec> {
        let name = GROUPS[group];
        let agents: Vec<&ObservedAgent> =
            self.seen.iter().filter(|agent| agent.group.as_deref() == Some(name)).collect();
        let told = &self.exceptions[group];
        let Excepted { treatments: prior, refusals: refused, bindings: bound, .. } = unpack_exceptions(told);
        let name_of = |n: u8| format!("r-{n}");
        let content = contents[group];
        let assignment = AssignmentStatus {
            generation: 1,
            target: Some(name_of(content.target)),
            stable: content.stable.map(name_of),
            seed: "0000000000000001".into(),
            terms: vec![Term { boundary: Rank::ALL.to_string(), ..Term::default() }],
            ..AssignmentStatus::default()
        };
        let live = [Some(content.target), content.stable].into_iter().flatten();
        let hashes: BTreeMap<String, ConfigHash> = live.map(|n| (name_of(n), World::hash_of(n))).collect();
        let needs = BTreeMap::new();
        let rules = Rules::new(&CollectorGroupSpec::default(), None, 0, now);
        let Step { treatments, .. } = step(
            &prior,
            &Restarts::new(),
            &agents,
            &Live::new(&assignment, &hashes, &needs),
            |_| false,
            &rules,
        );
        let refusals = memory(contents, Some(name)).refusals(&refused, &agents);
        self.treated += treatments.len().saturating_sub(prior.len());
        self.refused += refusals.len().saturating_sub(refused.len());
        let bindings = bindings(&bound, &agents);
        pack_exceptions(name, &Excepted { treatments, refusals, bindings, ..Excepted::default() })
    }

    /// Since when an agent that left is to be forgotten by everybody.
    pub fn patience(group: Option<usize>) -> SignedDuration {
        let longest = group.map_or(FORGET_AFTER[0], |group| FORGET_AFTER[group]);
        crate::fleet::signed(longest)
    }
}
