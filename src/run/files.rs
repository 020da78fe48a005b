//! How many files this process may have open: each connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What is open beside connections of agents: to the API server, the listeners, certificates, and connections that are
/// being refused or are at the admin port.
const OTHERS: u64 = 200;

/// Takes as many open files as the system gives, and warns if they are too few for so many connections. Container
/// runtimes start programs with 1024, and let them have many more.
pub fn take(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let given = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(now, most)| {
        let next = next(now, most, wanted);
        if next != now {
            setrlimit(Resource::RLIMIT_NOFILE, next, most)?;
        }
        Ok(next)
    });
    match given {
        Ok(given) if given >= wanted => {}
        Ok(given) => {
            tracing::warn!(
                given,
                wanted,
                "too few open files for --max-connections: raise the limit (ulimit -Hn)"
            );
        }
        Err(error) => tracing::warn!(%error, "cannot ask for open files"),
    }
}

/// The limit to ask for: never less than there is.
fn next(now: u64, most: u64, wanted: u64) -> u64 {
    now.max(wanted.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_are_taken_as_are_wanted_and_may_be_had() {
        for (now, most, wanted, expected) in [
            (1024, 524_288, 20_200, 20_200),
            (1024, 4096, 20_200, 4096),
            (65_536, 65_536, 20_200, 65_536),
            (1024, u64::MAX, 20_200, 20_200),
        ] {
            assert_eq!(next(now, most, wanted), expected);
        }
    }
}
