//! A simulated CAD, with an exporter that reads it.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use clap::Args;
use sonorancad_exporter::Exporter;
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::config::{VARIABLES, is_ignored_in_demo};
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID, Cad, Settings};

/// How long the first look at the CAD may take; it goes on without the demo waiting for it.
const FIRST_DEADLINE: Duration = Duration::from_secs(5);

/// What to simulate.
#[derive(Args)]
pub(super) struct Options {
    /// The simulation follows from this number and the time of day [default: another one each time].
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Calls per hour and server, on average over a week.
    #[arg(long, value_name = "CALLS", default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    calls_per_hour: u32,

    /// CAD servers, 1 to 4: with more, the game servers alone would use up the limit of API version v2 for calls. That for
    /// units is used up by 3.
    #[arg(long, value_name = "SERVERS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4))]
    servers: u32,

    /// The community's local time, in hours ahead of UTC; its days and nights follow it.
    #[arg(long, value_name = "HOURS", default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-12..=14))]
    utc_offset: i32,

    /// The version of the API that the exporter asks.
    #[arg(long, value_name = "VERSION", default_value = "auto", value_parser = ["auto", "v1", "v2"])]
    api_version: String,

    /// Simulate a CAD whose API version v1 is switched off.
    #[arg(long)]
    v1_gone: bool,
}

/// A simulated CAD that has opened its address but does not answer yet.
pub(super) struct Demo {
    cad: Cad,
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
    api_version: String,
}

/// Names the variables that have no effect in a demo.
pub(super) fn warn_of_ignored(variables: impl Iterator<Item = (OsString, OsString)>) {
    let ignored = variables.map(|(name, text)| (name.to_string_lossy().into_owned(), text));
    let ignored = ignored.filter(|(name, text)| is_ignored_in_demo(name, &text.to_string_lossy()));
    let mut names: Vec<_> = ignored.map(|(name, _)| name).collect();
    names.sort_unstable();
    if !names.is_empty() {
        super::say(format_args!(
            "Warning: these variables have no effect in a demo: {}.\n",
            names.join(", ")
        ));
    }
}

impl Demo {
    /// Opens a loopback address, of IPv6 where there is none of IPv4.
    pub(super) fn bind(options: Options) -> io::Result<Self> {
        let clock = Clock::system();
        let settings = Settings {
            seed: options.seed.unwrap_or_else(|| clock.now().unix.subsec_micros().into()),
            calls_per_hour: options.calls_per_hour,
            servers: options.servers,
            utc_offset: options.utc_offset * 3600,
            has_trouble: true,
            is_v1_gone: options.v1_gone,
        };
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let listener = TcpListener::bind(&loopback.map(|ip| SocketAddr::new(ip, 0))[..])?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            cad: Cad::new(&settings, &clock),
            address: listener.local_addr()?,
            listener,
            settings,
            api_version: options.api_version,
        })
    }

    /// The environment for an exporter of this CAD.
    pub(super) fn environment(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> impl Iterator<Item = (OsString, OsString)> {
        let names: Vec<_> = (1..=self.settings.servers)
            .map(|id| format!("{id}=Simulated {id}"))
            .collect();
        let own = [
            ("SONORANCAD_API_URL", format!("http://{}", self.address)),
            ("SONORANCAD_API_VERSION", self.api_version.clone()),
            ("SONORANCAD_COMMUNITY_ID", COMMUNITY_ID.to_owned()),
            ("SONORANCAD_API_KEY", API_KEY.to_owned()),
            ("SONORANCAD_SERVER_IDS", names.join(",")),
            ("SONORANCAD_COLLECT", "calls,units".to_owned()),
        ];
        variables
            .filter(|(name, _)| {
                VARIABLES
                    .iter()
                    .any(|variable| variable.in_demo && *name == *variable.name())
            })
            .chain(own.map(|(name, text)| (name.into(), text.into())))
    }

    /// Starts to answer, has `exporter` ask once so that its first page shows calls, and prints where it is.
    pub(super) async fn start(self, exporter: &Exporter) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        tokio::spawn(self.cad.serve(listener));
        exporter.communities().scrape(FIRST_DEADLINE).await;
        let scheme = if exporter.speaks_tls() { "https" } else { "http" };
        let addresses = exporter.local_addresses();
        let exporter = addresses.first().map_or_else(|| self.address.to_string(), reachable);
        let Settings {
            seed, calls_per_hour, ..
        } = self.settings;
        super::say(format_args!(
            "This is a demo: every call is simulated (--seed {seed}, about {calls_per_hour} calls per hour and server).\n\
             \n    Status page    {scheme}://{exporter}/\
             \n    Metrics        {scheme}://{exporter}/metrics\
             \n    Simulated CAD  http://{address}/statistics/1 tells what truly happened\n\n\
             Let Prometheus scrape the metrics every 30 s, or reload them: the CAD is only asked when they are read.",
            address = self.address,
        ));
        Ok(())
    }
}

/// Where a browser reaches a server that listens at `address`.
fn reachable(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}
