//! The simulated CAD of the demo, on a real socket, without failures of its own.

use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::demo::{Cad, Settings};
use tokio::net::TcpListener;

/// Starts a CAD with this many servers, and returns its address for `SONORANCAD_API_URL`.
pub(crate) async fn start(seed: u64, calls_per_hour: u32, servers: u32, clock: &Clock) -> (Cad, String) {
    start_with(&settings(seed, calls_per_hour, servers), clock).await
}

/// The same with version v1 switched off.
pub(crate) async fn start_without_v1(seed: u64, calls_per_hour: u32, servers: u32, clock: &Clock) -> (Cad, String) {
    let settings = Settings {
        is_v1_gone: true,
        ..settings(seed, calls_per_hour, servers)
    };
    start_with(&settings, clock).await
}

fn settings(seed: u64, calls_per_hour: u32, servers: u32) -> Settings {
    Settings {
        seed,
        calls_per_hour,
        servers,
        utc_offset: 0,
        has_trouble: false,
        is_v1_gone: false,
    }
}

async fn start_with(settings: &Settings, clock: &Clock) -> (Cad, String) {
    let cad = Cad::new(settings, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(cad.clone().serve(listener));
    (cad, url)
}
