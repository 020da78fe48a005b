//! The limits of the agents' door, from the flags and the times.

use crate::opamp::Limits;
use crate::settings::{DoorLimits, Timings};

/// What the door is told.
pub fn limits(flags: &DoorLimits, timings: &Timings) -> Limits {
    Limits {
        max_message_bytes: flags.max_message_bytes,
        max_connections: flags.max_connections,
        max_connections_per_namespace: flags.max_connections_per_namespace,
        max_connection_rate: flags.max_connection_rate,
        max_agents: flags.max_agents,
        max_agents_per_credential: flags.max_agents_per_credential,
        max_attributes: flags.max_attributes,
        header_read_timeout: flags.handshake_timeout,
        idle_deadline: flags.idle_timeout,
        ping_interval: flags.ping_interval,
        drain_period: flags.drain_period,
        recheck_interval: timings.credential_check,
        revocation_spacing: timings.revocation_spacing,
        max_age: timings.session_age,
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Cli, Command, Settings};
    use clap::Parser;

    fn limits_with(flags: &[&str]) -> Limits {
        let always = ["opamp-operator", "run", "--agent-auth", "none", "--identity", "a", "--namespace", "n"];
        let Command::Run(args) = Cli::try_parse_from(always.iter().chain(flags)).expect("flags").command
        else {
            panic!("another command")
        };
        let settings = Settings::new(&args, |_| None).expect("settings");
        limits(&settings.limits, &settings.timings)
    }

    #[test]
    fn flags_have_the_doors_own_defaults() {
        assert_eq!(limits_with(&[]), Limits::default());
    }

    #[test]
    fn namespace_has_nine_tenths_of_the_connections_and_one_at_least_unless_a_flag_says_otherwise() {
        for (all, expected) in [(1, 1), (9, 9), (10, 9), (25, 23), (100_000, 90_000)] {
            let set = limits_with(&[&format!("--max-connections={all}")]);
            assert_eq!(set.max_connections_per_namespace, expected, "{all}");
        }
    }

    #[test]
    fn each_flag_sets_its_limit() {
        let flags = [
            "--max-message-bytes=1000000",
            "--max-connections=30",
            "--max-connections-per-namespace=1",
            "--max-connection-rate=2",
            "--max-agents=3",
            "--max-agents-per-credential=4",
            "--max-attributes=5",
            "--handshake-timeout=6s",
            "--idle-timeout=10s",
            "--drain-period=7s",
        ];
        let set = limits_with(&flags);
        let connections = [set.max_connections, set.max_connections_per_namespace];
        assert_eq!((connections, set.max_connection_rate.get()), ([30, 1], 2));
        let counts = [set.max_agents, set.max_agents_per_credential, set.max_attributes];
        assert_eq!((set.max_message_bytes, counts), (1_000_000, [3, 4, 5]));
        let times = [set.header_read_timeout, set.idle_deadline, set.ping_interval, set.drain_period];
        assert_eq!(times.map(|time| time.as_secs()), [6, 10, 4, 7]);
    }
}
