//! Which agent stands in which slice, and by when each slice is to be written.

use super::{Edge, InstanceUid};
use crate::api::AgentSliceSpec;
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most agents of a slice (design, section 4).
pub const SLICE_CAPACITY: usize = 250;

/// Two slices that have no more agents than this together become one. It leaves room for those who come, so that what
/// was put together is not soon full. Of a namespace there is at most one slice with half of it or fewer: so many agents
/// stand in at most `agents / 101 + 1` slices.
const TOGETHER_AT_MOST: usize = 200;

/// How long edges may wait before they are written. The times that a test scales down.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// For a verdict, a drift or a change of health.
    pub urgent: Duration,
    /// For any other edge.
    pub slow: Duration,
    /// Assumed interval of an agent that polls; three of them without a poll mean disconnected.
    pub assumed_interval: Duration,
}

/// A slice: its namespace and number. Its object is named `REPLICA-NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceId {
    /// The namespace of the agents in it.
    pub namespace: Arc<str>,
    /// Numbers the replica's slices of a namespace from 0.
    pub number: u32,
}

/// What a slice is to hold: nothing any more means that its object goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceContent {
    /// Which slice.
    pub id: SliceId,
    /// Its content.
    pub spec: Option<AgentSliceSpec>,
}

/// The slices of this replica.
pub struct Slices {
    delays: Delays,
    by_id: BTreeMap<SliceId, Slice>,
    /// The slices that were taken and are not known to be written, each with when it was due first: of these the API
    /// server may have an older state.
    unwritten: BTreeMap<SliceId, Timestamp>,
    /// The namespaces of which a slice is being written: each has one write at a time, so that none overtakes another.
    writing: BTreeSet<Arc<str>>,
    /// The namespace that had its turn last.
    turn: Option<Arc<str>>,
    /// When the first slice of the other namespaces is due. Kept, because it is asked for with every message.
    next_due: Option<Timestamp>,
}

/// A slice's members, and by when it is to be written.
#[derive(Default)]
struct Slice {
    members: BTreeSet<InstanceUid>,
    due: Option<Timestamp>,
    /// All its members have a place in another slice. They stand in this one as well until that one is written: an agent
    /// is never missing between two writes.
    emptying: Option<Emptying>,
}

/// Where the members of a slice went.
struct Emptying {
    into: u32,
    /// That slice was taken to be written with them in it.
    taken: bool,
}

/// The agents of a slice have a place in another one of their namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Their namespace.
    pub namespace: Arc<str>,
    /// The number of the slice that tells of them from now on.
    pub into: u32,
    /// Who they are.
    pub agents: Vec<InstanceUid>,
}

impl Slices {
    /// No slices yet.
    pub fn new(delays: Delays) -> Self {
        Self {
            delays,
            by_id: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            writing: BTreeSet::new(),
            turn: None,
            next_due: None,
        }
    }

    /// Puts an agent into the first slice of its namespace that has room; returns its number.
    pub fn place(&mut self, namespace: &Arc<str>, uid: InstanceUid) -> u32 {
        let id = |number| SliceId { namespace: namespace.clone(), number };
        let mut free = id(0);
        for (taken, slice) in self.by_id.range(id(0)..=id(u32::MAX)) {
            if taken.number > free.number || slice.has_room() {
                break;
            }
            free.number = taken.number.saturating_add(1);
        }
        let number = free.number;
        self.put(free, uid);
        number
    }

    /// Puts an agent into a certain slice.
    pub fn put(&mut self, id: SliceId, uid: InstanceUid) {
        self.by_id.entry(id).or_default().members.insert(uid);
    }

    /// Takes an agent out of its slice.
    pub fn remove(&mut self, id: &SliceId, uid: InstanceUid) {
        if let Some(slice) = self.by_id.get_mut(id) {
            slice.members.remove(&uid);
        }
    }

    /// Puts small slices together. The smallest goes into the fullest that it leaves room in, so that few agents move.
    pub fn compact(&mut self, now: Timestamp) -> Vec<Moved> {
        let mut moves = Vec::new();
        while let Some((from, into)) = self.small_pair() {
            let Some(slice) = self.by_id.get_mut(&from) else { break };
            slice.emptying = Some(Emptying { into: into.number, taken: false });
            let agents: Vec<InstanceUid> = slice.members.iter().copied().collect();
            self.by_id.entry(into.clone()).or_default().members.extend(&agents);
            moves.push(Moved { namespace: from.namespace, into: into.number, agents });
            self.mark(into, Edge::Slow, now);
        }
        moves
    }

    /// The smallest slice of a namespace and the fullest that can take it in, if there are two such.
    fn small_pair(&self) -> Option<(SliceId, SliceId)> {
        let filled = || self.by_id.iter().filter(|(_, slice)| !slice.members.is_empty());
        let taking: BTreeSet<SliceId> = filled().filter_map(|(id, slice)| slice.target(id)).collect();
        let staying = || filled().filter(|(_, slice)| slice.emptying.is_none());
        let is_small = |slice: &Slice| slice.members.len() * 2 <= TOGETHER_AT_MOST;
        let mut sources: Vec<_> =
            staying().filter(|(id, slice)| is_small(slice) && !taking.contains(id)).collect();
        sources.sort_by_key(|(id, slice)| (slice.members.len(), Reverse(id.number)));
        sources.into_iter().find_map(|(from, small)| {
            let fits = |(id, other): &(&SliceId, &Slice)| {
                *id != from
                    && id.namespace == from.namespace
                    && small.members.len() + other.members.len() <= TOGETHER_AT_MOST
            };
            let (into, _) = staying().filter(fits).max_by_key(|(_, other)| other.members.len())?;
            Some((from.clone(), into.clone()))
        })
    }

    /// A slice was written as it was last taken: those that went into it go.
    pub fn written(&mut self, id: &SliceId, now: Timestamp) {
        self.release(&id.namespace);
        self.unwritten.remove(id);
        let went = self.by_id.iter_mut().filter(|(from, slice)| {
            slice.emptying.as_ref().is_some_and(|emptying| emptying.taken)
                && slice.target(from).as_ref() == Some(id)
        });
        let emptied = went.map(|(from, slice)| {
            slice.members.clear();
            slice.emptying = None;
            from.clone()
        });
        for from in emptied.collect::<Vec<_>>() {
            self.mark(from, Edge::Urgent, now);
        }
    }

    /// A slice could not be written: it is due again.
    pub fn write_failed(&mut self, id: &SliceId, now: Timestamp) {
        self.release(&id.namespace);
        self.mark(id.clone(), Edge::Urgent, now);
    }

    /// No slice of this namespace is being written any more.
    pub fn release(&mut self, namespace: &str) {
        self.writing.remove(namespace);
        self.next_due = self.first_due();
    }

    /// Has a slice written in time for the edge. One that turns out to be empty is deleted then.
    pub fn mark(&mut self, id: SliceId, edge: Edge, now: Timestamp) {
        let delay = match edge {
            Edge::None => return,
            Edge::Slow => self.delays.slow,
            Edge::Urgent => self.delays.urgent,
        };
        let due = now.checked_add(signed(delay)).unwrap_or(Timestamp::MAX);
        let earliest = |known: Option<Timestamp>| Some(known.map_or(due, |known| known.min(due)));
        if !self.writing.contains(&id.namespace) {
            self.next_due = earliest(self.next_due);
        }
        let slice = self.by_id.entry(id).or_default();
        slice.due = earliest(slice.due);
    }

    /// Has all slices written in time for the edge.
    pub fn mark_all(&mut self, edge: Edge, now: Timestamp) {
        for id in self.by_id.keys().cloned().collect::<Vec<_>>() {
            self.mark(id, edge, now);
        }
    }

    /// Has every slice that is due some day be due by `now`.
    pub fn hasten(&mut self, now: Timestamp) {
        for due in self.by_id.values_mut().filter_map(|slice| slice.due.as_mut()) {
            *due = now.min(*due);
        }
        self.next_due = self.first_due();
    }

    /// When the next slice is due of the namespaces of which none is being written.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    /// The namespaces in which a slice was due by `time` and is not written: no write has come to it, or it fails.
    pub fn behind(&self, time: Timestamp) -> BTreeSet<Arc<str>> {
        let due = self.by_id.iter().filter_map(|(id, slice)| Some((id, slice.due?)));
        let taken = self.unwritten.iter().map(|(id, due)| (id, *due));
        due.chain(taken).filter(|(_, due)| *due <= time).map(|(id, _)| id.namespace.clone()).collect()
    }

    /// The slice to be written next of those that are due at `now`, with what `pack` makes of it. It is not due from then
    /// on, and no other one of its namespace is taken before its write has ended.
    pub fn take_next(
        &mut self,
        now: Timestamp,
        pack: impl FnOnce(&SliceId, &BTreeSet<InstanceUid>) -> AgentSliceSpec,
    ) -> Option<SliceContent> {
        let id = self.next_turn(now)?;
        let slice = self.by_id.get_mut(&id)?;
        let due = slice.due.take()?;
        self.unwritten.entry(id.clone()).or_insert(due);
        let spec = (!slice.members.is_empty()).then(|| pack(&id, &slice.members));
        if spec.is_none() {
            self.by_id.remove(&id);
        }
        for (from, slice) in &mut self.by_id {
            if slice.target(from).as_ref() == Some(&id)
                && let Some(emptying) = &mut slice.emptying
            {
                emptying.taken = true;
            }
        }
        self.writing.insert(id.namespace.clone());
        self.turn = Some(id.namespace.clone());
        self.next_due = self.first_due();
        Some(SliceContent { id, spec })
    }

    /// Namespaces take turns in the order of their names, so that one with many slices does not hold up the others. Of a
    /// namespace, that slice is next which has been due for the longest.
    fn next_turn(&self, now: Timestamp) -> Option<SliceId> {
        let had_its_turn = |id: &SliceId| self.turn.as_ref().is_some_and(|last| id.namespace <= *last);
        let due = self.waiting().filter(|(_, due)| *due <= now);
        let next = due.min_by_key(|(id, due)| (had_its_turn(id), &id.namespace, *due, id.number));
        next.map(|(id, _)| id.clone())
    }

    fn first_due(&self) -> Option<Timestamp> {
        self.waiting().map(|(_, due)| due).min()
    }

    /// The slices that are due some day, of the namespaces of which none is being written.
    fn waiting(&self) -> impl Iterator<Item = (&SliceId, Timestamp)> {
        let free = self.by_id.iter().filter(|(id, _)| !self.writing.contains(&id.namespace));
        free.filter_map(|(id, slice)| Some((id, slice.due?)))
    }
}

impl Slice {
    fn has_room(&self) -> bool {
        self.members.len() < SLICE_CAPACITY && self.emptying.is_none()
    }

    /// The slice that the members of this one went into.
    fn target(&self, own: &SliceId) -> Option<SliceId> {
        let number = self.emptying.as_ref()?.into;
        Some(SliceId { namespace: own.namespace.clone(), number })
    }
}

/// A length of time as `jiff` has it.
pub fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
