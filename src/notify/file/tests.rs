use super::*;

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ROUTING: &str = "0123456789abcdef0123456789abcdef";

/// A file with one receiver, whose mapping goes on like this.
fn with(rest: &str) -> String {
    format!("cluster: eu-1\nreceivers:\n  - name: chat\n    {}\n", rest.replace('\n', "\n    "))
}

fn slack(rest: &str) -> String {
    with(&format!("slack: {{url: 'https://hooks.example.com/hidden'}}\n{rest}"))
}

#[test]
fn receivers_are_read_with_their_defaults() {
    let text = format!(
        "receivers:\n\
         - name: chat\n  slack: {{url: 'https://hooks.example.com/x'}}\n\
         - name: pager\n  pagerduty: {{routingKey: {ROUTING}}}\n\
         - name: hook\n  webhook: {{url: 'https://example.com/x', signingKeys: [{KEY}, {KEY}]}}\n"
    );
    let Receivers(receivers) = parse(&text).expect("a file");
    let kinds: Vec<_> = receivers.iter().map(|receiver| receiver.target.kind()).collect();
    assert_eq!(kinds, ["slack", "pagerduty", "webhook"]);
    for receiver in &receivers {
        assert_eq!((receiver.max_per_minute, receiver.give_up_after.as_secs()), (30, 900));
        assert!(
            receiver.namespaces.is_empty() && receiver.authority.is_none() && receiver.cluster.is_empty()
        );
    }
    let events: Vec<usize> = receivers.iter().map(|receiver| receiver.events.len()).collect();
    assert_eq!(events, [10, 4, 10], "a pager is for trouble");
    assert_eq!(receivers[1].target.url().host, "events.pagerduty.com");
}

#[test]
fn receivers_are_read_with_all_that_they_may_say() {
    let text = with(&format!(
        "pagerduty:\n  routingKey: {ROUTING}\n  url: https://events.eu.pagerduty.com/v2/enqueue\n  \
         severities: {{RolloutFailed: critical, AgentsQuarantined: info}}\n  caFile: /etc/ca.pem\n\
         namespaces: [shop, 'team-*']\nevents: [RolloutFailed, RolloutStalled]\nmaxPerMinute: 7\ngiveUpAfter: 1h30m"
    ));
    let receiver = parse(&text).expect("a file").0.remove(0);
    assert_eq!((receiver.cluster.as_str(), receiver.max_per_minute), ("eu-1", 7));
    assert_eq!(receiver.give_up_after.as_secs(), 5400);
    assert_eq!(receiver.authority.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
    assert_eq!(receiver.events, [Kind::RolloutFailed, Kind::RolloutStalled].into());
    let Target::PagerDuty { severities, url, .. } = &receiver.target else { panic!("a pager") };
    assert_eq!(severities.get(&Kind::RolloutFailed), Some(&Severity::Critical));
    assert_eq!(url.host, "events.eu.pagerduty.com");
}

#[test]
fn file_without_receivers_tells_nobody() {
    assert_eq!(parse("receivers: []\n"), Ok(Receivers::default()));
}

#[test]
fn what_is_wrong_is_told_with_line_and_field_and_what_to_do() {
    let webhook =
        |keys: &str| with(&format!("webhook:\n  url: https://example.com/x\n  signingKeys: {keys}"));
    let pager = |rest: &str| with(&format!("pagerduty:\n  routingKey: {ROUTING}\n{rest}"));
    for (text, expected) in [
        (String::new(), "it must be a mapping with keys among cluster, receivers"),
        ("receiver: []".into(), "line 1: a key on this line is not known; known are cluster, receivers"),
        ("cluster: a\n".into(), "line 1: receivers is not set"),
        ("receivers: {}\n".into(), "line 1: receivers: it must be a list: put a '-' before each entry"),
        ("receivers: [\n".into(), "not valid YAML; look at indentation, quotes and colons"),
        (
            "receivers: []\nreceivers: []\n".into(),
            "line 2: a key is set twice in one mapping; keep one of them",
        ),
        ("cluster: 'a b'\nreceivers: []".into(), "line 1: cluster: a cluster's name has 1 to 63"),
        ("receivers:\n- slack: {url: x}".into(), "line 2: receivers[0]: name is not set"),
        ("receivers:\n- name: Hidden".into(), "line 2: receivers[0].name: a name has 1 to 63 lower-case"),
        (
            with("namespaces: [a]"),
            "line 3: receivers[0]: a receiver has exactly one of slack, pagerduty and webhook",
        ),
        (slack("webhook: {}"), "line 3: receivers[0]: a receiver has exactly one of"),
        (
            with("slack: https://hooks.example.com/hidden"),
            "line 4: receivers[0].slack: it must be a mapping with keys among url, caFile",
        ),
        (
            with("slack:\n  uri: https://hooks.example.com/hidden"),
            "line 5: receivers[0].slack: a key on this line is not known; known are url, caFile",
        ),
        (
            with("slack:\n  https://hooks.example.com/hidden: a"),
            "line 5: receivers[0].slack: a key on this line is not known",
        ),
        (with("slack: {}"), "line 4: receivers[0].slack: url is not set"),
        (
            with("slack: {url: http://example.com/hidden}"),
            "line 4: receivers[0].slack.url: it must begin with https://",
        ),
        (with("slack: {url: 7}"), "line 4: receivers[0].slack.url: it must be text"),
        (
            with("pagerduty: {routingKey: hidden}"),
            "line 4: receivers[0].pagerduty.routingKey: a routing key has 32 letters and digits",
        ),
        (
            pager("  severities: {RolloutStarted: info}"),
            "line 6: receivers[0].pagerduty.severities: a key on this line is not known; known are RolloutFailed, RolloutRolledBack, RolloutStalled, AgentsQuarantined",
        ),
        (pager("  severities: {RolloutFailed: bad}"), "it must be info, warning, error or critical"),
        (
            pager("events: [RolloutStarted]"),
            "line 6: receivers[0].events[0]: it must be one of RolloutFailed, RolloutRolledBack, RolloutStalled, AgentsQuarantined; their ends are told by themselves",
        ),
        (webhook("[]"), "line 6: receivers[0].webhook.signingKeys: there must be 1 to 4 keys"),
        (
            webhook("[whsec_hidden]"),
            "line 6: receivers[0].webhook.signingKeys[0]: a key is whsec_ and 24 to 64 random bytes",
        ),
        (
            with("webhook: {url: 'https://example.com/x'}"),
            "line 4: receivers[0].webhook: signingKeys is not set",
        ),
        (slack("events: [hidden]"), "line 5: receivers[0].events[0]: it must be one of RolloutStarted, "),
        (slack("events: []"), "line 5: receivers[0].events: an empty list would be told nothing"),
        (slack("namespaces: []"), "line 5: receivers[0].namespaces: an empty list would be told nothing"),
        (slack("namespaces: ['a*b']"), "line 5: receivers[0].namespaces[0]: it must be a namespace's name"),
        (
            slack("namespaces:\n- ok\n- ''"),
            "line 7: receivers[0].namespaces[1]: it must be a namespace's name",
        ),
        (
            slack("maxPerMinute: 0"),
            "line 5: receivers[0].maxPerMinute: it must be a whole number from 1 to 600",
        ),
        (slack("maxPerMinute: 1.5"), "line 5: receivers[0].maxPerMinute: it must be a whole number"),
        (slack("giveUpAfter: 5s"), "line 5: receivers[0].giveUpAfter: it must be a duration from 10s to 24h"),
        (slack("giveUpAfter: soon"), "line 5: receivers[0].giveUpAfter: it must be a duration"),
        (
            with("slack: {url: 'https://a/', caFile: ca.pem}"),
            "line 4: receivers[0].slack.caFile: it must be the whole path",
        ),
        (
            slack("") + "  - name: chat\n    slack: {url: 'https://a/'}",
            "receivers[1]: another receiver has the same name",
        ),
        (slack("hidden: x"), "line 5: receivers[0]: a key on this line is not known; known are name, slack"),
    ] {
        let said = parse(&text).expect_err(&text).to_string();
        assert!(said.contains(expected), "{text}\nwanted {expected:?}, got {said:?}");
        for quoted in ["hidden", "hooks.example", ROUTING, "MfKQ"] {
            assert!(!said.contains(quoted), "{said:?} quotes {quoted}");
        }
    }
}

#[test]
fn there_is_an_end_to_receivers_and_bytes() {
    let one = |n: u8| format!("- name: r{n}\n  slack: {{url: 'https://a/'}}\n");
    let many = (0..33).map(one).collect::<Vec<_>>().concat();
    let said = parse(&format!("receivers:\n{many}")).expect_err("too many").to_string();
    assert!(said.contains("more than 32 receivers"), "{said}");
    let said = parse(&"#".repeat(MAX_BYTES + 1)).expect_err("too long").to_string();
    assert!(said.contains("more than 1 MiB"), "{said}");
}

#[test]
fn nothing_that_is_read_prints_a_secret() {
    let text = format!(
        "receivers:\n\
         - name: chat\n  slack: {{url: 'https://hooks.example.com/hidden'}}\n\
         - name: pager\n  pagerduty: {{routingKey: {ROUTING}}}\n\
         - name: hook\n  webhook: {{url: 'https://hidden.example.com/x', signingKeys: [{KEY}]}}\n"
    );
    let printed = format!("{:?}", parse(&text).expect("a file"));
    for secret in ["hooks.example", "hidden", ROUTING, "MfKQ"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

/// What people copy, and what they look events up in.
#[test]
fn file_of_the_page_is_one_and_the_page_has_every_event() {
    let page = include_str!("../../../docs/notifications.md");
    let (_, rest) = page.split_once("```yaml\n# not a resource: notifications.yaml\n").expect("a block");
    let (shown, _) = rest.split_once("```").expect("its end");
    let Receivers(receivers) = parse(shown).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(receivers.len(), 4);
    for kind in Kind::iter() {
        assert!(page.contains(&format!("| `{}` |", kind.as_str())), "{kind:?} is not on the page");
        let (room, what) = kind.event_type().split_once('.').expect("two words");
        let named = [format!("`{room}.{what}`"), format!("`.{what}`")];
        assert!(named.iter().any(|name| page.contains(name)), "{} is not on the page", kind.event_type());
    }
}
