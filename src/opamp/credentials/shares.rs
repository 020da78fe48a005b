//! How many connections the agents of each namespace have, so that one of them cannot take the places of all.
//!
//! Namespaces count, and not credentials: whoever may make Secrets in a namespace, or signs certificates for it, has as
//! many credentials as he likes.

use crate::fleet::Principal;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The places of all namespaces; clones share them.
#[derive(Clone)]
pub struct Shares {
    most: usize,
    taken: Arc<Mutex<Taken>>,
}

/// How many places each namespace has; none that has none.
#[derive(Default)]
struct Taken(HashMap<Arc<str>, usize>);

/// A place for one connection. It is free again when this is dropped.
pub struct Place {
    taken: Arc<Mutex<Taken>>,
    /// Nothing where nobody has to prove who he is.
    namespace: Option<Arc<str>>,
}

impl Shares {
    /// `most` places for each namespace.
    pub fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A place for a connection of this principal, unless its namespace has its share.
    pub fn place(&self, principal: &Principal) -> Option<Place> {
        let namespace = principal.mark().map(|_| principal.namespace.clone());
        let free = namespace.as_ref().is_none_or(|namespace| lock(&self.taken).take(namespace, self.most));
        free.then(|| Place { taken: self.taken.clone(), namespace })
    }
}

impl Place {
    /// Whether it would do for a connection of this principal.
    pub fn is_for(&self, principal: &Principal) -> bool {
        self.namespace.as_ref() == principal.mark().map(|_| &principal.namespace)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(namespace) = &self.namespace {
            lock(&self.taken).give_back(namespace);
        }
    }
}

impl Taken {
    /// One more, if there are fewer than `most`.
    fn take(&mut self, namespace: &Arc<str>, most: usize) -> bool {
        let count = self.0.get(namespace).copied().unwrap_or_default();
        let free = count < most;
        if free {
            self.0.insert(namespace.clone(), count + 1);
        }
        free
    }

    fn give_back(&mut self, namespace: &str) {
        if let Some(count) = self.0.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(namespace);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> std::sync::MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Attributes;

    fn principal(namespace: &str, identity: &str) -> Principal {
        Principal::new(namespace, identity, Attributes::default())
    }

    #[test]
    fn namespace_has_its_share_of_places_whatever_credentials_it_has() {
        let shares = Shares::new(2);
        let mut held = Vec::new();
        for (namespace, identity, expected) in [
            ("a", "first", true),
            ("a", "second", true),
            ("a", "first", false),
            ("a", "third", false),
            ("b", "first", true),
            ("b", "first", true),
            ("b", "first", false),
        ] {
            let place = shares.place(&principal(namespace, identity));
            assert_eq!(place.is_some(), expected, "{namespace} {identity} after {}", held.len());
            held.extend(place);
        }
        let anybody = Principal::anybody("a");
        assert!((0..9).all(|_| shares.place(&anybody).is_some()), "nobody to share with");
        assert!(held[0].is_for(&principal("a", "third")) && !held[0].is_for(&principal("b", "first")));
        assert!(!held[0].is_for(&anybody));

        held.remove(0);
        held.extend(shares.place(&principal("a", "third")));
        assert!(shares.place(&principal("a", "first")).is_none(), "one came free, and is taken");
        drop(held);
        assert!(lock(&shares.taken).0.is_empty(), "nothing is kept of those that are gone");
    }
}
