//! The open calls of the last hour as a small picture: an SVG without scripts, drawn here.

use std::fmt::Write as _;
use std::time::Duration;

use maud::{Markup, html};

use super::words::grouped;
use crate::report::{HISTORY_SLOT, HISTORY_SLOTS, OpenCalls};

/// The height of the drawing; its width is the number of slots.
const HEIGHT: u32 = 40;

/// The least time for which a sample counts if no other one follows: the default of `SONORANCAD_MAX_STALE`.
const MIN_HOLD: Duration = Duration::from_secs(120);

/// How long a snapshot is shown with this TTL, unless the configuration says more.
pub(super) fn hold(ttl: Duration) -> Duration {
    MIN_HOLD.max(ttl.saturating_mul(2))
}

/// Pending on top of active calls. A sample counts until the next one, but no longer than `hold`, for which a snapshot
/// is shown. Nothing is drawn before the first answer.
pub(super) fn render(history: &[Option<OpenCalls>], hold: Duration) -> Markup {
    let slots = hold.as_secs() / HISTORY_SLOT.as_secs();
    let filled = fill(history, usize::try_from(slots).unwrap_or(HISTORY_SLOTS));
    let all = |calls: OpenCalls| u32::from(calls.pending) + u32::from(calls.active);
    let Some(most) = filled.iter().flatten().map(|calls| all(*calls)).max() else {
        return html! {};
    };
    let top = top(most);
    let open = area(&filled, all, top);
    let active = area(&filled, |calls| calls.active.into(), top);
    let half = HEIGHT / 2;
    html! {
        figure {
            figcaption {
                "Open calls, last hour"
                span.key.pending { "pending" }
                span.key.active { "active" }
            }
            div.picture {
                div.scale aria-hidden="true" { span { (grouped(top.into())) } span { "0" } }
                svg viewBox={ "0 0 " (HISTORY_SLOTS) " " (HEIGHT) } preserveAspectRatio="none" role="img" {
                    title { (describe(&filled, most)) }
                    path.grid d={ "M0 0H" (HISTORY_SLOTS) "M0 " (half) "H" (HISTORY_SLOTS) "M0 " (HEIGHT) "H" (HISTORY_SLOTS) } {}
                    path.pending d=(open) {}
                    path.active d=(active) {}
                }
                div.hours aria-hidden="true" { span { "1 h ago" } span { "30 min ago" } span { "now" } }
            }
        }
    }
}

/// The picture in words.
fn describe(filled: &[Option<OpenCalls>], most: u32) -> String {
    match filled.last() {
        Some(Some(OpenCalls { pending, active })) => {
            format!("Now {pending} pending and {active} active; at most {most} open at once in the last hour.")
        }
        _ => format!("Now unknown; at most {most} open at once in the last hour."),
    }
}

/// Repeats each sample in the empty slots after it, at most `hold` times.
fn fill(history: &[Option<OpenCalls>], hold: usize) -> Vec<Option<OpenCalls>> {
    let mut last = None;
    let mut repeats = 0;
    let fill = |sample: &Option<OpenCalls>| {
        if sample.is_some() {
            (last, repeats) = (*sample, 0);
        } else if repeats < hold {
            repeats += 1;
        } else {
            last = None;
        }
        last
    };
    history.iter().map(fill).collect()
}

/// The number at the top of the scale: even, so that the line in the middle is a whole number.
fn top(most: u32) -> u32 {
    let step = 10_u32.pow(most.max(2).ilog10());
    let top = most.max(2).div_ceil(step) * step;
    top + top % 2
}

/// The outline of an area: a step for each slot, and a gap where nothing is known.
fn area(filled: &[Option<OpenCalls>], count: impl Fn(OpenCalls) -> u32, top: u32) -> String {
    // In tenths, since a number with many digits would be most of the page.
    let y = |count: u32| {
        let tenths = u64::from(HEIGHT) * 10 * u64::from(top - count) / u64::from(top);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let mut path = String::new();
    let mut before = None;
    for (x, calls) in filled.iter().map(|calls| calls.map(&count)).chain([None]).enumerate() {
        // Writing to a String cannot fail.
        let _ = match (before, calls) {
            (None, Some(count)) => write!(path, "M{x} {HEIGHT}V{}", y(count)),
            (Some(before), Some(count)) if before != count => write!(path, "H{x}V{}", y(count)),
            (Some(_), None) => write!(path, "H{x}V{HEIGHT}Z"),
            _ => Ok(()),
        };
        before = calls;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(pending: u16, active: u16) -> OpenCalls {
        OpenCalls { pending, active }
    }

    #[test]
    fn a_sample_counts_until_the_next_one_but_not_for_ever() {
        let history = [
            Some(calls(1, 0)),
            None,
            Some(calls(2, 0)),
            None,
            None,
            None,
            Some(calls(3, 0)),
        ];
        assert_eq!(
            fill(&history, 2),
            [
                Some(calls(1, 0)),
                Some(calls(1, 0)),
                Some(calls(2, 0)),
                Some(calls(2, 0)),
                Some(calls(2, 0)),
                None,
                Some(calls(3, 0))
            ]
        );
        assert_eq!(fill(&history, 0), history);
    }

    #[test]
    fn the_scale_ends_at_a_round_number() {
        for (most, expected) in [
            (0, 2),
            (1, 2),
            (2, 2),
            (3, 4),
            (10, 10),
            (11, 20),
            (99, 100),
            (101, 200),
            (65_536, 70_000),
        ] {
            assert_eq!(top(most), expected, "{most}");
        }
    }

    #[test]
    fn an_area_has_steps_and_gaps() {
        let filled = [
            Some(calls(1, 1)),
            Some(calls(2, 1)),
            Some(calls(2, 1)),
            None,
            Some(calls(0, 4)),
        ];
        let all = |calls: OpenCalls| u32::from(calls.pending + calls.active);
        assert_eq!(area(&filled, all, 4), "M0 40V20.0H1V10.0H3V40ZM4 40V0.0H5V40Z");
        assert_eq!(area(&[None, None], all, 4), "");
    }

    #[test]
    fn a_picture_is_small_whatever_it_shows() {
        assert_eq!(render(&[], Duration::ZERO).into_string(), "");
        assert_eq!(render(&[None; HISTORY_SLOTS], Duration::ZERO).into_string(), "");
        let history: Vec<_> = (0..HISTORY_SLOTS)
            .map(|slot| {
                if slot % 2 == 0 {
                    Some(calls(u16::MAX, u16::MAX))
                } else {
                    Some(calls(0, 1))
                }
            })
            .collect();
        let picture = render(&history, Duration::MAX).into_string();
        assert!(picture.len() < 5000, "{}", picture.len());
        assert!(
            picture
                .contains("<title>Now 0 pending and 1 active; at most 131070 open at once in the last hour.</title>")
        );
    }
}
