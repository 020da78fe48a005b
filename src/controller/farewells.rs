//! Tells of rollouts and groups that are deleted while somebody may be waiting for their end: nothing is written any more
//! from which that could follow. It follows from the watch, which tells of each deletion with the object's last status.

use super::context::{Guarded, LeaderConfig, Office};
use crate::cluster::Whole;
use crate::notify::{Notice, Outbox};
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::watcher::Event;
use std::collections::{BTreeMap, BTreeSet};

/// What ends with the objects of one kind, and where it is told.
pub struct Farewells<K> {
    /// What is to be told when an object is deleted as it is.
    of: fn(&K) -> Option<Notice>,
    outbox: Outbox,
    office: Office,
    unended: Unended,
}

impl<K: Resource> Farewells<K>
where
    Guarded<Whole<K>>: Resource,
{
    /// Those of a leader.
    pub fn new(config: &LeaderConfig, office: &Office, of: fn(&K) -> Option<Notice>) -> Self {
        Self { of, outbox: config.outbox.clone(), office: office.clone(), unended: Unended::default() }
    }

    /// Takes in what the watch tells.
    pub fn hear(&mut self, event: &Event<Guarded<Whole<K>>>) {
        let of = |object: &Guarded<Whole<K>>| {
            let notice = object.0.as_ref().ok().and_then(|object| (self.of)(object));
            (object.meta().uid.clone().unwrap_or_default(), notice)
        };
        let told = match event {
            Event::Apply(object) => self.unended.stands(of(object)),
            Event::Delete(object) => self.unended.deleted(of(object)),
            Event::Init => self.unended.is_listed_anew(),
            Event::InitApply(object) => self.unended.listed(of(object)),
            Event::InitDone => self.unended.is_listed(),
        };
        // Whoever leads by now sees the deletion too, or lists what is left.
        if self.office.is_held() {
            let now = Timestamp::now();
            self.outbox.tell(told.into_iter().map(|notice| Notice { time: now, ..notice }).collect());
        }
    }
}

/// An object's uid, and what is to be told when it is deleted.
type Known = (String, Option<Notice>);

/// The objects with an end that is to be told, kept because a watch that was interrupted tells of no deletion that it has
/// missed: they are missing from the next list. There are few, and each is there while its object is.
#[derive(Default)]
struct Unended {
    notices: BTreeMap<String, Notice>,
    /// The objects of the list that is being read.
    listed: BTreeSet<String>,
}

impl Unended {
    fn stands(&mut self, (uid, notice): Known) -> Vec<Notice> {
        match notice {
            Some(notice) => self.notices.insert(uid, notice),
            None => self.notices.remove(&uid),
        };
        Vec::new()
    }

    fn deleted(&mut self, (uid, notice): Known) -> Vec<Notice> {
        self.notices.remove(&uid);
        notice.into_iter().collect()
    }

    fn is_listed_anew(&mut self) -> Vec<Notice> {
        self.listed.clear();
        Vec::new()
    }

    fn listed(&mut self, known: Known) -> Vec<Notice> {
        self.listed.insert(known.0.clone());
        self.stands(known)
    }

    /// What is gone since the list before. Another object may have the name by now: if that has trouble of its own, what is
    /// told of the one goes on as what is told of the other.
    fn is_listed(&mut self) -> Vec<Notice> {
        let listed = std::mem::take(&mut self.listed);
        let (there, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.notices).into_iter().partition(|(uid, _)| listed.contains(uid));
        self.notices = there;
        let goes_on = |gone: &Notice| self.notices.values().any(|there| there.subject() == gone.subject());
        gone.into_values().filter(|notice| !goes_on(notice)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CollectorGroupStatus;
    use crate::notify::{Origin, group_farewell};

    /// An object with this uid and name, with or without an end to tell.
    fn object(uid: &str, name: &str, is_in_trouble: bool) -> Known {
        let origin = Origin {
            namespace: "shop".into(),
            name: name.into(),
            uid: uid.into(),
            version: "7".into(),
            time: Timestamp::UNIX_EPOCH,
        };
        let mut status = CollectorGroupStatus::default();
        status.agents.quarantined = i64::from(is_in_trouble);
        (uid.to_owned(), group_farewell(&origin, &status))
    }

    fn names(told: Vec<Notice>) -> Vec<String> {
        told.into_iter().map(|notice| notice.name).collect()
    }

    #[test]
    fn deletion_is_told_once_by_the_last_status_of_the_object() {
        let mut unended = Unended::default();
        assert_eq!(names(unended.stands(object("1", "a", true))), [""; 0]);
        assert_eq!(names(unended.deleted(object("1", "a", true))), ["a"]);
        assert_eq!(names(unended.deleted(object("2", "b", true))), ["b"], "never seen before");
        unended.stands(object("3", "c", true));
        assert_eq!(names(unended.deleted(object("3", "c", false))), [""; 0], "it is over");
        unended.is_listed_anew();
        assert_eq!(names(unended.is_listed()), [""; 0], "all are told");
    }

    #[test]
    fn deletion_that_a_watch_has_missed_is_told_from_the_next_list() {
        let mut unended = Unended::default();
        unended.is_listed_anew();
        for known in [
            object("1", "a", true),
            object("2", "b", true),
            object("3", "c", false),
            object("4", "d", true),
            object("5", "e", true),
            object("6", "f", true),
        ] {
            unended.listed(known);
        }
        assert_eq!(names(unended.is_listed()), [""; 0]);
        unended.stands(object("4", "d", false));
        // A list that was cut short says nothing.
        unended.is_listed_anew();
        unended.is_listed_anew();
        unended.listed(object("2", "b", true));
        unended.listed(object("7", "e", true));
        unended.listed(object("8", "f", false));
        assert_eq!(names(unended.is_listed()), ["a", "f"], "e is another one, with the same alert");
        unended.is_listed_anew();
        assert_eq!(names(unended.is_listed()), ["b", "e"]);
    }

    /// Nobody tells what was deleted while nobody led.
    #[test]
    fn first_list_of_a_leader_ends_nothing() {
        let mut unended = Unended::default();
        unended.is_listed_anew();
        unended.listed(object("1", "a", true));
        assert_eq!(names(unended.is_listed()), [""; 0]);
        assert_eq!(names(unended.deleted(object("1", "a", true))), ["a"], "but what was there ends");
    }
}
