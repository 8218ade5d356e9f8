//! The command line: subcommands, logging, signals, and the exit code.
//!
//! 0: stopped as asked, healthy, or all is well. 1: cannot run, not healthy, or something is wrong.
//! 2: wrong command line, or wrong configuration of anything but a check.

mod check;
mod demo;
mod healthcheck;

use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use sd_notify::NotifyState;
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::community::Communities;
use sonorancad_exporter::config::{self, Config, Flags, LogConfig, LogFormat, Setting};
use sonorancad_exporter::process::{self, LONG_VERSION};
use sonorancad_exporter::{Exporter, StartError, warn_of};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use self::demo::Demo;

/// Scrapes cost little, and a machine with many cores needs no thread on each of them.
const WORKER_THREADS: usize = 2;

/// Exports the calls of a Sonoran CAD community to Prometheus.
#[derive(Parser)]
#[command(name = "sonorancad-exporter", version = LONG_VERSION, after_help = config::help())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The address to serve on, instead of `SONORANCAD_LISTEN_ADDRESS`; can be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", global = true)]
    listen_addresses: Vec<String>,

    /// Serve the sockets that systemd hands over, instead of addresses.
    #[arg(long = "web.systemd-socket", global = true)]
    systemd_socket: bool,

    /// The file with TLS, users and headers, instead of `SONORANCAD_WEB_CONFIG_FILE`.
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    web_config_file: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve metrics (the default).
    Serve,
    /// Ask each server once, and say what is found or what is wrong.
    Check(check::Options),
    /// Show a community that is simulated: no key and no network needed.
    Demo(demo::Options),
    /// Ask the exporter that runs with the same settings whether it is healthy.
    Healthcheck,
}

/// What reads the configuration, as often as it is asked.
type Reader = Arc<dyn Fn() -> Result<Config, config::Problems> + Send + Sync>;

/// What ended the program early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(config::Problems),
    #[error(transparent)]
    Start(StartError),
    #[error("cannot start the simulated CAD")]
    Demo(#[source] std::io::Error),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("not healthy at {address}")]
    Unhealthy {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    if let Err(error) = process::hide_memory() {
        eprintln!("sonorancad-exporter: other processes may be able to read the key in memory: {error}");
    }
    let arguments = Arguments::parse();
    let flags = Flags {
        listen_addresses: arguments.listen_addresses,
        systemd_socket: arguments.systemd_socket,
        web_config_file: arguments.web_config_file,
    };
    let outcome = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(
            Arc::new(move || Config::read(settings(std::env::vars_os(), &flags))),
            None,
        ),
        Command::Check(options) => check(settings(std::env::vars_os(), &flags), options),
        Command::Demo(options) => serve_demo(options, flags),
        Command::Healthcheck => check_health(settings(std::env::vars_os(), &flags)),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("sonorancad-exporter: {}", with_sources(&failure));
        match failure {
            Failure::Config(_) | Failure::Start(StartError::WebConfig(_)) => ExitCode::from(2),
            Failure::Start(_) | Failure::Demo(_) | Failure::Runtime(_) | Failure::Unhealthy { .. } => ExitCode::FAILURE,
        }
    })
}

fn check(settings: Vec<Setting>, options: check::Options) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let findings = runtime.block_on(check::check(Config::read(settings)));
    runtime.shutdown_background();
    // Nobody reads on: that changes nothing of what was found.
    let _ = std::io::stdout().write_all(findings.render(options).as_bytes());
    Ok(if findings.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn serve_demo(options: demo::Options, flags: Flags) -> Result<ExitCode, Failure> {
    let demo = Demo::bind(options).map_err(Failure::Demo)?;
    let environment: Vec<_> = demo.environment(std::env::vars_os()).collect();
    let read = move || Config::read(settings(environment.clone(), &flags));
    serve(Arc::new(read), Some(demo))
}

/// Serves what `read` gives, and what it gives later, when a signal asks for it.
fn serve(read: Reader, demo: Option<Demo>) -> Result<ExitCode, Failure> {
    let config = read().map_err(Failure::Config)?;
    start_logging(&config.log);
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve_until_signal(config, read, demo));
    // A look-up of the API's name cannot be cut short, and must not hold up the end.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(Failure::Runtime)
}

async fn serve_until_signal(config: Config, read: Reader, demo: Option<Demo>) -> Result<(), Failure> {
    // Before anything else: the first process of a container ignores signals that it does not handle.
    let interrupt = signal(SignalKind::interrupt()).map_err(Failure::Runtime)?;
    let terminate = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    let hang_up = signal(SignalKind::hangup()).map_err(Failure::Runtime)?;
    let exporter = Exporter::bind(&config, &Clock::System).map_err(Failure::Start)?;
    // Its keys are not to outlive the communities that they are for.
    drop(config);
    if let Some(demo) = demo {
        demo.start(&exporter).map_err(Failure::Demo)?;
    }
    let communities = exporter.communities();
    tell_systemd(&[NotifyState::Ready]);
    tokio::select! {
        () = exporter.run(stop_signal(interrupt, terminate)) => {}
        () = reload_at(hang_up, &communities, read) => {}
    }
    info!("stopped");
    Ok(())
}

/// Reads the configuration anew at each signal; never ends.
async fn reload_at(mut hang_up: Signal, communities: &Communities, read: Reader) {
    while hang_up.recv().await.is_some() {
        let read = read.clone();
        // File systems can be slow, and whatever happens, it must be able to stop.
        let Ok(outcome) = spawn_blocking(move || read()).await else {
            communities.fail_reload();
            continue;
        };
        match outcome {
            Ok(config) => match communities.reload(&config) {
                Ok(()) => {
                    let communities = config.all_communities().count();
                    info!(communities, "the configuration has been read again");
                    warn_of(&config);
                }
                Err(failure) => error!(error = with_sources(&failure), "the configuration cannot be used"),
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
    tell_systemd(&[NotifyState::Stopping]);
}

/// Tells systemd how it stands, where systemd has started it and wants to know
/// ([`sd_notify`](https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html)).
fn tell_systemd(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "systemd cannot be told");
    }
}

fn check_health(settings: Vec<Setting>) -> Result<ExitCode, Failure> {
    let config::Reach { address, is_guarded } = config::Reach::read(settings).map_err(Failure::Config)?;
    let address = healthcheck::reachable(address);
    match healthcheck::ask(address, is_guarded) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(source) => Err(Failure::Unhealthy { address, source }),
    }
}

/// The environment, and the flags, which win.
fn settings(environment: impl IntoIterator<Item = (OsString, OsString)>, flags: &Flags) -> Vec<Setting> {
    let mut settings = Setting::from_environment(environment);
    settings.extend(Setting::from_flags(flags));
    settings
}

/// Logs to standard error, panics included, one line each.
fn start_logging(log: &LogConfig) {
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(log.filter.clone()))
        .init();
    std::panic::set_hook(Box::new(|panic| {
        // Without the panic's message, which can quote what was being read.
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "a fault of the exporter; please report it");
    }));
}

/// An error and what caused it, in one line.
fn with_sources(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
