//! `fleetsim`: simulated agents from the command line, for rehearsals and benchmarks.

use anyhow::Context;
use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use opamp_operator::sim::{Access, Behaviour, Counts, Endpoint, Fleet, Pace, Share, Tally, run_fleet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep};

/// Simulates a fleet of OpAMP agents.
///
/// The agents connect, describe themselves, take configurations and report what became of them, as supervisors
/// of OpenTelemetry Collectors do. Nothing is run and nothing is stored. They reconnect when the server goes
/// away, and say goodbye on SIGINT and SIGTERM.
#[derive(Parser)]
#[command(name = "fleetsim", version, after_help = EXAMPLES)]
struct Args {
    /// The server: ws:// or wss:// for WebSocket, http:// or https:// for plain HTTP polling.
    #[arg(long, default_value = "ws://127.0.0.1:4320/v1/opamp", value_name = "URL")]
    endpoint: Endpoint,

    /// A token that every agent shows: of a Secret, or of a service account. In the environment it is not in the list of
    /// processes.
    #[arg(long, env = "FLEETSIM_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,

    /// A header of every request, beside the token; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = attribute)]
    headers: Vec<(String, String)>,

    /// PEM file with the authorities that may vouch for the server: needed for wss:// and https://.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// PEM file with a certificate that every agent shows.
    #[arg(long, value_name = "FILE", requires = "key_file", requires = "ca_file")]
    cert_file: Option<PathBuf>,

    /// PEM file with the key of that certificate.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,

    /// How many agents.
    #[arg(long, default_value_t = 100, value_name = "N")]
    agents: usize,

    /// What the agents do with a configuration.
    #[arg(long, value_enum, default_value_t = Mode::Apply)]
    behaviour: Mode,

    /// How many agents report FAILED whatever the others do: a count or a percentage.
    #[arg(long, default_value = "0", value_name = "SHARE")]
    fail_share: Share,

    /// Report the configuration in effect as well, so that the operator can look for drift. There is none: it is the
    /// configuration as it was received.
    #[arg(long)]
    show_effective: bool,

    /// An attribute of every agent, for selectors; may be given several times.
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,

    /// Makes the agents' uids. With the same seed the same agents come back; by default they are new each time.
    #[arg(long, value_name = "N")]
    uid_seed: Option<u64>,

    /// How long a configuration takes to be applied.
    #[arg(long, default_value = "200ms", value_name = "DURATION", value_parser = duration)]
    apply_delay: Duration,

    /// The time between two heartbeats, or two polls.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    heartbeat: Duration,

    /// Ends by itself after this time.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    limit: Option<Duration>,
}

const EXAMPLES: &str = "\
Examples:
  A fleet that a rollout succeeds on:
    fleetsim --agents 100 --attribute deployment.environment.name=production

  One in five agents cannot apply the new configuration, so that the rollout goes back:
    fleetsim --agents 100 --fail-share 20%

  The same agents again, over plain HTTP with a poll every 5 seconds:
    fleetsim --endpoint http://127.0.0.1:4320/v1/opamp --uid-seed 7 --heartbeat 5s

  A fleet that has to prove who it is:
    FLEETSIM_TOKEN=... fleetsim --endpoint wss://opamp.example.org:4320/v1/opamp --ca-file ca.crt

Once a second a line on stderr says how many agents are connected, how many last reported APPLIED or FAILED, and
how many configurations they have received in all.";

/// The behaviours by name.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Report APPLYING, then APPLIED.
    Apply,
    /// Report APPLYING, then FAILED.
    Fail,
    /// Apply the first; of any later one report FAILED and go back, as a supervisor with automatic rollback.
    Rollback,
    /// Take it and report nothing.
    Silent,
}

impl From<Mode> for Behaviour {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Apply => Self::Apply,
            Mode::Fail => Self::Fail("fleetsim was told to fail".to_owned()),
            Mode::Rollback => Self::Rollback,
            Mode::Silent => Self::Silent,
        }
    }
}

impl Args {
    fn fleet(self) -> anyhow::Result<Fleet> {
        let access = self.access()?;
        Ok(Fleet {
            endpoint: self.endpoint.with(access),
            agents: self.agents,
            behaviour: self.behaviour.into(),
            failing: self.fail_share,
            shows_effective: self.show_effective,
            attributes: self.attributes,
            seed: self.uid_seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default()),
            pace: Pace { heartbeat: self.heartbeat, apply_delay: self.apply_delay, ..Pace::default() },
        })
    }

    /// What the agents show.
    fn access(&self) -> anyhow::Result<Access> {
        anyhow::ensure!(
            !self.endpoint.encrypted || self.ca_file.is_some(),
            "{} needs --ca-file",
            self.endpoint
        );
        let token = self.token.iter().map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        let access = Access::default().by_headers(token.chain(self.headers.iter().cloned()));
        let read =
            |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let pair = self.cert_file.as_ref().zip(self.key_file.as_ref());
        let pair = pair.map(|(certificate, key)| anyhow::Ok((read(certificate)?, read(key)?))).transpose()?;
        let pair = pair.as_ref().map(|(certificate, key)| (&certificate[..], &key[..]));
        match &self.ca_file {
            None => Ok(access),
            Some(file) => Ok(access.over_tls(&read(file)?, pair)?),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let limit = args.limit;
    let fleet = match args.fleet() {
        Ok(fleet) => fleet,
        Err(error) => {
            eprintln!("fleetsim: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("{} agents connect to {} (--uid-seed {})", fleet.agents, fleet.endpoint, fleet.seed);
    let agents = fleet.agents;
    let tally = Arc::new(Tally::default());
    let (stop, stopped) = watch::channel(false);
    let fleet = tokio::spawn(run_fleet(fleet, tally.clone(), stopped));
    let started = Instant::now();
    let why = match ended(limit, agents, &tally).await {
        Ok(why) => why,
        Err(error) => {
            eprintln!("fleetsim: signals cannot be received: {error}");
            return ExitCode::FAILURE;
        }
    };
    let counts = tally.counts();
    stop.send_replace(true);
    let _ = fleet.await;
    eprintln!("ended by {why} after {:.0?}: {}", started.elapsed(), line(agents, counts));
    ExitCode::SUCCESS
}

/// Says once a second how it goes, until a signal or the time limit ends it.
async fn ended(limit: Option<Duration>, agents: usize, tally: &Tally) -> std::io::Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut every_second = interval(Duration::from_secs(1));
    every_second.tick().await;
    let over = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        select! {
            _ = interrupt.recv() => return Ok("SIGINT"),
            _ = terminate.recv() => return Ok("SIGTERM"),
            () = &mut over => return Ok("--for"),
            _ = every_second.tick() => progress(agents, tally),
        }
    }
}

fn progress(agents: usize, tally: &Tally) {
    let counts = tally.counts();
    let all = usize::try_from(counts.connected).is_ok_and(|connected| connected >= agents);
    match tally.last_error().filter(|_| !all) {
        Some(error) => eprintln!("{}; last error: {error}", line(agents, counts)),
        None => eprintln!("{}", line(agents, counts)),
    }
}

fn line(agents: usize, counts: Counts) -> String {
    let Counts { connected, applied, failed, offers, errors, refusals } = counts;
    let some = |what: &str, count| if count == 0 { String::new() } else { format!(", {what} {count}") };
    let (errors, refusals) = (some("errors", errors), some("told to wait", refusals));
    format!(
        "connected {connected}/{agents}, applied {applied}, failed {failed}, offers {offers}{errors}{refusals}"
    )
}

fn attribute(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("this is no NAME=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let duration: Result<SignedDuration, _> = text.parse();
    let duration = duration.ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.filter(|duration| !duration.is_zero()).ok_or("a duration is positive, such as 200ms, 30s or 5m")
}
