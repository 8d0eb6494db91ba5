//! Sizes and spans of time, as people write and read them. Their use is the commands' affair.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Units of bytes, in thousands.
const SIZES: [(&str, u64); 5] =
    [("B", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];
/// Units of time, in seconds.
const SPANS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

/// A size in bytes, which is written like `500MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub(super) u64);

/// A span of time, which is written like `12h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

/// A text that is not of its form, which it names.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has to be a whole number with a unit, like {0}")]
pub(super) struct Form(&'static str);

impl FromStr for Size {
    type Err = Form;

    fn from_str(text: &str) -> Result<Self, Form> {
        number(text, &SIZES).map(Self).ok_or(Form("500MB or 5GB"))
    }
}

impl TryFrom<String> for Size {
    type Error = Form;

    fn try_from(text: String) -> Result<Self, Form> {
        text.parse()
    }
}

impl FromStr for Span {
    type Err = Form;

    fn from_str(text: &str) -> Result<Self, Form> {
        number(text, &SPANS)
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or(Form("90s, 30m, 12h or 7d"))
    }
}

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size for people: at most eight characters.
pub(super) fn size(bytes: u64) -> String {
    let (unit, factor) = SIZES.iter().rev().find(|(_, factor)| bytes >= *factor).unwrap_or(&SIZES[0]);
    let tenths = u128::from(bytes) * 10 / u128::from(*factor);
    match tenths {
        10..1000 if *factor > 1 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
        _ => format!("{} {unit}", tenths / 10),
    }
}

/// A span of time for people, in its largest unit: at most six characters, of some centuries.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_has_a_number_and_a_unit() {
        for (text, expected) in
            [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("0s", 0), ("007d", 604_800)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(expected))), "{text}");
        }
        for (text, expected) in [("500MB", 500_000_000), ("5GB", 5_000_000_000), ("0B", 0), ("12kB", 12_000)]
        {
            assert_eq!(text.parse(), Ok(Size(expected)), "{text}");
        }
        for text in
            ["", "7", "d", "-7d", "+7d", "7 d", "1.5h", "7D", "1h30m", "99999999999999999999d", "٣d", "7dd"]
        {
            assert_eq!(text.parse::<Span>().expect_err(text), Form("90s, 30m, 12h or 7d"));
        }
        for text in ["", "5", "GB", "-5GB", "5gb", "5GiB", "1.5GB", "5 GB", "99999999999TB"] {
            let error = text.parse::<Size>().expect_err(text).to_string();
            assert_eq!(error, "it has to be a whole number with a unit, like 500MB or 5GB");
        }
    }

    #[test]
    fn what_is_shown_is_short() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_999, "99.9 kB"),
            (100_000, "100 kB"),
            (999_999, "999 kB"),
            (1_234_567, "1.2 MB"),
            (20_000_000_000, "20.0 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        for (seconds, expected) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (172_799, "47 h"), (172_800, "2 d")]
        {
            assert_eq!(span(seconds), expected);
        }
    }
}
