//! The cost of a scrape: writing the metrics, and HTTP.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sonorancad_exporter::Exporter;
use sonorancad_exporter::client::{Calls, Endpoint as _};
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::config::{ApiVersion, Config, LabelTexts, Setting};
use sonorancad_exporter::exposition::{Format, render};
use sonorancad_exporter::process::Process;
use sonorancad_exporter::report::{
    CommunityReport, ExporterReport, FeedReport, FeedStatus, Report, ServerReport, VersionReason,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[path = "../tests/support/answer.rs"]
mod answer;

fn encode(criterion: &mut Criterion) {
    let server = ServerReport {
        id: "1".to_owned(),
        name: Some("Main".to_owned()),
        api_version: ApiVersion::V1,
        version_reason: VersionReason::Documented,
        calls: FeedReport {
            status: FeedStatus {
                is_up: true,
                last_success: Some(Duration::from_secs(1_795_435_200)),
                ttl: Duration::from_secs(25),
                ..FeedStatus::default()
            },
            snapshot: Calls::decode(answer::with_calls(60).as_bytes(), &LabelTexts::default())
                .ok()
                .map(Arc::new),
            ..FeedReport::default()
        },
        units: None,
        history: Vec::new(),
    };
    let report = Arc::new(Report {
        community: CommunityReport {
            servers: vec![server],
            at: Clock::system().now(),
        },
        exporter: Some(ExporterReport {
            process: Process::read(),
            is_reload_successful: true,
            panics: 0,
            is_shared_state_up: None,
        }),
    });
    let mut group = criterion.benchmark_group("render");
    for (name, format) in [("openmetrics", Format::OpenMetrics), ("text", Format::Text)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| render(black_box(&report), format).expect("text"));
        });
    }
    group.finish();
}

/// A scrape that is served from the cache, over an open connection.
fn scrape(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut stream = runtime.block_on(async {
        let address = start_exporter(start_cad().await);
        TcpStream::connect(address).await.expect("a connection")
    });
    criterion.bench_function("scrape", |bencher| {
        bencher.iter(|| runtime.block_on(get_metrics(&mut stream)));
    });
}

/// A CAD that gives the same answer to every request.
async fn start_cad() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let body = answer::with_calls(60);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            while !request.ends_with(b"}") {
                match stream.read(&mut request).await {
                    Ok(read) if read > 0 && request[..read].ends_with(b"}") => break,
                    Ok(read) if read > 0 => {}
                    _ => return,
                }
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn start_exporter(cad: SocketAddr) -> SocketAddr {
    let url = format!("http://{cad}");
    let variables = [
        ("SONORANCAD_COMMUNITY_ID", "mycommunity"),
        ("SONORANCAD_API_KEY", "key"),
        ("SONORANCAD_API_URL", &url),
        ("SONORANCAD_LISTEN_ADDRESS", "127.0.0.1:0"),
        ("SONORANCAD_CACHE_TTL", "1h"),
    ];
    let variables = variables.into_iter().map(|(name, text)| (name.into(), text.into()));
    let config = Config::read(Setting::from_environment(variables)).expect("a configuration");
    let exporter = Exporter::bind(&config, &Clock::system()).expect("an exporter");
    let address = exporter.local_addresses()[0];
    tokio::spawn(exporter.run(std::future::pending()));
    address
}

async fn get_metrics(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("a request");
    let mut answer = Vec::with_capacity(16 << 10);
    loop {
        stream.read_buf(&mut answer).await.expect("an answer");
        let text = std::str::from_utf8(&answer).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let length: usize = length
            .lines()
            .next()
            .and_then(|length| length.parse().ok())
            .expect("a number");
        if body.len() == length {
            assert!(body.contains("sonorancad_up{server_id=\"1\"} 1"));
            return;
        }
    }
}

criterion_group!(benches, encode, scrape);
criterion_main!(benches);
