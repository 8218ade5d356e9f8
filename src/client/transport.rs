//! The threads that talk to the API.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::body::{Body, BodyMemory};
use super::error::{FetchError, Phase};

/// The largest error body that is read; a longer one is not one of the API's own strings.
const MAX_ERROR_BYTES: usize = 4 << 10;

/// While a flood keeps some of them busy, the others fetch.
const THREADS: usize = 4;

/// Concurrent requests, answers that wait to be decoded included.
///
/// There may be more communities than file descriptors, and each answer takes memory.
pub const MAX_REQUESTS: usize = 128;

/// Concurrent look-ups of names.
///
/// The system makes them, each on a thread with a socket of its own, and no time-out of ours ends them. A request
/// whose look-up has not started by then times out.
const MAX_LOOKUPS: usize = 32;

/// File descriptors in use at once: for requests, and for look-ups, even of requests that have ended.
pub const MAX_FILES: usize = MAX_REQUESTS + MAX_LOOKUPS;

/// How long a request waits for its turn. That is no failure of the API, so it does not count towards its time-out.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A fetch whose own thread does not notice the time-out is given up this much later.
const GRACE: Duration = Duration::from_millis(250);

/// Sends requests to the API and reads the responses, on threads of its own.
///
/// A connection that is flooded with tiny pieces (informational responses, parts of a chunk's size) keeps its thread
/// busy for seconds. On the threads that serve, it would delay every scrape.
#[derive(Debug)]
pub(super) struct Transport {
    /// `Some` until it is dropped.
    runtime: Option<Runtime>,
    memory: BodyMemory,
    /// One for each request, until its body is dropped.
    permits: Arc<Semaphore>,
}

/// The right to send one of the requests that are in progress at once.
#[derive(Debug)]
pub struct Turn(OwnedSemaphorePermit);

/// A response of any status.
pub(super) struct RawResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Body, FetchError>,
}

impl Transport {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(MAX_LOOKUPS)
            .thread_name("api")
            // If all threads are busy, the other connections and the time-outs still get their turn after each task.
            .event_interval(1)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            memory: BodyMemory::new(),
            permits: Arc::new(Semaphore::new(MAX_REQUESTS)),
        })
    }

    /// Waits for a turn, in the order of calls, but not for ever.
    pub(super) async fn turn(&self) -> Option<Turn> {
        let turn = timeout(MAX_WAIT, self.permits.clone().acquire_owned()).await;
        turn.ok()?.ok().map(Turn)
    }

    /// Sends a request and reads the whole response, up to `max_bytes` of a successful one.
    pub(super) async fn send(
        &self,
        Turn(permit): Turn,
        request: RequestBuilder,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<RawResponse, FetchError> {
        let until = Instant::now() + timeout;
        let exchange = exchange(request.timeout(timeout), max_bytes, self.memory.clone(), permit, until);
        let runtime = self.runtime.as_ref().expect("it is `Some` until it is dropped");
        let mut exchange = runtime.spawn(exchange);
        let Ok(answer) = timeout_at(until + GRACE, &mut exchange).await else {
            exchange.abort();
            return Err(FetchError::Timeout);
        };
        answer.unwrap_or_else(|_| Err(FetchError::Other("the request broke off".to_owned())))
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed where another runtime drops it.
            runtime.shutdown_background();
        }
    }
}

async fn exchange(
    request: RequestBuilder,
    max_bytes: usize,
    memory: BodyMemory,
    permit: OwnedSemaphorePermit,
    until: Instant,
) -> Result<RawResponse, FetchError> {
    let response = request
        .send()
        .await
        .map_err(|error| FetchError::from_transport(&error, Phase::Request))?;
    let status = response.status();
    let max_bytes = if status.is_success() {
        max_bytes
    } else {
        MAX_ERROR_BYTES
    };
    Ok(RawResponse {
        status,
        headers: response.headers().clone(),
        body: Body::read(response, max_bytes, &memory, permit, until).await,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_body_keeps_its_permit_until_it_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = super::super::http_builder(&crate::config::Network::default(), false);
        let http = http.unwrap().build().unwrap();
        let request = http.get(format!("http://{}", listener.local_addr().unwrap()));
        let transport = Transport::new().unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.read_u8().await.unwrap() != b'\n' {}
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let turn = transport.turn().await.unwrap();
        let (answer, _stream) = tokio::join!(transport.send(turn, request, Duration::from_secs(60), 2), answering);
        let body = answer.unwrap().body.unwrap();
        assert_eq!(transport.permits.available_permits(), MAX_REQUESTS - 1);
        drop(body);
        assert_eq!(transport.permits.available_permits(), MAX_REQUESTS);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn few_names_are_looked_up_at_once() {
        let transport = Transport::new().unwrap();
        let runtime = transport.runtime.as_ref().unwrap();
        let under_way = Arc::new(AtomicUsize::new(0));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = Arc::new(parking_lot::Mutex::new(ended));
        for _ in 0..100 {
            let (under_way, ended) = (under_way.clone(), ended.clone());
            runtime.spawn_blocking(move || {
                under_way.fetch_add(1, Ordering::SeqCst);
                // Until the other end is dropped.
                let _ = ended.lock().recv();
            });
        }
        while under_way.load(Ordering::SeqCst) < MAX_LOOKUPS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Were there more, they would start at once.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(under_way.load(Ordering::SeqCst), MAX_LOOKUPS);
        drop(end);
    }
}
