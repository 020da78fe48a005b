//! Writes of a rollout and of its group one after the other.
//!
//! A group's assignment follows from the status of its rollout. If one of the two were written while the other is under
//! way, an assignment could arrive that a rollback has overtaken, and let agents in that are to go back.

use super::lock::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// The turns of all groups, by namespace and name.
#[derive(Default)]
pub struct Order(Mutex<HashMap<(String, String), Place>>);

/// Whoever holds it has the turn.
type Place = Arc<tokio::sync::Mutex<Overtaken>>;

/// The version of the rollout from which its last write was decided: whoever still sees it has not seen that write.
type Overtaken = Option<String>;

/// The right to write a group, or the rollout that holds it, until it is dropped.
pub struct Turn(OwnedMutexGuard<Overtaken>);

impl Order {
    /// Waits until nobody else writes the group or its rollout.
    pub async fn turn(&self, namespace: &str, group: &str) -> Turn {
        let turn = lock(&self.0).entry((namespace.to_owned(), group.to_owned())).or_default().clone();
        Turn(turn.lock_owned().await)
    }

    /// Drops the turns of groups that are gone, unless somebody has or waits for one.
    pub fn keep(&self, is_there: impl Fn(&str, &str) -> bool) {
        lock(&self.0)
            .retain(|(namespace, group), turn| Arc::strong_count(turn) > 1 || is_there(namespace, group));
    }
}

impl Turn {
    /// The rollout was written from this version of it.
    pub fn overtakes(&mut self, version: Option<String>) {
        *self.0 = version;
    }

    /// Whether an assignment may be written that was decided from a rollout of the version `decided`, if `seen` is the
    /// one that is seen now.
    pub fn allows(&self, decided: Option<&str>, seen: Option<&str>) -> bool {
        decided == seen && (seen.is_none() || seen != self.0.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn assignment_is_written_only_from_the_rollout_as_it_was_written_last() {
        let order = Order::default();
        let mut turn = order.turn("ns", "g").await;
        assert!(turn.allows(Some("1"), Some("1")));
        turn.overtakes(Some("1".into()));
        for (decided, seen, expected) in [
            (Some("1"), Some("1"), false),
            (Some("1"), Some("2"), false),
            (Some("2"), Some("2"), true),
            (Some("2"), None, false),
            (None, None, true),
        ] {
            assert_eq!(turn.allows(decided, seen), expected, "{decided:?} {seen:?}");
        }
    }

    #[tokio::test]
    async fn turns_of_groups_that_are_gone_are_dropped_once_nobody_has_them() {
        let order = Order::default();
        let known = |order: &Order| lock(&order.0).len();
        drop(order.turn("ns", "stays").await);
        let mut turn = order.turn("ns", "gone").await;
        turn.overtakes(Some("1".into()));
        order.keep(|_, group| group == "stays");
        assert_eq!(known(&order), 2, "somebody writes");
        drop(turn);
        assert!(!order.turn("ns", "gone").await.allows(Some("1"), Some("1")), "and what was written counts");
        order.keep(|namespace, group| (namespace, group) == ("ns", "stays"));
        assert_eq!(known(&order), 1);
    }

    #[tokio::test]
    async fn one_group_is_written_at_a_time_and_waits_for_no_other() {
        let order = Order::default();
        let turn = order.turn("ns", "g").await;
        assert!(order.turn("ns", "g").now_or_never().is_none());
        assert!(order.turn("ns", "other").now_or_never().is_some());
        drop(turn);
        assert!(order.turn("ns", "g").now_or_never().is_some());
    }
}
