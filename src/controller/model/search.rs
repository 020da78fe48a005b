//! A breadth-first search through all states, which remembers how each was reached.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// One way on from a state: what happens, and the state after it or what is wrong with it.
pub type Way<S, E> = (E, Result<S, String>);

/// What a search came to.
pub enum Found {
    /// No reachable state is wrong; how many there are.
    Nothing(usize),
    /// The shortest way to something wrong, with that as its last line.
    Violation(Vec<String>),
}

/// Looks at every state that can be reached.
pub fn search<S, E>(start: S, next: impl Fn(&S) -> Vec<Way<S, E>>) -> Found
where
    S: Clone + Eq + Hash,
    E: Copy + Debug,
{
    let mut known = HashSet::from([start.clone()]);
    let mut reached: Vec<(S, usize, Option<E>)> = vec![(start, 0, None)];
    let mut at = 0;
    while at < reached.len() {
        for (what, after) in next(&reached[at].0.clone()) {
            match after {
                Ok(state) => {
                    if known.insert(state.clone()) {
                        reached.push((state, at, Some(what)));
                    }
                }
                Err(wrong) => {
                    let mut path = way_to(&reached, at);
                    path.extend([format!("{what:?}"), wrong]);
                    return Found::Violation(path);
                }
            }
        }
        at += 1;
    }
    Found::Nothing(reached.len())
}

fn way_to<S, E: Debug>(reached: &[(S, usize, Option<E>)], mut at: usize) -> Vec<String> {
    let mut path = Vec::new();
    while let (_, before, Some(what)) = &reached[at] {
        path.push(format!("{what:?}"));
        at = *before;
    }
    path.reverse();
    path
}
