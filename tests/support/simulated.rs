//! The simulated CAD of the demo, on a real socket, without failures of its own.

use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::demo::{Cad, Settings};
use tokio::net::TcpListener;

/// Starts a CAD with this many servers, and returns its address for `SONORANCAD_API_URL`.
pub(crate) async fn start(seed: u64, calls_per_hour: u32, servers: u32, clock: &Clock) -> (Cad, String) {
    let settings = Settings {
        seed,
        calls_per_hour,
        servers,
        utc_offset: 0,
        has_trouble: false,
    };
    let cad = Cad::new(&settings, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(cad.clone().serve(listener));
    (cad, url)
}
