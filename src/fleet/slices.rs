//! Which agent stands in which slice, and by when each slice is to be written.

use super::{Edge, InstanceUid};
use crate::api::AgentSliceSpec;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most agents of a slice (design, section 4).
pub const SLICE_CAPACITY: usize = 250;

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
    /// When the first of them is due. Kept, because it is asked for with every message.
    next_due: Option<Timestamp>,
}

/// A slice's members, and by when it is to be written.
#[derive(Default)]
struct Slice {
    members: BTreeSet<InstanceUid>,
    due: Option<Timestamp>,
}

impl Slices {
    /// No slices yet.
    pub fn new(delays: Delays) -> Self {
        Self { delays, by_id: BTreeMap::new(), next_due: None }
    }

    /// Puts an agent into the first slice of its namespace that has room; returns its number.
    pub fn place(&mut self, namespace: &Arc<str>, uid: InstanceUid) -> u32 {
        let id = |number| SliceId { namespace: namespace.clone(), number };
        let mut free = id(0);
        for (taken, slice) in self.by_id.range(id(0)..=id(u32::MAX)) {
            if taken.number > free.number || slice.members.len() < SLICE_CAPACITY {
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

    /// Has a slice written in time for the edge. One that turns out to be empty is deleted then.
    pub fn mark(&mut self, id: SliceId, edge: Edge, now: Timestamp) {
        let delay = match edge {
            Edge::None => return,
            Edge::Slow => self.delays.slow,
            Edge::Urgent => self.delays.urgent,
        };
        let due = now.checked_add(signed(delay)).unwrap_or(Timestamp::MAX);
        let earliest = |known: Option<Timestamp>| Some(known.map_or(due, |known| known.min(due)));
        let slice = self.by_id.entry(id).or_default();
        slice.due = earliest(slice.due);
        self.next_due = earliest(self.next_due);
    }

    /// Has all slices written in time for the edge.
    pub fn mark_all(&mut self, edge: Edge, now: Timestamp) {
        for id in self.by_id.keys().cloned().collect::<Vec<_>>() {
            self.mark(id, edge, now);
        }
    }

    /// When the next slice is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    /// The slices that are due at `now`, which count as written from then on, with what `pack` makes of each.
    pub fn take_due(
        &mut self,
        now: Timestamp,
        pack: impl Fn(&SliceId, &BTreeSet<InstanceUid>) -> AgentSliceSpec,
    ) -> Vec<SliceContent> {
        let mut contents = Vec::new();
        self.by_id.retain(|id, slice| {
            if slice.due.is_none_or(|due| due > now) {
                return true;
            }
            slice.due = None;
            let spec = (!slice.members.is_empty()).then(|| pack(id, &slice.members));
            contents.push(SliceContent { id: id.clone(), spec });
            !slice.members.is_empty()
        });
        self.next_due = self.by_id.values().filter_map(|slice| slice.due).min();
        contents
    }
}

/// A length of time as `jiff` has it.
pub fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
