//! Moments that leave this process: an [`Instant`] means nothing in another one, so it is written as a Unix time.
//!
//! serde tells nested types nothing about their surroundings. So the clock that translates is set for the thread while
//! [`with_reference`] runs.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Now;

thread_local! {
    static REFERENCE: Cell<Option<Now>> = const { Cell::new(None) };
}

/// Runs `run`, which writes or reads moments by what the clock shows now.
pub(crate) fn with_reference<T>(now: Now, run: impl FnOnce() -> T) -> T {
    REFERENCE.set(Some(now));
    let result = run();
    REFERENCE.set(None);
    result
}

/// A moment in nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Unix(u64);

impl Unix {
    fn new(moment: Instant) -> Option<Self> {
        let nanos = REFERENCE.get()?.unix_at(moment).as_nanos();
        // Only moments that were read from elsewhere are so late, in the year 2554.
        Some(Self(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    fn moment(self) -> Option<Instant> {
        let now = REFERENCE.get()?;
        let unix = Duration::from_nanos(self.0);
        match unix.checked_sub(now.unix) {
            Some(later) => now.instant.checked_add(later),
            None => now.instant.checked_sub(now.unix.saturating_sub(unix)),
        }
    }
}

fn write<E: serde::ser::Error>(moment: Instant) -> Result<Unix, E> {
    Unix::new(moment).ok_or_else(|| E::custom("a moment that no clock translates"))
}

fn read<E: serde::de::Error>(unix: Unix) -> Result<Instant, E> {
    unix.moment()
        .ok_or_else(|| E::custom("a moment that no clock translates"))
}

/// For `#[serde(with)]`: one moment.
pub(crate) mod as_unix {
    use super::{Deserialize, Deserializer, Instant, Serialize, Serializer, Unix, read, write};

    pub(crate) fn serialize<S: Serializer>(moment: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        write::<S::Error>(*moment)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        read(Unix::deserialize(deserializer)?)
    }
}

/// The same of a moment that may be missing.
pub(crate) mod as_unix_option {
    use super::{Deserialize, Deserializer, Instant, Serialize, Serializer, Unix, read, write};

    #[expect(clippy::ref_option, reason = "serde asks for it")]
    pub(crate) fn serialize<S: Serializer>(moment: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        moment.map(write::<S::Error>).transpose()?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Instant>, D::Error> {
        Option::<Unix>::deserialize(deserializer)?.map(read).transpose()
    }
}

/// The same of the values of a map.
pub(crate) mod as_unix_values {
    use std::collections::BTreeMap;

    use super::{Deserialize, Deserializer, Instant, Serializer, Unix, read, write};

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<u64, Instant>, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = map.iter().map(|(key, moment)| Ok((key, write::<S::Error>(*moment)?)));
        serializer.collect_map(entries.collect::<Result<Vec<_>, S::Error>>()?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<u64, Instant>, D::Error> {
        let map = BTreeMap::<u64, Unix>::deserialize(deserializer)?;
        map.into_iter().map(|(key, unix)| Ok((key, read(unix)?))).collect()
    }
}

/// As the moment that its steady clock shows.
impl Serialize for Now {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_unix::serialize(&self.instant, serializer)
    }
}

impl<'de> Deserialize<'de> for Now {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let unix = Unix::deserialize(deserializer)?;
        Ok(Self {
            instant: read(unix)?,
            unix: Duration::from_nanos(unix.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_moment_comes_back_in_another_process_at_the_same_unix_time() {
        let here = Clock::system().now();
        // Another process began at another moment, and its clock shows the same time.
        let there = Now {
            instant: here.instant + Duration::from_secs(777),
            ..here
        };
        for moment in [here, here + Duration::from_nanos(1), here + Duration::from_secs(3600)] {
            let text = with_reference(here, || serde_json::to_string(&moment)).unwrap();
            let read: Now = with_reference(there, || serde_json::from_str(&text)).unwrap();
            assert_eq!(read.instant, moment.instant + Duration::from_secs(777));
            assert_eq!(there.unix_at(read.instant), here.unix_at(moment.instant));
        }
    }

    #[test]
    fn any_moment_that_was_read_can_be_written_although_the_clock_has_stepped() {
        let now = Clock::system().now();
        let late: Now = with_reference(now, || serde_json::from_str("18446744073709551615")).unwrap();
        let stepped = Now {
            unix: now.unix + Duration::from_secs(3600),
            ..now
        };
        let text = with_reference(stepped, || serde_json::to_string(&late)).unwrap();
        assert_eq!(text, "18446744073709551615");
    }

    #[test]
    fn without_a_clock_there_is_no_moment() {
        let now = Clock::system().now();
        assert!(serde_json::to_string(&now).is_err());
        assert!(serde_json::from_str::<Now>("1").is_err());
    }
}
