//! What the program and its tests are built from: licences, sources, and crates that must not come in. Read from cargo
//! itself, so nothing has to be installed for it.

use serde_json::Value;
use std::process::Command;

/// Licences that go with ours, Apache-2.0.
const LICENCES: [&str; 9] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Crates that must not come in, and why.
const BANNED: [(&str, &str); 6] = [
    ("openssl-sys", "TLS is rustls, with ring"),
    ("native-tls", "TLS is rustls, with ring"),
    ("aws-lc-sys", "TLS is rustls, with ring: one implementation of cryptography is enough to watch"),
    ("serde_yaml", "YAML is read by serde-saphyr (ADR 0002)"),
    ("serde_yml", "YAML is read by serde-saphyr (ADR 0002)"),
    ("async-std", "the runtime is tokio"),
];

#[test]
fn dependencies_have_good_licences_come_from_one_registry_and_are_none_that_is_banned() {
    let packages = packages();
    assert!(packages.len() > 100, "only {} packages were found", packages.len());
    let wrong: Vec<String> = packages.iter().flat_map(complaints).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The packages that are built on this machine, ours left out.
fn packages() -> Vec<Value> {
    let host = output(Command::new("rustc").arg("-vV"));
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version=1", "--locked", "--filter-platform", &host]);
    let metadata = output(metadata.current_dir(env!("CARGO_MANIFEST_DIR")));
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let built: Vec<Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| node["id"].clone()).collect();
    let ours = &metadata["workspace_members"][0];
    let others = list(&metadata["packages"]).into_iter().filter(|package| package["id"] != *ours);
    others.filter(|package| built.contains(&package["id"])).collect()
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What is wrong with a package.
fn complaints(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().expect("a name");
    let licence = package["license"].as_str().unwrap_or_default();
    let source = package["source"].as_str().unwrap_or("a folder");
    let mut wrong = Vec::new();
    if !is_allowed(licence) {
        wrong.push(format!("{name}: its licence is {licence:?}"));
    }
    if !source.starts_with("registry+") || !source.ends_with("/crates.io-index") {
        wrong.push(format!("{name}: it comes from {source}"));
    }
    let banned = BANNED.iter().find(|(banned, _)| *banned == name);
    wrong.extend(banned.map(|(_, why)| format!("{name}: {why}")));
    wrong
}

/// Whether a licence expression leaves a choice that is allowed: all sides of an `AND`, one of an `OR`. `/` is an old
/// way to write `OR`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    for (separator, all) in [(" OR ", false), ("/", false), (" AND ", true)] {
        if let Some((left, right)) = split(expression, separator) {
            let sides = (is_allowed(left), is_allowed(right));
            return if all { sides.0 && sides.1 } else { sides.0 || sides.1 };
        }
    }
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inside) => is_allowed(inside),
        None => LICENCES.contains(&expression),
    }
}

/// The two sides of the first such separator that stands in no brackets.
fn split<'a>(expression: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    expression.match_indices(separator).find_map(|(place, _)| {
        let (left, right) = (&expression[..place], &expression[place + separator.len()..]);
        let open = left.matches('(').count() == left.matches(')').count();
        open.then_some((left, right))
    })
}

/// The check is only as good as its complaints.
#[test]
fn package_that_should_not_be_there_is_told() {
    let package = |name: &str, licence: &str, source: Value| {
        complaints(&serde_json::json!({"name": name, "license": licence, "source": source})).len()
    };
    for (expected, name, licence) in [
        (0, "good", "MIT"),
        (0, "good", "MIT OR GPL-3.0"),
        (0, "good", "Unlicense/MIT"),
        (0, "good", "(MIT OR GPL-3.0) AND (ISC OR GPL-3.0)"),
        (0, "good", "Apache-2.0 WITH LLVM-exception OR GPL-3.0"),
        (0, "good", "GPL-3.0 AND MIT OR ISC"),
        (1, "bad", "MIT AND GPL-3.0"),
        (1, "bad", "MIT AND GPL-3.0 OR GPL-3.0"),
        (1, "bad", "(MIT OR ISC) AND GPL-3.0"),
        (1, "bad", ""),
        (1, "native-tls", "MIT"),
        (2, "openssl-sys", "OpenSSL"),
    ] {
        assert_eq!(
            package(name, licence, "registry+x/crates.io-index".into()),
            expected,
            "{name}: {licence}"
        );
    }
    for source in [Value::Null, "git+x/crates.io-index".into(), "registry+x/another-index".into()] {
        assert_eq!(package("elsewhere", "MIT", source.clone()), 1, "{source}");
    }
}
