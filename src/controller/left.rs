//! What is left to a newer version: told when that begins, and not at every look.

use super::lock::lock;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// What is left to a newer version by now. Names of deleted objects stay until another leads; they are few.
#[derive(Default)]
pub struct Left(Mutex<BTreeSet<String>>);

impl Left {
    /// Takes in whether this is left to a newer version; true if that has just begun.
    pub fn begins(&self, what: &str, is_left: bool) -> bool {
        let mut left = lock(&self.0);
        if is_left {
            return left.insert(what.to_owned());
        }
        left.remove(what);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_a_newer_version_is_told_once_each_time_it_begins() {
        let left = Left::default();
        let looks = [true, true, false, false, true, true];
        assert_eq!(
            looks.map(|is_left| left.begins("care/a", is_left)),
            [true, false, false, false, true, false]
        );
        assert!(left.begins("care/b", true), "another one");
    }
}
