//! `opamp-operator`: the controller and OpAMP server.

use clap::Parser;
use opamp_operator::settings::{Cli, Command, RunArgs, Settings};
use opamp_operator::{api, run, telemetry};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crds => print_crds(),
        Command::Run(args) => serve(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_crds() -> anyhow::Result<()> {
    for crd in api::crds() {
        print!("---\n{}", api::crds_to_yaml(&crd)?);
    }
    Ok(())
}

#[tokio::main]
async fn serve(args: &RunArgs) -> anyhow::Result<()> {
    let settings = Settings::new(args, |name| std::env::var(name).ok())?;
    telemetry::init_logs(args.log_format);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = oneshot::channel();
    let mut signalled = async || tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} };
    let ended_twice = async {
        signalled().await;
        let _ = stop.send(());
        signalled().await;
    };
    tokio::select! {
        ended = run::run(settings, async { drop(stopped.await) }) => Ok(ended?),
        () = ended_twice => anyhow::bail!("stopped at once by a second signal"),
    }
}
