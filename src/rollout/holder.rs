//! Which of several rollouts holds a group.

use jiff::Timestamp;

/// A rollout that names a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The rollout's name.
    pub name: &'a str,
    /// When it was created.
    pub created: Timestamp,
}

/// The rollout that holds the group: the older one, then the name. The others wait (design, section 3).
pub fn holder<'a>(claims: impl IntoIterator<Item = Claim<'a>>) -> Option<&'a str> {
    claims.into_iter().min_by_key(|claim| (claim.created, claim.name)).map(|claim| claim.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, second: i64) -> Claim<'_> {
        Claim { name, created: Timestamp::from_second(second).expect("in range") }
    }

    #[test]
    fn older_rollout_holds_the_group_then_the_lesser_name() {
        assert_eq!(holder([claim("a", 2), claim("b", 1)]), Some("b"));
        assert_eq!(holder([claim("b", 1), claim("a", 1)]), Some("a"));
        assert_eq!(holder([]), None);
    }
}
