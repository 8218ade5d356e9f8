//! Sets up logging.

use sonorancad_exporter::config::{LogConfig, LogFormat};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// Logs to standard error, one line per event, panics included.
pub(super) fn start(log: &LogConfig) {
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
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
}
