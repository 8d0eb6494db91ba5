//! The variables of a plug-in: host data that outlives calls and instances, within its limits.

use std::collections::BTreeMap;

use crate::fault::Fault;
use crate::limits::InstanceLimits;

/// Bytes that each variable is charged beside those of its key and its value.
const OVERHEAD: usize = 48;

/// Variables by name. None is empty.
pub(crate) struct Vars {
    entries: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    max_bytes: usize,
    max_entries: usize,
}

impl Vars {
    pub(crate) fn new(limits: &InstanceLimits) -> Self {
        Self { entries: BTreeMap::new(), bytes: 0, max_bytes: limits.var_bytes, max_entries: limits.vars }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.entries.get(key).map(Vec::as_slice)
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(value) = self.entries.remove(key) {
            self.bytes -= charged(key, &value);
        }
    }

    /// Sets a variable. An overwrite is charged for the new value only.
    ///
    /// # Errors
    /// [`Fault::Limit`] over the ceiling on bytes or entries; the old value stays then.
    pub(crate) fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), Fault> {
        let old = self.get(&key).map(|old| charged(&key, old));
        let bytes = (self.bytes - old.unwrap_or(0)).saturating_add(charged(&key, &value));
        let entries = self.entries.len() + usize::from(old.is_none());
        within("bytes of variables", bytes, self.max_bytes)?;
        within("variables", entries, self.max_entries)?;
        self.bytes = bytes;
        self.entries.insert(key, value);
        Ok(())
    }
}

fn charged(key: &str, value: &[u8]) -> usize {
    key.len().saturating_add(value.len()).saturating_add(OVERHEAD)
}

fn within(which: &'static str, asked: usize, allowed: usize) -> Result<(), Fault> {
    if asked <= allowed { Ok(()) } else { Err(Fault::limit(which, asked, allowed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overwrite_is_charged_for_the_new_value_only() {
        let limits = InstanceLimits { var_bytes: 60, vars: 2, ..InstanceLimits::standard() };
        let mut vars = Vars::new(&limits);
        vars.set("k".to_owned(), vec![0; 11]).unwrap();
        vars.set("k".to_owned(), vec![1; 11]).unwrap();
        assert!(vars.set("k".to_owned(), vec![2; 12]).is_err());
        assert_eq!(vars.get("k"), Some(&[1; 11][..]), "the old value stays");
        vars.remove("k");
        vars.set("l".to_owned(), vec![0; 11]).unwrap();
    }

    #[test]
    fn the_number_of_variables_is_capped() {
        let limits = InstanceLimits { vars: 1, ..InstanceLimits::standard() };
        let mut vars = Vars::new(&limits);
        vars.set("a".to_owned(), vec![1]).unwrap();
        vars.set("a".to_owned(), vec![2]).unwrap();
        assert!(matches!(
            vars.set("b".to_owned(), vec![3]),
            Err(Fault::Limit { which: "variables", asked: 2, allowed: 1 })
        ));
    }
}
