//! The threads that talk to the API.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::body::{Body, Room};
use super::error::{FetchError, Phase};

/// The largest error that is read; whatever is longer is none of the API's own strings.
const MOST_ERROR_BYTES: usize = 4 << 10;

/// While some are held up by a flood, the others fetch.
const THREADS: usize = 4;

/// Requests at once, and answers that are held until they are decoded: each request has a file descriptor, of
/// which there are not as many as there may be communities, and each answer takes memory.
pub const MOST_REQUESTS: usize = 128;

/// Names that are looked up at once. The system does it, on a thread with a socket of its own, and no time-out of
/// ours ends it; a request whose name has not had its turn by then times out.
const MOST_LOOKUPS: usize = 32;

/// File descriptors at once: of requests, and of names that are looked up, perhaps for requests that are over.
pub const MOST_FILES: usize = MOST_REQUESTS + MOST_LOOKUPS;

/// How much later than the time-out a fetch is given up whose own thread does not see that it is over.
const GRACE: Duration = Duration::from_millis(250);

/// Takes requests to the API, and brings their answers.
///
/// It has threads of its own. A connection that is flooded with tiny pieces (informational answers, parts
/// of a chunk's size) is read for seconds without a pause, by whichever thread it is on; on those that
/// serve, it would hold up every scrape.
#[derive(Debug)]
pub(super) struct Courier {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    room: Room,
    /// One for each request that may be under way, until its answer is dropped.
    turns: Arc<Semaphore>,
}

/// An answer of any status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Body, FetchError>,
}

impl Courier {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(MOST_LOOKUPS)
            .thread_name("api")
            // Where all are held up, the other connections and the time-outs have their turn each time.
            .event_interval(1)
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            room: Room::new(),
            turns: Arc::new(Semaphore::new(MOST_REQUESTS)),
        })
    }

    /// Sends a request, and reads the whole answer to it: a good one up to `most_bytes`.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        timeout: Duration,
        most_bytes: usize,
    ) -> Result<Answer, FetchError> {
        let until = Instant::now() + timeout;
        let Ok(Ok(turn)) = timeout_at(until, self.turns.clone().acquire_owned()).await else {
            return Err(FetchError::Timeout);
        };
        let exchange = exchange(request.timeout(timeout), most_bytes, self.room.clone(), turn, until);
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let mut exchange = runtime.spawn(exchange);
        let Ok(answer) = timeout_at(until + GRACE, &mut exchange).await else {
            exchange.abort();
            return Err(FetchError::Timeout);
        };
        answer.unwrap_or_else(|_| Err(FetchError::Other("the request broke off".to_owned())))
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // To wait for it is not allowed where another runtime drops it.
            runtime.shutdown_background();
        }
    }
}

async fn exchange(
    request: RequestBuilder,
    most_bytes: usize,
    room: Room,
    turn: OwnedSemaphorePermit,
    until: Instant,
) -> Result<Answer, FetchError> {
    let response = request
        .send()
        .await
        .map_err(|error| FetchError::from_transport(&error, Phase::Request))?;
    let status = response.status();
    let most_bytes = if status.is_success() {
        most_bytes
    } else {
        MOST_ERROR_BYTES
    };
    Ok(Answer {
        status,
        headers: response.headers().clone(),
        body: Body::read(response, most_bytes, &room, turn, until).await,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_body_keeps_its_turn_until_it_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = super::super::http_builder(false).no_proxy().build().unwrap();
        let request = http.get(format!("http://{}", listener.local_addr().unwrap()));
        let courier = Courier::new().unwrap();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.read_u8().await.unwrap() != b'\n' {}
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let (answer, _stream) = tokio::join!(courier.send(request, Duration::from_secs(60), 2), answering);
        let body = answer.unwrap().body.unwrap();
        assert_eq!(courier.turns.available_permits(), MOST_REQUESTS - 1);
        drop(body);
        assert_eq!(courier.turns.available_permits(), MOST_REQUESTS);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn few_names_are_looked_up_at_once() {
        let courier = Courier::new().unwrap();
        let runtime = courier.runtime.as_ref().unwrap();
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
        while under_way.load(Ordering::SeqCst) < MOST_LOOKUPS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Were there more, they would start at once.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(under_way.load(Ordering::SeqCst), MOST_LOOKUPS);
        drop(end);
    }
}
