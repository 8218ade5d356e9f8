//! Serves metrics until a signal stops it, and reads the configuration again at SIGHUP.

use std::process::ExitCode;
use std::sync::Arc;

use sd_notify::NotifyState;
use sonorancad_exporter::Exporter;
use sonorancad_exporter::client::{Calls, Endpoint as _};
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::community::Communities;
use sonorancad_exporter::config::{Config, Problems};
use sonorancad_exporter::process;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::demo::Demo;
use super::{Failure, log};

/// Reads the configuration; called at the start and at every reload.
pub(super) type Reader = Arc<dyn Fn() -> Result<Config, Problems> + Send + Sync>;

/// Serves the configuration that `read` returns; `demo` is the simulated CAD to start with it.
pub(super) fn serve(read: Reader, demo: Option<Demo>) -> Result<ExitCode, Failure> {
    let config = read().map_err(Failure::Config)?;
    log::start(&config.log);
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(serve_until_signal(config, read, demo));
    // A running look-up of the API's name cannot be cancelled, and must not delay the exit.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve_until_signal(config: Config, read: Reader, demo: Option<Demo>) -> Result<(), Failure> {
    // Before anything else: the first process of a container ignores signals that it does not handle.
    let interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
    let terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    let hang_up = signal(SignalKind::hangup()).map_err(Failure::Runtime)?;
    let exporter = Exporter::bind(&config, &Clock::system()).map_err(Failure::Start)?;
    log_start(&config, &exporter);
    // Its keys must not outlive the communities that use them.
    drop(config);
    if let Some(demo) = demo {
        demo.start(&exporter).map_err(Failure::Demo)?;
    }
    let communities = exporter.communities();
    notify_systemd(&[NotifyState::Ready]);
    tokio::select! {
        () = exporter.run(stop_signal(interrupt, terminate)) => {}
        () = reload_at(hang_up, &communities, read) => {}
    }
    info!("stopped");
    Ok(())
}

/// Reads the configuration again at each signal; never completes.
async fn reload_at(mut hang_up: Signal, communities: &Communities, read: Reader) {
    while hang_up.recv().await.is_some() {
        let read = read.clone();
        // Reading can block, and must not delay a signal to stop.
        let Ok(outcome) = spawn_blocking(move || read()).await else {
            communities.fail_reload();
            continue;
        };
        match outcome {
            Ok(config) => match communities.reload(&config) {
                Ok(()) => {
                    let communities = config.all_communities().count();
                    info!(communities, "the configuration has been read again");
                    log_warnings(&config);
                }
                Err(failure) => error!(
                    error = super::with_sources(&failure),
                    "the configuration cannot be used"
                ),
            },
            Err(problems) => {
                communities.fail_reload();
                for problem in problems.iter() {
                    error!(%problem, "the configuration cannot be used, and stays as it was");
                }
            }
        }
    }
    // No more signals can come.
    std::future::pending::<()>().await;
}

/// Completes at the first signal that asks the program to stop.
async fn stop_signal(mut interrupt: Signal, mut terminate: Signal) {
    let name = tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    info!(signal = name, "stopping");
    notify_systemd(&[NotifyState::Stopping]);
}

/// Reports the state to systemd, if it started this process and asks for reports
/// ([`sd_notify`](https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html)).
fn notify_systemd(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify systemd");
    }
}

/// Logs every community, its warnings, and where metrics are served.
fn log_start(config: &Config, exporter: &Exporter) {
    for (alias, community) in config.all_communities() {
        let plan = Calls::plan(community);
        let servers: Vec<_> = community.servers.iter().map(|server| server.id).collect();
        info!(
            community = alias,
            api_version = %community.api.version,
            ?servers,
            ttl = %humantime::format_duration(plan.ttl),
            requests_per_minute = plan.requests_per_minute,
            "serving community"
        );
    }
    log_warnings(config);
    info!(addresses = ?exporter.local_addresses(), version = process::VERSION, "listening");
}

/// Logs what is allowed but may surprise.
fn log_warnings(config: &Config) {
    for (alias, community) in config.all_communities() {
        for warning in Calls::plan(community).warnings(&Calls::RATE, community) {
            warn!(community = alias, "{warning}");
        }
    }
}
