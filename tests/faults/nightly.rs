//! `make faults`: runs many seeds, from `FROM` on as many as `SEEDS` says, some at the same time. `KEEP=1` keeps the
//! files of those that pass, too. It ends with one line
//! that says what came of it, and fails if anything did not hold.

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod calm;
mod evidence;
mod inject;
mod oracle;
mod plan;
mod proxy;
mod recorder;
mod replicas;
mod roundabout;
mod run;

use futures::StreamExt;
use plan::Plan;
use std::process::ExitCode;
use std::time::Instant;

#[tokio::main]
async fn main() -> ExitCode {
    let (from, seeds) = (variable("FROM", 0), variable("SEEDS", 50));
    let (agents, at_once) = (variable("AGENTS", 300), variable("AT_ONCE", 2));
    let began = Instant::now();
    let size = |number| usize::try_from(number).expect("a size");
    let runs = futures::stream::iter(from..from + seeds).map(|seed| runs_through(seed, size(agents)));
    let outcomes: Vec<(u64, Outcome)> = runs.buffer_unordered(size(at_once)).collect().await;
    let took = began.elapsed().as_secs();
    let of = |outcome| -> Vec<u64> {
        outcomes.iter().filter(|(_, came)| *came == outcome).map(|(seed, _)| *seed).collect()
    };
    let (failed, inconclusive) = (of(Outcome::Failed), of(Outcome::Inconclusive));
    if failed.is_empty() && inconclusive.is_empty() {
        println!("faults: all {seeds} seeds from {from} on passed in {took} s");
        return ExitCode::SUCCESS;
    }
    for seed in failed.iter().chain(&inconclusive) {
        println!("run it again with: make faults FROM={seed} SEEDS=1 AGENTS={agents}");
    }
    println!(
        "faults: of {seeds} seeds from {from} on {} FAILED in {took} s: {failed:?}, and {} were inconclusive: \
         {inconclusive:?}",
        failed.len(),
        inconclusive.len()
    );
    ExitCode::FAILURE
}

/// What came of a seed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// Nothing was wrong, and the machine hardly ever kept up.
    Inconclusive,
}

/// Runs a seed, and tells what came of it.
async fn runs_through(seed: u64, agents: usize) -> (u64, Outcome) {
    let plan = Plan::new(seed, agents);
    let running = plan.clone();
    // With a runtime of its own, which ends with all that the seed has started.
    let report = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(run::run(&running))
    });
    let outcome = match report.await {
        Ok(report) if !report.wrong.is_empty() => {
            println!("{}seed {seed} FAILED:\n{}\n", report.told, report.wrong.join("\n"));
            Outcome::Failed
        }
        Ok(report) if report.conclusive => {
            println!("{}seed {seed} passed\n", report.told);
            Outcome::Passed
        }
        Ok(report) => {
            println!("{}seed {seed} was INCONCLUSIVE: the machine did not keep up\n", report.told);
            Outcome::Inconclusive
        }
        Err(error) => {
            println!("{plan}seed {seed} FAILED: {error}\n");
            Outcome::Failed
        }
    };
    (seed, outcome)
}

/// A number from the environment.
fn variable(name: &str, default: u64) -> u64 {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}"));
    std::env::var(name).map_or(default, number)
}
