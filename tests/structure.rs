//! The shape of the code: which module may use which, what the pure ones keep out, and what no file has.

#[path = "structure/conformance.rs"]
mod conformance;
#[path = "structure/links.rs"]
mod links;
#[path = "structure/open.rs"]
mod open;
#[path = "structure/pages.rs"]
mod pages;
#[path = "structure/source.rs"]
mod source;
#[path = "structure/symptoms.rs"]
mod symptoms;

use pages::Page;
use source::{Mention, Source, Token, tokens};

/// The modules that decide, as pure functions of what they are given.
const PURE: [&str; 6] = ["api", "config", "fleet", "rollout", "drift", "heal"];

/// Each module and program, and the modules that it may use. A module that is not here yet is one line in the
/// change that adds it. `telemetry` is open to all but the pure ones, and nothing uses `run` but the program.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("api", &[]),
    ("config", &[]),
    ("fleet", &["api", "config"]),
    ("rollout", &["api", "config", "fleet"]),
    ("drift", &["api", "config", "fleet"]),
    ("heal", &["api", "config", "fleet"]),
    ("opamp", &["fleet", "config", "drift", "telemetry"]),
    // Not in the design's table: `config`, for the types of files, hashes and the hash key (ADR 0007).
    ("cluster", &["api", "config", "fleet", "telemetry"]),
    ("notify", &["api"]),
    ("controller", &["api", "config", "fleet", "rollout", "drift", "heal", "cluster", "notify", "telemetry"]),
    ("telemetry", &[]),
    ("sim", &["opamp", "config", "telemetry"]),
    ("cli", &PURE),
    ("settings", &["api", "telemetry"]),
    (
        "run",
        &[
            "api",
            "config",
            "fleet",
            "rollout",
            "drift",
            "heal",
            "opamp",
            "cluster",
            "controller",
            "notify",
            "telemetry",
            "settings",
        ],
    ),
    ("main", &["api", "run", "settings", "telemetry"]),
    ("bin/fleetsim", &["sim", "telemetry"]),
    ("bin/kubectl-fleet", &["cli"]),
    ("lib", &[]),
];

/// Where the rules are written down, for the person whose change breaks one.
const SEE: &str = "see docs/architecture.md, and docs/adr for a change of the rule itself";

#[test]
fn modules_use_only_what_the_design_lets_them() {
    let mut wrong = Vec::new();
    for source in sources() {
        let room = room(&source);
        let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: {room} has no line in MAY_USE", source.path));
            continue;
        };
        for mention in source.mentions() {
            let Some(used) = used_room(&source, &mention) else { continue };
            // Tests build what their module is given, with the pure modules' types.
            let for_a_test = mention.test && PURE.contains(&used);
            if used != room && !may_use.contains(&used) && !for_a_test {
                wrong.push(format!("{}: {room} uses {}", source.path, mention.names.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{SEE}", wrong.join("\n"));
}

#[test]
fn pure_modules_have_no_clock_no_client_no_runtime_and_no_chance() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| is_pure(source)) {
        for mention in source.mentions() {
            wrong.extend(impure(&mention).map(|what| {
                format!("{}: {what} in a pure module: {}", source.path, mention.names.join("::"))
            }));
        }
    }
    assert!(wrong.is_empty(), "{}\nhand it in as an argument; {SEE}", wrong.join("\n"));
}

/// Whether a file decides only. `notify` does, but for the folder that posts.
fn is_pure(source: &Source) -> bool {
    let room = room(source);
    PURE.contains(&room.as_str()) || room == "notify" && !source.path.starts_with("src/notify/deliver/")
}

/// What a pure module may not do, if this does it.
fn impure(mention: &Mention) -> Option<&'static str> {
    let names: Vec<&str> = mention.names.iter().map(String::as_str).collect();
    match names[..] {
        ["tokio" | "futures" | "hyper" | "hyper_util" | "tokio_tungstenite", ..] => Some("a runtime"),
        ["kube", "CustomResource" | "CustomResourceExt" | "KubeSchema" | "Resource" | "ResourceExt", ..]
        | ["kube", "core", "Rule", ..] => None,
        // The name alone is an attribute of a derive.
        ["kube", _, ..] | ["kube_client" | "kube_runtime", ..] => Some("a client"),
        ["getrandom" | "rand", ..] | [.., "RandomState" | "new_v4" | "now_v6" | "now_v7"] => Some("chance"),
        ["std", "fs" | "env" | "net" | "process" | "thread", ..] if !mention.test => {
            Some("the outside world")
        }
        ["tracing" | "tracing_subscriber" | "prometheus_client", ..] => Some("telemetry"),
        [_, .., "now"] | [.., "SystemTime" | "Instant"] => Some("a clock"),
        _ => names.contains(&"SystemTime").then_some("a clock"),
    }
}

#[test]
fn files_open_with_what_they_are_for() {
    let silent = sources().into_iter().chain(tests()).filter(|source| {
        // The tests of a module need no words of their own: its first line says what they test.
        let beside_a_module = source.path.starts_with("src/") && source.path.ends_with("/tests.rs");
        !source.text.starts_with("//! ") && !source.is_generated() && !beside_a_module
    });
    let silent: Vec<String> = silent.map(|source| source.path).collect();
    assert!(silent.is_empty(), "open these with `//!` and one sentence for their job: {silent:?}");
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let files = Source::all(&["src", "tests"], &["rs", "go", "mjs", "js", "py", "sh", "yaml"]);
    assert!(files.iter().any(|file| file.path.contains("/opamp-go/")), "the witnesses are looked at as well");
    let long = files.iter().filter(|file| !file.is_generated() && file.text.lines().count() > 500);
    let long: Vec<&str> = long.map(|file| file.path.as_str()).collect();
    assert!(long.is_empty(), "split these by concern: {long:?}");
}

#[test]
fn nothing_is_left_undone_or_left_out() {
    let mut wrong = Vec::new();
    for source in sources().iter().chain(&tests()) {
        for what in left(&source.tokens()) {
            wrong.push(format!("{}: {what}", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A rule is only as good as the test that guards it.
#[test]
fn tests_that_the_architecture_names_exist() {
    let page = Page::read("docs/architecture.md");
    assert!(page.tests().len() > 100, "the page is read");
    let missing = page.missing_tests(&[sources(), tests()].concat());
    assert!(
        missing.is_empty(),
        "docs/architecture.md names tests that are not there:\n{}",
        missing.join("\n")
    );
}

/// A file stands in the table of its module, by its path below that or with its whole folder: `tests/`.
#[test]
fn every_file_is_in_the_code_map() {
    let page = Page::read("docs/architecture.md");
    let map = page.section("## Code map", "Beside `src/`:");
    let unmapped = sources().into_iter().filter(|source| !source.is_test() && !is_in(map, source));
    let unmapped: Vec<String> = unmapped.map(|source| source.path).collect();
    assert!(unmapped.is_empty(), "give each of these its line in docs/architecture.md: {unmapped:?}");
}

fn is_in(map: &str, source: &Source) -> bool {
    let Some((room, inside)) = source.path.trim_start_matches("src/").split_once('/') else { return true };
    let Some((_, table)) = map.split_once(&format!("**`src/{room}/`**")) else { return room == "bin" };
    let table = table.split_once("**`src/").map_or(table, |(table, _)| table);
    let folder = inside.split_once('/').map(|(folder, _)| folder);
    inside == "mod.rs"
        || table.contains(&format!("`{inside}`"))
        || folder.is_some_and(|folder| table.contains(&format!("`{folder}/`")))
}

/// The macros of unfinished work, and tests that are skipped.
fn left(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match (token, tokens.get(index + 1)) {
            (Token::Name(name), Some(Token::Punct('!')))
                if matches!(name.as_str(), "todo" | "unimplemented" | "dbg") =>
            {
                found.push(format!("{name}!"));
            }
            (Token::Punct('#'), Some(Token::Group(attribute))) if ignores(attribute) => {
                found.push("#[ignore]".to_owned());
            }
            (Token::Group(inside), _) => found.extend(left(inside)),
            _ => {}
        }
    }
    found
}

fn ignores(attribute: &[Token]) -> bool {
    let is = |token: &Token, name: &str| *token == Token::Name(name.to_owned());
    match attribute {
        [first, ..] if is(first, "ignore") => true,
        [first, Token::Group(inside)] if is(first, "cfg_attr") => inside.iter().any(|t| is(t, "ignore")),
        _ => false,
    }
}

/// Types that print bytes all the same.
const PRINT_BYTES: [(&str, &str); 5] = [
    // One byte, which counts.
    ("src/config/hash.rs", "Form"),
    // The name of a Secret.
    ("src/fleet/principal.rs", "TokenName"),
    ("src/opamp/metrics.rs", "TokenLabels"),
    ("src/opamp/tls.rs", "AuthorityLabels"),
    // What agents send; it goes to the session and no further.
    ("src/opamp/websocket/decoder.rs", "Event"),
];

/// Configurations are secrets, and whatever has a `Debug` gets logged one day. The compiler does the rest: a type
/// that holds one without `Debug` cannot derive it.
#[test]
fn no_type_that_holds_a_body_prints_it() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test() && !source.is_generated()) {
        for name in printing(&source.tokens()) {
            if !PRINT_BYTES.contains(&(source.path.as_str(), name.as_str())) {
                wrong.push(format!("{}: {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "these derive Debug over bodies: {wrong:?}; write one that tells the length");
}

/// The types that derive `Debug` and hold a body.
fn printing(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    let mut debug = false;
    let mut rest = tokens;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (Token::Punct('#'), [Token::Group(attribute), ..]) => debug |= derives_debug(attribute),
            (Token::Name(kind), [Token::Name(name), after @ ..]) if kind == "struct" || kind == "enum" => {
                let fields = after.iter().take_while(|token| **token != Token::Punct(';'));
                let fields =
                    fields.filter_map(|token| if let Token::Group(f) = token { Some(f) } else { None });
                if std::mem::take(&mut debug) && fields.take(1).any(|fields| holds_body(fields)) {
                    found.push(name.clone());
                }
            }
            (Token::Name(kind), [Token::Name(name), Token::Group(inside), ..])
                if kind == "mod" && name != "tests" =>
            {
                found.extend(printing(inside));
            }
            (Token::Name(kind), _) if kind == "fn" || kind == "impl" => debug = false,
            _ => {}
        }
    }
    found
}

fn derives_debug(attribute: &[Token]) -> bool {
    let debug = Token::Name("Debug".to_owned());
    matches!(attribute, [Token::Name(name), Token::Group(traits)] if name == "derive" && traits.contains(&debug))
}

/// Whether fields hold bytes of any length, or text under a name that bodies have.
fn holds_body(fields: &[Token]) -> bool {
    let name = |token: Option<&Token>| match token {
        Some(Token::Name(name)) => name.clone(),
        _ => String::new(),
    };
    let mut body = false;
    for (index, token) in fields.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| fields.get(before));
        match token {
            Token::Punct(',') => body = false,
            Token::Punct(':') if fields.get(index + 1) != Some(&Token::Punct(':')) => {
                body |=
                    matches!(name(before).as_str(), "body" | "bodies" | "inline" | "effective" | "secret");
            }
            Token::Name(kind) if matches!(kind.as_str(), "Bytes" | "BytesMut" | "ByteString") => return true,
            Token::Name(kind) if kind == "u8" && before == Some(&Token::Punct('<')) => return true,
            Token::Name(kind) if body && matches!(kind.as_str(), "String" | "str" | "Value") => return true,
            Token::Group(inside) if name(inside.first()) == "u8" && inside.len() == 1 => return true,
            // The fields of a variant, or a tuple; an attribute holds nothing.
            Token::Group(inside) if before != Some(&Token::Punct('#')) && holds_body(inside) => return true,
            _ => {}
        }
    }
    false
}

/// Replicas of two versions run together, so the older one reads what the newer one writes (ADR 0019).
#[test]
fn every_enumeration_that_is_read_from_an_object_is_open() {
    let api = || sources().into_iter().filter(|source| room(source) == "api");
    let closed = |source: Source| {
        open::closed(&source).into_iter().map(move |name| format!("{}: {name}", source.path))
    };
    let wrong: Vec<String> = api().flat_map(closed).collect();
    assert!(
        wrong.is_empty(),
        "give these a last variant with #[serde(other)], and say what it means: {wrong:?}"
    );
    for (text, expected) in [
        ("#[derive(Deserialize)] pub enum A { B, C }", 1),
        ("#[derive(Deserialize)] #[serde(untagged)] enum A { B(u8) }", 1),
        ("#[derive(Clone, Deserialize)] enum A { B, /// C.\n #[serde(other)] #[schemars(skip)] C }", 0),
        ("fn f() { #[derive(Deserialize)] enum A { #[serde(rename = \"x\")] B } }", 1),
        ("#[derive(Clone)] enum A { B }", 0),
        ("#[derive(Deserialize)] struct S; enum A { B }", 0),
    ] {
        let source = Source { path: "src/api/a.rs".into(), text: text.into() };
        assert_eq!(open::closed(&source).len(), expected, "{text}");
    }
}

/// All of `src/`.
fn sources() -> Vec<Source> {
    Source::all(&["src"], &["rs"])
}

/// The Rust files of `tests/`, and those of the fuzz targets.
fn tests() -> Vec<Source> {
    Source::all(&["tests", "fuzz/src", "fuzz/fuzz_targets"], &["rs"])
}

/// The module or program that a file belongs to.
fn room(source: &Source) -> String {
    match source.module()[..] {
        ["bin", program, ..] => format!("bin/{program}"),
        [room, ..] => room.to_owned(),
        [] => unreachable!("a path has a name"),
    }
}

/// The module of ours that a path leads to, if it names one from the top.
fn used_room<'a>(source: &Source, mention: &'a Mention) -> Option<&'a str> {
    let names = &mention.names;
    let ups = names.iter().take_while(|name| *name == "super").count();
    let at = match names.first()?.as_str() {
        "crate" | "opamp_operator" => 1,
        "super" if ups >= source.module().len() + mention.depth => ups,
        _ => return None,
    };
    names.get(at).map(String::as_str).filter(|name| MAY_USE.iter().any(|(room, _)| room == name))
}

/// The rules are only as good as the reading.
#[test]
fn paths_are_found_wherever_they_stand() {
    let text = r#"
        //! Not crate::a::doc.
        use crate::{b, c::{self, D as E, f::*}};
        /* nor crate::comment */ fn g<'a>(h: crate::i::J<'a>) { k!(crate::l::m(), "crate::text", 'x'); }
        mod tests { use super::super::n; fn o() { Vec::<crate::p::Q>::new(); } }
    "#;
    let source = Source { path: "src/room/file.rs".into(), text: text.into() };
    let ours = |mention: &Mention| matches!(mention.names[0].as_str(), "crate" | "super");
    let found: Vec<(String, usize, bool)> = source
        .mentions()
        .into_iter()
        .filter(ours)
        .map(|mention| (mention.names.join("::"), mention.depth, mention.test))
        .collect();
    let expected = [
        ("crate::b", 0, false),
        ("crate::c::self", 0, false),
        ("crate::c::D", 0, false),
        ("crate::c::f", 0, false),
        ("crate::i::J", 0, false),
        ("crate::l::m", 0, false),
        ("super::super::n", 1, true),
        ("crate::p::Q", 1, true),
    ];
    assert_eq!(found, expected.map(|(path, depth, test)| (path.to_owned(), depth, test)));
}

#[test]
fn bodies_are_found_in_derived_debug_only() {
    for (text, expected) in [
        ("#[derive(Debug)] struct A { x: Vec<u8> }", true),
        ("#[derive(Clone, Debug)] pub enum A { B(Bytes) }", true),
        ("#[derive(Debug)] #[serde(x)] pub(crate) struct A(Option<Box<[u8]>>);", true),
        ("#[derive(Debug)] struct A { pub body: Option<String>, }", true),
        ("#[derive(Debug)] enum A { B { inline: String } }", true),
        ("mod a { #[derive(Debug)] struct A { x: Vec<u8> } }", true),
        ("#[derive(Clone)] struct A { x: Vec<u8> }", false),
        ("#[derive(Debug)] struct A { id: [u8; 16], body: Body, text: String }", false),
        ("#[derive(Debug)] struct A; struct B { x: Vec<u8> }", false),
        ("#[derive(Debug)] struct A { x: u8 } fn b(c: Vec<u8>) {}", false),
    ] {
        assert_eq!(!printing(&tokens(text).expect(text)).is_empty(), expected, "{text}");
    }
}
