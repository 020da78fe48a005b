//! How many agents are disturbed at the same time.

/// Of so many agents at most this many are disturbed at the same time, by whatever starts them anew or sends them
/// elsewhere: a tenth, and at least one.
pub fn most_at_once(agents: usize) -> usize {
    (agents / 10).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenth_of_the_agents_is_disturbed_at_once_and_at_least_one() {
        assert_eq!([0, 1, 9, 10, 19, 20, 1000].map(most_at_once), [1, 1, 1, 1, 1, 2, 100]);
    }
}
