//! Sets up logging.
//!
//! A thread of its own writes the lines. So a standard error that nobody reads stops nothing else.

use std::io::{self, Stderr, Write};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use sonorancad_exporter::config::{LogConfig, LogFormat};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// The most lines that wait to be written; further ones are lost. A start with 10,000 communities logs one for each.
const MAX_LINES: usize = 16_384;

/// How long the end waits for the lines before it.
const MAX_WAIT: Duration = Duration::from_millis(900);

/// Writes the log until it is dropped.
pub(super) struct LogWriter(Option<WorkerGuard>);

/// A writer that counts the lines that found no place before it.
struct Lossy<W> {
    writer: W,
    /// Known once the queue before it exists.
    lost: Arc<OnceLock<ErrorCounter>>,
    /// How many have been reported.
    reported: usize,
    /// Reports some more.
    report: fn(usize),
}

/// Logs to standard error, one line per event, panics included.
pub(super) fn start(log: &LogConfig) -> LogWriter {
    let lost = Arc::<OnceLock<ErrorCounter>>::default();
    let writer = Lossy::<Stderr> {
        writer: io::stderr(),
        lost: lost.clone(),
        reported: 0,
        report: |lines| tracing::warn!(lines, "lines of the log are lost: standard error was not read in time"),
    };
    let queue = NonBlockingBuilder::default().buffered_lines_limit(MAX_LINES);
    let (queue, guard) = queue.thread_name("log").finish(writer);
    let _ = lost.set(queue.error_counter());
    let layer = fmt::layer().with_writer(queue).with_ansi(false);
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(log.filter.clone()))
        .init();
    std::panic::set_hook(Box::new(|panic| {
        // Without the panic's message, which may quote a secret.
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "a fault of the exporter; please report it");
    }));
    LogWriter(Some(guard))
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let guard = self.0.take();
        let (sender, ended) = mpsc::channel::<()>();
        let end = move || {
            drop(guard);
            drop(sender);
        };
        // On a thread that is left behind: dropping the guard can block, for it writes to standard output if nobody reads
        // standard error. Without memory for another thread, it is dropped here.
        let _ = thread::Builder::new().spawn(end);
        let _ = ended.recv_timeout(MAX_WAIT);
    }
}

impl<W: Write> Write for Lossy<W> {
    /// A line that cannot be written is gone, too. There is nobody to tell.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.writer.write_all(bytes);
        Ok(bytes.len())
    }

    /// Reports the lines that were lost since the last time. It is called whenever no line waits.
    fn flush(&mut self) -> io::Result<()> {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        if lost > self.reported {
            (self.report)(lost - self.reported);
            self.reported = lost;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Blocks until it is allowed to write.
    struct Pipe {
        allowed: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.allowed.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    static LOST: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn lines_that_find_no_place_are_counted_and_reported_once_the_rest_is_written() {
        let (allow, allowed) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let lost = Arc::<OnceLock<ErrorCounter>>::default();
        let writer = Lossy {
            writer: Pipe { allowed, written },
            lost: lost.clone(),
            reported: 0,
            report: |lines| {
                LOST.fetch_add(lines, Ordering::SeqCst);
            },
        };
        let queue = NonBlockingBuilder::default().buffered_lines_limit(4);
        let (mut queue, _guard) = queue.finish(writer);
        let counter = queue.error_counter();
        let _ = lost.set(queue.error_counter());
        for number in 0..100 {
            // None of them blocks.
            queue.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        // At most one is being written, and four wait.
        assert!(
            (95..=96).contains(&counter.dropped_lines()),
            "{}",
            counter.dropped_lines()
        );
        assert_eq!(LOST.load(Ordering::SeqCst), 0, "nothing has been written");
        for number in 0..100 - counter.dropped_lines() {
            allow.send(()).unwrap();
            assert_eq!(lines.recv().unwrap(), format!("{number}\n").as_bytes());
        }
        while LOST.load(Ordering::SeqCst) < counter.dropped_lines() {
            thread::yield_now();
        }
    }
}
