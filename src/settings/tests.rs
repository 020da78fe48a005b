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
    assert_eq!(settings.max_message_bytes, 67_108_864);
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
    ] {
        assert_eq!(settings(flags, &[]).expect_err("a mistake"), expected, "{flags:?}");
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
    assert!(!help.contains("time-scale"));
}
