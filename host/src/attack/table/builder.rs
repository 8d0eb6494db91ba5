//! Words in which the table writes an attack down.

use std::time::Duration;

use super::super::definition::{Attack, Call, Expected};
use super::super::guests::{Guest, file};

pub(super) const MIB: u64 = 1 << 20;

/// An attack by this guest, with limits that an honest plugin never sees and a hostile one reaches soon.
pub(super) fn attack(class: &'static str, name: impl Into<String>, module: Guest) -> Attack {
    Attack {
        name: name.into(),
        class,
        module,
        links: Vec::new(),
        hosts: &[],
        calls: Vec::new(),
        fuel: 1_000_000_000,
        deadline: Duration::from_secs(10),
        compile_time: Duration::from_secs(20),
        cancelled_after: None,
        time: Duration::from_secs(60),
        memory: 96 * MIB,
    }
}

/// An attack by one function of a guest in a file, with both in its name.
pub(super) fn one(class: &'static str, guest: &'static str, export: &'static str) -> Attack {
    attack(class, format!("{guest}/{export}").replace('_', "-"), file(guest))
}

impl Attack {
    /// Calls a function, whose end must be of this kind and say this.
    pub(super) fn call(
        mut self,
        export: &'static str,
        input: impl Into<Vec<u8>>,
        kind: &'static str,
        says: &'static str,
    ) -> Self {
        self.calls.push(Call { export, input: input.into(), expected: Expected { kind, says } });
        self
    }

    /// Calls a function that must not succeed before the deadline, which is near.
    pub(super) fn until_deadline(mut self, export: &'static str) -> Self {
        self.fuel = u64::MAX;
        self.deadline = Duration::from_millis(300);
        self.call(export, "", "timed-out", "")
    }

    /// Calls a function that must not succeed before its fuel is gone, of which it has as much.
    pub(super) fn until_out_of(mut self, fuel: u64, export: &'static str) -> Self {
        self.fuel = fuel;
        self.call(export, "", "out-of-fuel", "")
    }

    /// The module must not be loaded, for a reason that says this.
    pub(super) fn refused(self, says: &'static str) -> Self {
        self.call("run", "", "load", says)
    }

    pub(super) fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel;
        self
    }

    /// The process may take more memory.
    pub(super) fn within(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    pub(super) fn linked(mut self, name: &'static str, guest: Guest) -> Self {
        self.links.push((name, guest));
        self
    }

    pub(super) fn reaching(mut self, hosts: &'static [&'static str]) -> Self {
        self.hosts = hosts;
        self
    }

    pub(super) fn cancelled_after(mut self, time: Duration) -> Self {
        self.cancelled_after = Some(time);
        self
    }

    pub(super) fn compiled_in(mut self, time: Duration) -> Self {
        self.compile_time = time;
        self
    }
}
