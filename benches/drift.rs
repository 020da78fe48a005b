//! What one check for drift costs in CPU time: `make bench`.
//!
//! It does what the hub does with a report of what is in effect (`look_for_drift` in `src/opamp/hub/effective.rs`), for agents
//! that all run one configuration of 4 KB and report what a real Collector reported of it, each with its own identity.
//! CPU time and not time on the clock, because the machine may have other work; over batches, because one check is too
//! short for the clock. It fails if the budget of the design is not kept.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use opamp_operator::config::{ConfigFile, ConfigHash, Desired, Form, HashKey};
use opamp_operator::drift::{Finding, look};
use opamp_operator::fleet::{
    AgentKey, Attributes, Capabilities, ConfigReport, Delays, Description, DriftClass, GroupView,
    InstanceUid, Link, Outcome, Payload, Report, Revision, Roster, Shown, View,
};
use opamp_operator::opamp::proto::{AgentConfigMap, AgentConfigObject, EffectiveConfig};
use opamp_operator::opamp::{Baselines, effective};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const AGENTS: usize = 10_000;
const BATCH: u32 = 100;
/// How often every agent reports.
const ROUNDS: usize = 5;
/// Most microseconds of a check.
const BUDGET: f64 = 100.0;
const DESIRED: &str = include_str!("../src/drift/fixtures/gateway/desired/collector.yaml");
const REPORTED: &str = include_str!("../src/drift/fixtures/gateway/effective.yaml");
const CONTENT: ConfigHash = ConfigHash::from_bytes([1; 32]);
const LINK: Link = Link::Socket(1);

fn main() -> ExitCode {
    println!("{AGENTS} agents; {} bytes desired, {} reported; {}", DESIRED.len(), REPORTED.len(), machine());
    println!(
        "{:44}{:>8}{:>8}{:>8}{:>8}",
        "CPU time of a check, in microseconds", "least", "median", "9 of 10", "most"
    );
    Replica::new().round(AGENTS, as_it_is);
    let first = (0..ROUNDS).flat_map(|_| Replica::new().round(AGENTS, as_it_is)).collect();
    let mut replica = Replica::new();
    let later = replica.rounds(as_it_is);
    assert!(replica.all(|shown| *shown == Shown::InSync), "a real report is no drift");
    let drifted = replica.rounds(with_drift);
    assert!(replica.all(|shown| matches!(shown, Shown::Drifted(DriftClass::Modified, _))), "drift is found");
    let foreign = replica.round(AGENTS / 10, with_a_flow_list);
    let checks = [
        ("the first report of a configuration", first),
        ("a later one", later),
        ("one that shows drift", drifted),
    ];
    let medians = checks.map(|(what, times)| show(what, times));
    show("one that no Collector writes (no budget)", foreign);
    let kept = medians.iter().all(|median| *median <= BUDGET);
    println!("budget {BUDGET} microseconds: {}", if kept { "kept" } else { "not kept" });
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A replica with agents that have applied the configuration.
struct Replica {
    roster: Roster,
    baselines: Baselines,
    key: HashKey,
    agents: Vec<AgentKey>,
}

impl Replica {
    fn new() -> Self {
        let files = [ConfigFile::new("collector.yaml", "text/yaml", DESIRED.as_bytes())];
        let revision = Revision {
            name: "gateway-1".into(),
            hash: CONTENT,
            payload: Payload::default(),
            desired: Desired::collector(&files),
            needs: None,
            secrets: Box::default(),
        };
        let group = GroupView::of_all("gateways", Some(Arc::new(revision)), None);
        let delays = Delays {
            urgent: Duration::from_secs(1),
            slow: Duration::from_secs(10),
            assumed_interval: Duration::from_secs(30),
        };
        let mut roster = Roster::new("bench", delays);
        roster.set_view(Arc::new(View::new([("default".into(), group)])), Timestamp::now());
        let agents: Vec<AgentKey> =
            (0..AGENTS).map(|number| AgentKey { namespace: "default".into(), uid: uid(number) }).collect();
        for agent in &agents {
            roster.receive(agent, hello(), LINK, Timestamp::now());
        }
        let key = HashKey::try_from(&[7; 32][..]).expect("32 bytes");
        Self { roster, baselines: Baselines::default(), key, agents }
    }

    /// All agents report, several times.
    fn rounds(&mut self, change: fn(&str) -> String) -> Vec<f64> {
        (0..ROUNDS).flat_map(|_| self.round(AGENTS, change)).collect()
    }

    /// Each of so many agents reports once; the time of a check, in each batch.
    fn round(&mut self, agents: usize, change: fn(&str) -> String) -> Vec<f64> {
        let body = change(REPORTED);
        let batches = (0..agents).step_by(BATCH as usize).map(|first| {
            let reports: Vec<_> =
                (first..first + BATCH as usize).map(|number| report(&body, number)).collect();
            let before = cpu_time();
            for (report, number) in reports.into_iter().zip(first..) {
                self.check(report, number);
            }
            cpu_time().saturating_sub(before).as_secs_f64() * 1e6 / f64::from(BATCH)
        });
        batches.collect()
    }

    /// What the hub does, but for its lock.
    fn check(&mut self, report: EffectiveConfig, number: usize) {
        let agent = &self.agents[number];
        let files = effective(report);
        let (revision, rules) = self.roster.looked_for(agent, LINK).expect("it has applied its revision");
        let desired = revision.desired.as_ref().expect("YAML");
        let finding = look(desired, &files, &rules.ignore, &self.key);
        let now = Timestamp::now();
        let still = self.roster.looked_for(agent, LINK).is_some_and(|(now, _)| now.hash == revision.hash);
        let known = self.roster.agent(agent).filter(|_| still).expect("an agent");
        let sight = self.baselines.judge(known, (revision.hash, rules.ignore), &finding, now);
        let supervised = finding.as_ref().is_ok_and(Finding::is_supervised);
        self.roster.note_sight(agent, sight, supervised, now);
    }

    fn all(&self, is: impl Fn(&Shown) -> bool) -> bool {
        let shown = |agent| self.roster.agent(agent).and_then(|agent| agent.sight());
        self.agents.iter().all(|agent| shown(agent).is_some_and(|sight| is(&sight.shown)))
    }
}

fn as_it_is(report: &str) -> String {
    report.to_owned()
}

fn with_drift(report: &str) -> String {
    change(report, "queue_size: 5000", "queue_size: 50")
}

/// The whole of YAML has to be known for this one.
fn with_a_flow_list(report: &str) -> String {
    change(report, "            receivers:\n                - otlp\n", "            receivers: [otlp]\n")
}

fn change(report: &str, from: &str, to: &str) -> String {
    assert!(report.contains(from), "{from}");
    report.replacen(from, to, 1)
}

/// The uid of an agent; not two are alike.
fn uid(number: usize) -> InstanceUid {
    InstanceUid::new((number as u128 + 1).to_be_bytes())
}

/// What an agent says of itself when it comes.
fn hello() -> Report {
    let attribute = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let identifying = [attribute("service.name", "otelcol"), attribute("service.version", "0.149.0")];
    Report {
        full: true,
        description: Some(Description { attributes: Attributes::new(identifying, []) }),
        capabilities: Some(Capabilities(0x1007)),
        config: Some(ConfigReport { hash: Some(CONTENT), form: Form::Plain, outcome: Outcome::Applied }),
        ..Report::default()
    }
}

/// What one agent reports: its own identity stands in it twice, and its process once.
fn report(body: &str, number: usize) -> EffectiveConfig {
    let recorded = body.split_once("instance_uid: ").map(|(_, rest)| &rest[..36]).expect("an identity");
    let body =
        change(&body.replace(recorded, &uid(number).to_string()), "ppid: ", &format!("ppid: {number}"));
    let object =
        AgentConfigObject { body: body.into(), content_type: "text/yaml".into(), ..Default::default() };
    EffectiveConfig { config_map: Some(AgentConfigMap { config_map: [(String::new(), object)].into() }) }
}

/// The processor time of this thread so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}

/// The processor, and how many of it.
fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("a processor without a name", |(_, name)| name);
    format!("{name}, {} cores", std::thread::available_parallelism().map_or(0, usize::from))
}

/// Prints the times of a kind of check; their median.
fn show(what: &str, mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let part = |tenths: usize| times[(times.len() - 1) * tenths / 10];
    println!("{what:44}{:8.1}{:8.1}{:8.1}{:8.1}", part(0), part(5), part(9), part(10));
    part(5)
}
