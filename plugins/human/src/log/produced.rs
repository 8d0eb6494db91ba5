//! Artifacts of a step, in one line of the summary: the first names, their sizes, and the number of the others.
//! The place of the files is not known here.

use hm_plugin_sdk::ArtifactRef;

/// Number of files of a step that are named.
const NAMED: usize = 4;
/// Number of characters of a name that are shown.
const NAME_WIDTH: usize = 80;

/// The files of a step, as far as they are shown.
pub(super) struct Produced {
    key: String,
    named: Vec<String>,
    files: usize,
    bytes: u64,
}

impl Produced {
    /// None for a step without any.
    pub(super) fn of(key: &str, artifacts: &[ArtifactRef]) -> Option<Self> {
        if artifacts.is_empty() {
            return None;
        }
        let name =
            |artifact: &ArtifactRef| format!("{} ({})", short(&artifact.key), size(artifact.size_bytes));
        Some(Self {
            key: key.to_owned(),
            named: artifacts.iter().take(NAMED).map(name).collect(),
            files: artifacts.len(),
            bytes: artifacts.iter().fold(0, |sum, artifact| sum.saturating_add(artifact.size_bytes)),
        })
    }

    /// `key produced a (1 B), b (2.0 kB) and 3 more (5.1 MB in all)`
    pub(super) fn line(&self) -> String {
        let Self { key, named, files, bytes } = self;
        let names = named.join(", ");
        match files.saturating_sub(named.len()) {
            0 => format!("{key} produced {names}"),
            more => format!("{key} produced {names} and {more} more ({} in all)", size(*bytes)),
        }
    }
}

/// A name in a line: steps choose names, and could choose some with line ends.
fn short(name: &str) -> String {
    let mut shown: String = name
        .chars()
        .take(NAME_WIDTH)
        .map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })
        .collect();
    if name.chars().nth(NAME_WIDTH).is_some() {
        shown.push('…');
    }
    shown
}

/// `7 B`, `1.2 kB`, `3.4 MB`, `5.6 GB`.
fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit / (unit / 10));
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_234_567, "1.2 MB"),
            (5_600_000_000, "5.6 GB"),
            (u64::MAX, "18446744073.7 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn a_name_stays_in_its_line() {
        assert_eq!(short("a\n✓ b\u{1b}[2J"), "a\u{fffd}✓ b\u{fffd}[2J");
        assert_eq!(short(&"ä".repeat(NAME_WIDTH)), "ä".repeat(NAME_WIDTH));
        assert_eq!(short(&"ä".repeat(NAME_WIDTH + 1)), "ä".repeat(NAME_WIDTH) + "…");
    }
}
