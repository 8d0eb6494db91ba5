//! Eviction of results: of those that are never found again, and when there is too much, of those that were not used
//! for the longest time. Removing them is for others to do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use hm_plugin_protocol::SnapshotRef;

use super::{Key, ListedResult};

/// Limits of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of all results, with their layers.
    pub max_bytes: u64,
    /// Time that a result may go without being used.
    pub max_age: Duration,
}

/// The results to remove, of all that there are, those first that were not used for the longest time. `layers` has the
/// bytes that results take outside of the store.
#[must_use]
pub fn to_evict(
    entries: &[ListedResult],
    layers: &BTreeMap<SnapshotRef, u64>,
    limits: CacheLimits,
    is_there: impl Fn(&Path) -> bool,
    now: DateTime<Utc>,
) -> Vec<Key> {
    let mut set = EvictionSet::new(entries, layers);
    let mut projects: HashMap<&Path, bool> = HashMap::new();
    for (number, listed) in entries.iter().enumerate() {
        let unusable = listed.entry.as_ref().is_none_or(|entry| {
            let longest = entry.longest_secs.map(Duration::from_secs);
            let is_of_something = *projects.entry(&entry.project).or_insert_with(|| is_there(&entry.project));
            let is_lost = entry.parent.as_ref().is_some_and(|parent| !set.by_tag.contains_key(parent));
            entry.expires(longest).is_some_and(|end| end <= now) || !is_of_something || is_lost
        });
        if unusable {
            set.remove(number);
        }
    }
    let oldest = TimeDelta::from_std(limits.max_age).ok().and_then(|age| now.checked_sub_signed(age));
    // A result is of use as long as one that was made from it.
    let used = set.used();
    let mut order: Vec<usize> = (0..entries.len()).collect();
    // Of those that are of the same use the last made, since the others may have led to it.
    let made_at = |number: usize| entries[number].entry.as_ref().map(|entry| entry.made_at);
    order.sort_by_key(|number| (used[*number], Reverse(made_at(*number))));
    for number in order {
        if oldest.is_some_and(|oldest| used[number] < oldest) || set.bytes > limits.max_bytes {
            set.remove(number);
        }
    }
    let removed = entries.iter().zip(&set.removed).filter(|(_, removed)| **removed);
    removed.map(|(listed, _)| listed.key.clone()).collect()
}

/// Results, by their position in the list.
struct EvictionSet<'a> {
    entries: &'a [ListedResult],
    by_tag: HashMap<&'a SnapshotRef, usize>,
    made_from: Vec<Vec<usize>>,
    sizes: Vec<u64>,
    removed: Vec<bool>,
    /// Of those that are not removed.
    bytes: u64,
}

impl<'a> EvictionSet<'a> {
    fn new(entries: &'a [ListedResult], layers: &BTreeMap<SnapshotRef, u64>) -> Self {
        let known =
            || entries.iter().enumerate().filter_map(|(at, listed)| Some((at, listed.entry.as_ref()?)));
        let by_tag: HashMap<_, _> = known().map(|(at, entry)| (&entry.tag, at)).collect();
        let mut made_from = vec![Vec::new(); entries.len()];
        for (at, entry) in known() {
            if let Some(parent) = entry.parent.as_ref().and_then(|parent| by_tag.get(parent)) {
                made_from[*parent].push(at);
            }
        }
        let size = |listed: &ListedResult| {
            let layer = listed.entry.as_ref().and_then(|entry| layers.get(&entry.tag)).copied();
            listed.bytes.saturating_add(layer.unwrap_or_default())
        };
        let sizes: Vec<u64> = entries.iter().map(size).collect();
        let bytes = sizes.iter().copied().fold(0, u64::saturating_add);
        Self { entries, by_tag, made_from, sizes, removed: vec![false; entries.len()], bytes }
    }

    /// Removes a result, and with it those that were made from it: nobody finds them again.
    fn remove(&mut self, number: usize) {
        let mut open = vec![number];
        while let Some(number) = open.pop() {
            if !std::mem::replace(&mut self.removed[number], true) {
                self.bytes = self.bytes.saturating_sub(self.sizes[number]);
                open.extend(&self.made_from[number]);
            }
        }
    }

    /// When each was used last, or one that was made from it.
    fn used(&self) -> Vec<DateTime<Utc>> {
        let mut used: Vec<DateTime<Utc>> = self.entries.iter().map(|listed| listed.used_at).collect();
        let parent = |number: usize| {
            let entry = self.entries[number].entry.as_ref()?;
            self.by_tag.get(entry.parent.as_ref()?).copied()
        };
        // From the newest on, so that no chain is walked twice.
        for number in (0..used.len()).rev().filter(|number| !self.removed[*number]) {
            let mut at = number;
            while let Some(above) = parent(at).filter(|above| used[*above] < used[at]) {
                used[above] = used[at];
                at = above;
            }
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cache::ResultMeta;
    use hm_workspace::content::Content;

    const HOUR: i64 = 3600;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    /// A result of ten bytes, `used` seconds ago.
    fn result(name: u8, parent: Option<u8>, used: i64) -> ListedResult {
        let tag = |name: u8| SnapshotRef(format!("tag {name}"));
        let key = Key::try_from(format!("{name:064x}")).unwrap();
        let used_at = now() - TimeDelta::seconds(used);
        let entry = ResultMeta {
            format: 2,
            key: key.clone(),
            tag: tag(name),
            parent: parent.map(tag),
            project: PathBuf::from("/here"),
            pipeline: "ci".into(),
            step: format!("step {name}"),
            runner: "local".into(),
            made_at: now() - TimeDelta::seconds(100 * HOUR - i64::from(name)),
            longest_secs: None,
            duration_ms: 1,
            bytes: 10,
            log: Content::default(),
            artifacts: vec![],
            boot: String::new(),
        };
        ListedResult { key, entry: Some(entry), used_at, bytes: 10 }
    }

    /// The numbers of those to remove, with layers of 90 bytes.
    fn removed(mut entries: Vec<ListedResult>, max_bytes: u64, max_age: Duration) -> Vec<u8> {
        entries.sort_by_key(|listed| listed.used_at);
        let tags = entries.iter().filter_map(|listed| Some(listed.entry.as_ref()?.tag.clone()));
        let layers = tags.map(|tag| (tag, 90)).collect();
        let limits = CacheLimits { max_bytes, max_age };
        let keys = to_evict(&entries, &layers, limits, |project| project == Path::new("/here"), now());
        let mut numbers: Vec<u8> =
            keys.iter().map(|key| u8::from_str_radix(&key.as_str()[56..], 16).unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[test]
    fn what_is_of_no_use_goes_with_all_that_was_made_from_it() {
        let mut expired = result(1, None, HOUR);
        expired.entry.as_mut().unwrap().longest_secs = Some(359_999);
        let mut lasts = result(3, None, HOUR);
        lasts.entry.as_mut().unwrap().longest_secs = Some(359_998);
        let mut vanished = result(4, None, HOUR);
        vanished.entry.as_mut().unwrap().project = "/gone".into();
        let damaged = ListedResult { entry: None, ..result(5, None, HOUR) };
        let entries = vec![
            expired,
            result(2, Some(1), 1),
            lasts,
            vanished,
            damaged,
            result(6, Some(99), 1),
            result(7, Some(6), 0),
            result(8, Some(3), HOUR),
        ];
        assert_eq!(removed(entries.clone(), u64::MAX, Duration::MAX), [1, 2, 4, 5, 6, 7]);
        assert_eq!(removed(entries, 200, Duration::MAX), [1, 2, 4, 5, 6, 7], "the rest is 200 bytes");
        assert!(removed(vec![], 0, Duration::ZERO).is_empty());
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let entries = || {
            vec![
                result(1, None, 3 * HOUR),
                result(2, None, 2 * HOUR),
                result(3, None, HOUR),
                result(4, None, 0),
            ]
        };
        for (max, expected) in
            [(400, &[][..]), (399, &[1]), (300, &[1]), (299, &[1, 2]), (100, &[1, 2, 3]), (0, &[1, 2, 3, 4])]
        {
            assert_eq!(removed(entries(), max, Duration::MAX), expected, "{max}");
        }
        for (age, expected) in [(4, &[][..]), (2, &[1]), (1, &[1, 2]), (0, &[1, 2, 3])] {
            assert_eq!(removed(entries(), u64::MAX, hours(age)), expected, "{age}");
        }
    }

    #[test]
    fn what_others_stand_on_stays_as_long_as_they_do() {
        let entries = || {
            vec![
                result(1, None, 9 * HOUR),
                result(2, Some(1), 8 * HOUR),
                result(3, Some(2), HOUR),
                result(4, Some(1), 7 * HOUR),
                result(5, None, 2 * HOUR),
            ]
        };
        for (max, expected) in
            [(400, &[4][..]), (300, &[4, 5]), (299, &[3, 4, 5]), (199, &[2, 3, 4, 5]), (0, &[1, 2, 3, 4, 5])]
        {
            assert_eq!(removed(entries(), max, Duration::MAX), expected, "{max}");
        }
        assert_eq!(removed(entries(), u64::MAX, hours(3)), [4]);
        assert_eq!(removed(entries(), u64::MAX, hours(1)), [4, 5]);
    }

    #[test]
    fn chains_may_be_long_and_circles_end() {
        let number = |at: u32| Key::try_from(format!("{at:064x}")).unwrap();
        let tag = |at: u32| SnapshotRef(at.to_string());
        let chain = |of: u32| -> Vec<ListedResult> {
            let link = |at: u32| {
                let mut listed = result(0, None, i64::from(of - at));
                listed.key = number(at);
                let entry = listed.entry.as_mut().unwrap();
                (entry.tag, entry.parent) = (tag(at), Some(tag(if at == 0 { of - 1 } else { at - 1 })));
                listed
            };
            (0..of).map(link).collect()
        };
        let limits = CacheLimits { max_bytes: u64::MAX, max_age: Duration::MAX };
        let mut long = chain(100_000);
        assert_eq!(to_evict(&long, &BTreeMap::new(), limits, |_| true, now()).len(), 0, "a circle");
        long[0].entry = None;
        assert_eq!(to_evict(&long, &BTreeMap::new(), limits, |_| true, now()).len(), 100_000);
    }
}
