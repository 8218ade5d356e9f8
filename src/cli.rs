//! The command line: arguments, subcommands, and exit codes.
//!
//! 0: stopped by a signal, healthy, or `check` found no problem. 1: failed to run, unhealthy, or `check` found a
//! problem. 2: invalid command line or configuration (`check` reports the latter as 1).

mod check;
mod demo;
mod healthcheck;
mod log;
mod serve;

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use sonorancad_exporter::StartError;
use sonorancad_exporter::client::{Calls, Endpoint as _, Units};
use sonorancad_exporter::community::Communities;
use sonorancad_exporter::config::{self, ApiEndpoint, Config, Flags, Setting};
use sonorancad_exporter::process::{self, LONG_VERSION};
use tokio::runtime::Runtime;

use self::demo::Demo;
use self::serve::Reader;

/// Scrapes are cheap: more threads would not help, even on a machine with many cores.
const WORKER_THREADS: usize = 2;

/// The most aliases that a warning names.
const MAX_NAMES: usize = 5;

/// Exports the calls of a Sonoran CAD community to Prometheus.
#[derive(Parser)]
#[command(name = "sonorancad-exporter", version = LONG_VERSION, after_help = config::help())]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The address to serve on, instead of `SONORANCAD_LISTEN_ADDRESS`; can be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", global = true)]
    listen_addresses: Vec<String>,

    /// Use the sockets that systemd passes on, instead of addresses.
    #[arg(long = "web.systemd-socket", global = true)]
    systemd_socket: bool,

    /// Where Prometheus reaches the exporter through a reverse proxy, instead of `SONORANCAD_EXTERNAL_URL`.
    #[arg(long = "web.external-url", value_name = "URL", global = true)]
    external_url: Option<String>,

    /// The file with TLS, users and headers, instead of `SONORANCAD_WEB_CONFIG_FILE`.
    #[arg(long = "web.config.file", value_name = "FILE", global = true)]
    web_config_file: Option<String>,

    /// Let clients make the exporter read its files again, by `POST /-/reload`.
    #[arg(long = "web.enable-lifecycle", global = true)]
    enable_lifecycle: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve metrics (the default).
    Serve,
    /// Ask each server once, and report what was found or what is wrong.
    Check(check::Options),
    /// Run with a simulated CAD: this needs no key and no network.
    #[command(after_help = config::demo_help())]
    Demo(demo::Options),
    /// Check the health of the exporter that runs with the same settings.
    Healthcheck,
}

/// Why the program fails.
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
    #[error("not healthy at {}", describe(.0))]
    Unhealthy(Vec<(SocketAddr, std::io::Error)>),
}

/// Runs the command that the command line names.
pub(crate) fn run() -> ExitCode {
    if let Err(error) = process::disable_core_dumps() {
        say(format_args!(
            "sonorancad-exporter: other processes may be able to read the key in memory: {error}"
        ));
    }
    let arguments = Arguments::parse();
    let flags = Flags {
        listen_addresses: arguments.listen_addresses,
        systemd_socket: arguments.systemd_socket,
        external_url: arguments.external_url,
        web_config_file: arguments.web_config_file,
    };
    let outcome = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let read: Reader = Arc::new(move |files| Config::read_with(settings(std::env::vars_os(), &flags), files));
            serve::serve(read, arguments.enable_lifecycle, None)
        }
        Command::Check(options) => check(settings(std::env::vars_os(), &flags), options),
        Command::Demo(options) => serve_demo(options, flags, arguments.enable_lifecycle),
        Command::Healthcheck => check_health(settings(std::env::vars_os(), &flags)),
    };
    outcome.unwrap_or_else(|failure| {
        say(format_args!("sonorancad-exporter: {}", with_sources(&failure)));
        match failure {
            Failure::Config(_) | Failure::Start(StartError::WebConfig(_)) => ExitCode::from(2),
            Failure::Start(_) | Failure::Demo(_) | Failure::Runtime(_) | Failure::Unhealthy(_) => ExitCode::FAILURE,
        }
    })
}

fn check(settings: Vec<Setting>, options: check::Options) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let findings = runtime.block_on(check::check(Config::read(settings)));
    runtime.shutdown_background();
    // A closed pipe does not change the result.
    let _ = std::io::stdout().write_all(findings.render(options).as_bytes());
    Ok(if findings.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn serve_demo(options: demo::Options, flags: Flags, enables_lifecycle: bool) -> Result<ExitCode, Failure> {
    let demo = Demo::bind(options).map_err(Failure::Demo)?;
    demo::warn_of_ignored(std::env::vars_os());
    let environment: Vec<_> = demo.environment(std::env::vars_os()).collect();
    let read: Reader = Arc::new(move |files| Config::read_with(settings(environment.clone(), &flags), files));
    serve::serve(read, enables_lifecycle, Some(demo))
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(Failure::Runtime)
}

fn check_health(settings: Vec<Setting>) -> Result<ExitCode, Failure> {
    let config::HealthTarget { address, is_guarded } = config::HealthTarget::read(settings).map_err(Failure::Config)?;
    healthcheck::ask(address, is_guarded).map_err(Failure::Unhealthy)?;
    Ok(ExitCode::SUCCESS)
}

/// The addresses that were tried, each with what happened there.
fn describe(attempts: &[(SocketAddr, std::io::Error)]) -> String {
    let attempts: Vec<_> = attempts
        .iter()
        .map(|(address, error)| format!("{address}: {error}"))
        .collect();
    attempts.join("; nor at ")
}

/// What is allowed but may surprise, each with the aliases of the communities that it concerns.
///
/// Communities that share a key share its limit and so most of its warnings: these come once.
fn warnings(config: &Config, communities: &Communities) -> Vec<(String, String)> {
    let mut warnings: Vec<(String, Vec<&str>)> = Vec::new();
    let mut known = HashMap::new();
    for (alias, community) in config.all_communities() {
        let version = communities.api_version(alias);
        let of_calls = Calls::plan(community, version).warnings(ApiEndpoint::Calls, community);
        let of_units = community
            .collects_units
            .then(|| Units::plan(community, version).warnings(ApiEndpoint::Units, community));
        let unused = community.unused().map(str::to_owned);
        for text in of_calls.into_iter().chain(of_units.into_iter().flatten()).chain(unused) {
            let index = *known
                .entry((community.api.account(), text.clone()))
                .or_insert(warnings.len());
            if index == warnings.len() {
                warnings.push((text, Vec::new()));
            }
            warnings[index].1.extend(alias);
        }
    }
    let warnings = warnings.into_iter();
    warnings.map(|(text, aliases)| (list_some(&aliases), text)).collect()
}

/// The first few of these names, and how many there are more.
fn list_some(names: &[&str]) -> String {
    let (shown, others) = names.split_at(names.len().min(MAX_NAMES));
    match others.len() {
        0 => shown.join(", "),
        count => format!("{} and {count} more", shown.join(", ")),
    }
}

/// The settings of the environment and the flags; the flags win.
fn settings(environment: impl IntoIterator<Item = (OsString, OsString)>, flags: &Flags) -> Vec<Setting> {
    let mut settings = Setting::from_environment(environment);
    settings.extend(Setting::from_flags(flags));
    settings
}

/// Writes a line to standard error. Where that is not possible, the exit code still says what happened.
fn say(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// An error and its causes, in one line.
fn with_sources(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
