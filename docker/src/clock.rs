//! The engine's clock, which need not be ours: what commands in containers make has its time, and what is put beside
//! that has to be older or newer as it is.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Distance of an engine's clock from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock(TimeDelta);

impl Clock {
    /// Clock of an engine that said a time between two of ours; as ours, if it said nothing that can be read.
    pub(crate) fn of(before: DateTime<Utc>, said: Option<&str>, after: DateTime<Utc>) -> Self {
        let said = said.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let said = said.map_or(before, |time| time.with_timezone(&Utc));
        // Rather a moment too late: what is put is to be newer than what is there.
        Self(if (before..=after).contains(&said) { TimeDelta::zero() } else { said - before })
    }

    /// Its time, since 1970.
    pub(crate) fn now(self) -> Duration {
        let now = Utc::now().checked_add_signed(self.0).unwrap_or(DateTime::UNIX_EPOCH);
        now.signed_duration_since(DateTime::UNIX_EPOCH).to_std().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_asking_does_not_explain() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        for (said, off) in [
            (Some("1970-01-01T00:16:40Z"), 0),
            (Some("1970-01-01T00:16:42.000000001Z"), 0),
            (Some("1970-01-01T01:16:41+01:00"), 0),
            (Some("1970-01-01T00:21:40Z"), 300),
            (Some("1970-01-01T00:16:30.0Z"), -10),
            (Some("yesterday"), 0),
            (None, 0),
        ] {
            assert_eq!(Clock::of(at(1000), said, at(1003)), Clock(TimeDelta::seconds(off)), "{said:?}");
        }
        let ahead = Clock(TimeDelta::seconds(300)).now();
        let now = Clock(TimeDelta::zero()).now();
        assert!(ahead > now && ahead - now < Duration::from_secs(301), "{ahead:?} {now:?}");
        assert_eq!(Clock(TimeDelta::MIN / 2).now(), Duration::ZERO);
    }
}
