use super::*;

fn args(flags: &[&str]) -> RunArgs {
    let command = ["opamp-operator", "run"].iter().chain(flags);
    match Cli::try_parse_from(command).expect("flags").command {
        Command::Run(args) => *args,
        Command::Crds => unreachable!(),
    }
}

fn settings(flags: &[&str], environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let lookup = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    Settings::new(&args(flags), lookup)
}

const GOOD: &[&str] = &["--agent-auth", "none", "--identity", "a", "--namespace", "n"];

#[test]
fn defaults_are_those_of_the_design() {
    let settings = settings(GOOD, &[]).expect("good");
    assert_eq!(settings.opamp_listen.to_string(), "0.0.0.0:4320");
    assert_eq!(settings.admin_listen.to_string(), "0.0.0.0:8080");
    assert_eq!(settings.agent_namespace, "default");
    assert_eq!(settings.limits.max_message_bytes, 67_108_864);
    assert_eq!(settings.timings, Timings::default());
}

#[test]
fn pod_name_and_namespace_stand_in_for_flags() {
    let settings = settings(&["--agent-auth", "none"], &[("POD_NAME", "pod-1"), ("POD_NAMESPACE", "here")]);
    let settings = settings.expect("good");
    assert_eq!((settings.identity.as_str(), settings.namespace.as_str()), ("pod-1", "here"));
}

#[test]
fn agents_have_to_prove_who_they_are_by_default() {
    let all = AgentAuth::AnyOf { tokens: true, service_accounts: true, certificates: true };
    assert_eq!(settings(&GOOD[2..], &[]).expect("good").agent_auth, all);
    assert_eq!(settings(GOOD, &[]).expect("good").agent_auth, AgentAuth::None);
    let two = [&["--agent-auth", "token,mtls"], &GOOD[2..]].concat();
    let expected = AgentAuth::AnyOf { tokens: true, service_accounts: false, certificates: true };
    assert_eq!(settings(&two, &[]).expect("good").agent_auth, expected);
    for wrong in ["", "tokens", "token,"] {
        let flags = ["opamp-operator", "run", "--agent-auth", wrong];
        assert!(Cli::try_parse_from(flags).is_err(), "{wrong:?} is no way");
    }
}

#[test]
fn files_for_tls_are_optional() {
    assert_eq!(settings(GOOD, &[]).expect("good").tls, None);
    let tls = [GOOD, &["--tls-cert", "c", "--tls-key", "k", "--client-ca", "a"]].concat();
    let files = settings(&tls, &[]).expect("good").tls.expect("files");
    assert_eq!(
        [files.certificate, files.key, files.client_authority.expect("a file")],
        ["c", "k", "a"].map(PathBuf::from)
    );
}

#[test]
fn agents_are_sent_to_encrypted_endpoints_only() {
    let endpoint = |url: &str| settings(&[GOOD, &["--public-endpoint", url]].concat(), &[]);
    for url in
        ["wss://opamp.example.org/v1/opamp", "https://10.0.0.1:4320/fleet/v1/opamp?x=1", "wss://[::1]:1/a"]
    {
        let expected = PublicEndpoint { url: url.to_owned(), authority: None };
        assert_eq!(endpoint(url).expect("good").public_endpoint, Some(expected));
    }
    for (url, why) in [
        ("ws://opamp.example.org/v1/opamp", "must be wss or https"),
        ("http://opamp.example.org/v1/opamp", "must be wss or https"),
        ("opamp.example.org", "must begin with"),
        ("ftp://opamp.example.org/v1/opamp", "must begin with"),
        ("", "no URL"),
        ("wss://", "no URL"),
        ("wss://user:secret@opamp.example.org/v1/opamp", "no user"),
        ("wss://opamp.example.org", "no path"),
        ("wss://opamp.example.org/", "no path"),
    ] {
        let error = endpoint(url).expect_err("a mistake").to_string();
        assert!(error.contains(why) && !error.contains("secret"), "{url:?}: {error}");
    }
    let both = [GOOD, &["--public-endpoint", "wss://a/b", "--public-ca", "c"]].concat();
    let authority = settings(&both, &[]).expect("good").public_endpoint.and_then(|public| public.authority);
    assert_eq!(authority, Some("c".into()));
}

#[test]
fn each_mistake_has_its_own_error() {
    for (flags, expected) in [
        (&["--agent-auth", "none,token"][..], SettingsError::NotOnlyNone),
        (&["--agent-auth", "none"], SettingsError::NoIdentity),
        (&["--agent-auth", "none", "--identity", "A_b"], SettingsError::BadIdentity("A_b".into())),
        (&["--agent-auth", "none", "--identity=-a"], SettingsError::BadIdentity("-a".into())),
        (&["--agent-auth", "none", "--identity", "a"], SettingsError::NoNamespace),
        (&[GOOD, &["--tls-cert", "c"]].concat(), SettingsError::HalfAnIdentity),
        (&[GOOD, &["--tls-key", "k"]].concat(), SettingsError::HalfAnIdentity),
        (&[GOOD, &["--client-ca", "a"]].concat(), SettingsError::AuthorityWithoutTls),
        (&[GOOD, &["--public-ca", "a"]].concat(), SettingsError::AuthorityWithoutEndpoint),
    ] {
        assert_eq!(settings(flags, &[]).expect_err("a mistake"), expected, "{flags:?}");
    }
}

#[test]
fn limit_that_would_let_nobody_in_or_bound_nothing_is_an_error_that_names_the_range() {
    for (flags, text) in [
        ("--max-connections=0", "--max-connections 0 is out of range: it takes 1 to 1000000"),
        ("--max-connection-rate=0", "--max-connection-rate 0 is out of range: it takes 1 to 1000000"),
        ("--max-agents=1000001", "--max-agents 1000001 is out of range: it takes 1 to 1000000"),
        (
            "--max-agents-per-credential=0",
            "--max-agents-per-credential 0 is out of range: it takes 1 to 1000000",
        ),
        ("--max-attributes=1001", "--max-attributes 1001 is out of range: it takes 1 to 1000"),
        (
            "--max-message-bytes=100000",
            "--max-message-bytes 100000 is out of range: it takes 524288 to 1073741824",
        ),
        ("--handshake-timeout=999ms", "--handshake-timeout 999ms is out of range: it takes 1s to 300s"),
        ("--drain-period=3601s", "--drain-period 3601s is out of range: it takes 0s to 3600s"),
        ("--idle-timeout=4s", "--idle-timeout 4s is out of range: it takes 5s to 3600s"),
    ] {
        let error = settings(&[GOOD, &[flags]].concat(), &[]).expect_err("a mistake");
        assert_eq!(error.to_string(), text);
    }
    for flags in ["--idle-timeout=75", "--max-agents=-1", "--max-agents=many"] {
        assert!(Cli::try_parse_from(["opamp-operator", "run", flags]).is_err(), "{flags}");
    }
}

#[test]
fn two_pings_fit_into_the_idle_timeout_and_come_every_half_minute_at_least() {
    for (idle, expected) in [("75s", 30_000), ("10s", 4000), ("5s", 2000), ("1h", 30_000)] {
        let flag = format!("--idle-timeout={idle}");
        let limits = settings(&[GOOD, &[&flag]].concat(), &[]).expect("good").limits;
        assert_eq!(limits.ping_interval, Duration::from_millis(expected), "{idle}");
        assert!(limits.ping_interval * 2 < limits.idle_timeout, "{idle}");
    }
}

#[test]
fn time_scale_divides_all_times_alike() {
    let ten = [GOOD, &["--time-scale", "10"]].concat();
    let timings = settings(&ten, &[]).expect("good").timings;
    assert_eq!(timings.lease_duration, Duration::from_millis(1500));
    assert_eq!(timings.flush_slow, Duration::from_secs(1));
    assert_eq!(timings.slice_pause, Duration::from_millis(5));
}

#[test]
fn help_names_every_flag_and_an_example() {
    use clap::CommandFactory;
    let mut command = Cli::command();
    let help = command.find_subcommand_mut("run").expect("run").render_long_help().to_string();
    for word in ["--opamp-listen", "--agent-auth", "OPAMP_OPERATOR_IDENTITY", "KUBECONFIG", "Try it:"] {
        assert!(help.contains(word), "{word} is missing in {help}");
    }
    for flag in
        ["message-bytes", "connections", "connection-rate", "agents", "agents-per-credential", "attributes"]
    {
        assert!(help.contains(&format!("--max-{flag} ")), "{flag} is missing in {help}");
    }
    assert!(help.contains("--handshake-timeout ") && help.contains("--idle-timeout "), "{help}");
    assert!(!help.contains("time-scale"));
}
