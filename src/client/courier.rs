//! The threads that talk to the API.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::body::{Body, Room};
use super::error::{FetchError, Phase};

/// The largest error that is read; whatever is longer is none of the API's own strings.
const MOST_ERROR_BYTES: usize = 4 << 10;

/// While some are held up by a flood, the others fetch.
const THREADS: usize = 4;

/// Requests at once: each has a file descriptor, and there are not as many as there may be communities.
pub const MOST_REQUESTS: usize = 128;

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
    /// One for each request that may be under way.
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
            // They look up names.
            .max_blocking_threads(MOST_REQUESTS)
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
        let exchange = exchange(request.timeout(timeout), most_bytes, self.room.clone(), until);
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let mut exchange = runtime.spawn(async move {
            let _turn = turn;
            exchange.await
        });
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
        body: Body::read(response, most_bytes, &room, until).await,
    })
}
