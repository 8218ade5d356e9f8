//! Serves metrics until a signal stops it, and reads the configuration again when it changes or somebody asks for it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use sonorancad_exporter::Exporter;
use sonorancad_exporter::client::{Calls, Endpoint as _};
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::community::Communities;
use sonorancad_exporter::config::{Config, Problems};
use sonorancad_exporter::files::{self, WatchedFiles};
use sonorancad_exporter::process;
use sonorancad_exporter::toolkit::Toolkit;
use sonorancad_exporter::web::ReloadRequest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::demo::Demo;
use super::{Failure, log};

/// How often the files of the configuration are checked, for each thousand of them.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads the configuration, and adds the files that it reads; called at the start and at every reload.
pub(super) type Reader = Arc<dyn Fn(&mut WatchedFiles) -> Result<Config, Problems> + Send + Sync>;

/// Serves the configuration that `read` returns; `demo` is the simulated CAD to start with it.
pub(super) fn serve(read: Reader, enables_lifecycle: bool, demo: Option<Demo>) -> Result<ExitCode, Failure> {
    let mut files = WatchedFiles::default();
    let config = read(&mut files).map_err(Failure::Config)?;
    let _log = log::start(&config.log);
    let runtime = super::runtime()?;
    let outcome = runtime.block_on(serve_until_signal(config, read, files, enables_lifecycle, demo));
    // A running look-up of the API's name cannot be cancelled, and must not delay the exit.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve_until_signal(
    config: Config,
    read: Reader,
    files: WatchedFiles,
    enables_lifecycle: bool,
    demo: Option<Demo>,
) -> Result<(), Failure> {
    // Before anything else: the first process of a container ignores signals that it does not handle.
    let interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
    let terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    let hang_up = signal(SignalKind::hangup()).map_err(Failure::Runtime)?;
    let mut exporter = Exporter::bind(&config, &Clock::system()).map_err(Failure::Start)?;
    log_start(&config, &exporter);
    // Its keys must not outlive the communities that use them.
    drop(config);
    if let Some(demo) = demo {
        demo.start(&exporter).await.map_err(Failure::Demo)?;
    }
    let reloader = Reloader {
        communities: exporter.communities(),
        toolkit: exporter.toolkit(),
        read,
        files,
    };
    let requests = enables_lifecycle.then(|| exporter.enable_reloads());
    notify_systemd(&[NotifyState::Ready]);
    tokio::select! {
        () = exporter.run(stop_signal(interrupt, terminate)) => {}
        () = reloader.run(hang_up, requests) => {}
    }
    info!("stopped");
    Ok(())
}

/// Reads the configuration again: at a signal, when a client asks for it, and when one of its files has changed.
struct Reloader {
    communities: Arc<Communities>,
    toolkit: Toolkit,
    read: Reader,
    /// The files as they were when they were read last.
    files: WatchedFiles,
}

impl Reloader {
    /// Never completes.
    async fn run(mut self, mut hang_up: Signal, mut requests: Option<mpsc::Receiver<ReloadRequest>>) {
        loop {
            let interval = INTERVAL * u32::try_from(1 + self.files.len() / 1000).unwrap_or(u32::MAX);
            tokio::select! {
                Some(()) = hang_up.recv() => {
                    // A failure is logged.
                    let _ = self.reload().await;
                    let _ = self.reload_web().await;
                }
                Some(reply) = next(&mut requests) => {
                    let outcome = self.reload().await;
                    let outcome = outcome.and(self.reload_web().await);
                    // The client may be gone.
                    let _ = reply.send(outcome);
                }
                () = files::changed(|| self.files.clone(), interval) => {
                    let _ = self.reload().await;
                }
            }
        }
    }

    /// Reads the settings, the communities and their keys. What cannot be used is logged, and changes nothing.
    async fn reload(&mut self) -> Result<(), String> {
        let read = self.read.clone();
        // Reading can block, and must not delay a signal to stop.
        let outcome = spawn_blocking(move || {
            let mut files = WatchedFiles::default();
            (read(&mut files), files)
        });
        let Ok((outcome, files)) = outcome.await else {
            self.communities.fail_reload();
            return Err("reading it met a fault of the exporter".to_owned());
        };
        self.files = files;
        match outcome {
            Ok(config) => match self.communities.reload(&config) {
                Ok(()) => {
                    let communities = config.all_communities().count();
                    info!(communities, "the configuration has been read again");
                    log_warnings(&config, &self.communities);
                    Ok(())
                }
                Err(failure) => {
                    let error = super::with_sources(&failure);
                    error!(error, "the configuration cannot be used, and stays as it was");
                    Err(error)
                }
            },
            Err(problems) => {
                self.communities.fail_reload();
                for problem in problems.iter() {
                    error!(%problem, "the configuration cannot be used, and stays as it was");
                }
                Err(problems.to_string())
            }
        }
    }

    /// Reads the web configuration, which otherwise checks its files itself.
    async fn reload_web(&self) -> Result<(), String> {
        let toolkit = self.toolkit.clone();
        let outcome = spawn_blocking(move || toolkit.reload().map_err(|error| error.to_string()));
        outcome
            .await
            .unwrap_or_else(|_| Err("reading the web configuration met a fault of the exporter".to_owned()))
    }
}

/// The next request of a client; none ever comes where that is not enabled.
async fn next(requests: &mut Option<mpsc::Receiver<ReloadRequest>>) -> Option<ReloadRequest> {
    match requests {
        Some(requests) => requests.recv().await,
        None => std::future::pending().await,
    }
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
        let plan = Calls::plan(community, exporter.communities().api_version(alias));
        let servers: Vec<_> = community.servers.iter().map(|server| server.id).collect();
        info!(
            community = alias,
            api_version = %community.api.version,
            ?servers,
            ttl = %humantime::format_duration(plan.ttl),
            requests_per_minute = plan.requests_per_minute,
            collects_units = community.collects_units,
            "serving community"
        );
    }
    log_warnings(config, &exporter.communities());
    info!(addresses = ?exporter.local_addresses(), version = process::VERSION, "listening");
}

/// Logs what is allowed but may surprise.
fn log_warnings(config: &Config, communities: &Communities) {
    for (aliases, warning) in super::warnings(config, communities) {
        // The environment's own community has no alias.
        let communities = (!aliases.is_empty()).then_some(aliases);
        warn!(communities, "{warning}");
    }
}
