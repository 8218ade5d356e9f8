//! Writes again only what has changed since the scrape before.

use std::fmt;
use std::sync::{Arc, OnceLock};

use enum_map::EnumMap;
use parking_lot::Mutex;

use super::family::Part;
use super::gzip::Compressed;
use super::{Format, render_part};
use crate::report::Report;

/// How the text is coded for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// gzip ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)).
    Gzip,
}

/// Writes the metrics of one community, scrape after scrape. What only a fetch changes is written once in each format, and
/// compressed once.
///
/// What was written is used again only if the report is equal, so nothing has to be told when something changes.
#[derive(Debug, Default)]
pub struct Renderer {
    newest: Mutex<Option<Arc<Written>>>,
}

/// What was written of a report.
#[derive(Debug)]
struct Written {
    report: Arc<Report>,
    lasting: EnumMap<Format, OnceLock<Result<Lasting, fmt::Error>>>,
}

/// The lasting part in one format.
#[derive(Debug)]
struct Lasting {
    text: String,
    compressed: OnceLock<Compressed>,
}

impl Renderer {
    /// Writes everything in `report`.
    ///
    /// # Errors
    ///
    /// As [`render`](super::render).
    pub fn render(&self, report: Report, format: Format, coding: Coding) -> Result<Vec<u8>, fmt::Error> {
        let report = Arc::new(report);
        let live = render_part(&report, format, Part::Live)?;
        let written = self.written(&report);
        let lasting = written.lasting[format].get_or_init(|| {
            Ok(Lasting {
                text: render_part(&written.report, format, Part::Lasting)?,
                compressed: OnceLock::new(),
            })
        });
        let Lasting { text, compressed } = lasting.as_ref().map_err(|error| *error)?;
        Ok(match coding {
            Coding::Identity => [text.as_bytes(), live.as_bytes()].concat(),
            Coding::Gzip => compressed
                .get_or_init(|| Compressed::new(text.as_bytes()))
                .with(live.as_bytes()),
        })
    }

    /// What was written before, if it still holds; otherwise nothing yet.
    fn written(&self, report: &Arc<Report>) -> Arc<Written> {
        let mut newest = self.newest.lock();
        if let Some(written) = &*newest
            && written.report.community.shows_the_same(&report.community)
        {
            return written.clone();
        }
        let written = Arc::new(Written {
            report: report.clone(),
            lasting: EnumMap::default(),
        });
        newest.insert(written).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::report::{CommunityReport, FeedReport, ServerReport};

    #[test]
    fn a_scrape_without_a_fetch_keeps_what_was_written() {
        let clock = Clock::system();
        let report = |queries| {
            let mut calls = FeedReport::default();
            calls.status.counts.queries = queries;
            Arc::new(Report {
                community: CommunityReport {
                    at: clock.now(),
                    servers: vec![ServerReport::of_calls(calls)],
                },
                exporter: None,
            })
        };
        let renderer = Renderer::default();
        let first = renderer.written(&report(1));
        assert!(Arc::ptr_eq(&first, &renderer.written(&report(2))));
    }
}
