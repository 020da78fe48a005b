//! Three replicas, three hundred agents and a rollout in phases, while whatever can die does. `make faults` runs more
//! seeds of the same.

mod support;

#[path = "faults/agents.rs"]
mod agents;
#[path = "faults/calm.rs"]
mod calm;
#[path = "faults/evidence.rs"]
mod evidence;
#[path = "faults/inject.rs"]
mod inject;
#[path = "faults/oracle.rs"]
mod oracle;
#[path = "faults/plan.rs"]
mod plan;
#[path = "faults/proxy.rs"]
mod proxy;
#[path = "faults/recorder.rs"]
mod recorder;
#[path = "faults/replicas.rs"]
mod replicas;
#[path = "faults/roundabout.rs"]
mod roundabout;
#[path = "faults/run.rs"]
mod run;

use plan::Plan;

const AGENTS: usize = 300;

/// Runs a seed, and fails with what did not hold.
async fn survives(seed: u64) {
    let plan = Plan::new(seed, AGENTS);
    println!("{plan}");
    let report = run::run(&plan).await;
    println!("{}", report.told);
    assert!(
        report.wrong.is_empty(),
        "{}\nrun it again with: make faults FROM={seed} SEEDS=1",
        report.wrong.join("\n")
    );
    assert!(report.conclusive, "inconclusive: nothing was wrong, but the machine hardly ever kept up");
}

/// One test for each seed of a round, which together bring every kind of fault.
macro_rules! seeds {
    ($($name:ident: $seed:literal),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                survives($seed).await;
            }
        )*
    };
}

seeds! {
    rollout_ends_as_it_would_have_under_the_faults_of_seed_0: 0,
    rollout_ends_as_it_would_have_under_the_faults_of_seed_1: 1,
    rollout_ends_as_it_would_have_under_the_faults_of_seed_2: 2,
    rollout_ends_as_it_would_have_under_the_faults_of_seed_3: 3,
    rollout_ends_as_it_would_have_under_the_faults_of_seed_4: 4,
}
