//! The attacks, and how one is written down. Those of each part of the sandbox are in a file of their own.

mod calls;
mod memory;
mod modules;
mod outside;

use std::time::Duration;

use super::guests::{Guest, file};
use super::{Attack, Call, Expected};

const MIB: u64 = 1 << 20;

/// All attacks, in the order of what they test. No two have the same name.
#[must_use]
pub(crate) fn attacks() -> Vec<Attack> {
    [memory::attacks(), calls::attacks(), outside::attacks(), modules::attacks()]
        .into_iter()
        .flatten()
        .collect()
}

/// An attack by this guest, with limits that an honest plugin never sees and a hostile one reaches soon.
fn attack(class: &'static str, name: impl Into<String>, module: Guest) -> Attack {
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
fn one(class: &'static str, guest: &'static str, export: &'static str) -> Attack {
    attack(class, format!("{guest}/{export}").replace('_', "-"), file(guest))
}

impl Attack {
    /// Calls a function, whose end must be of this kind and say this.
    fn call(
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
    fn until_deadline(mut self, export: &'static str) -> Self {
        self.fuel = u64::MAX;
        self.deadline = Duration::from_millis(300);
        self.call(export, "", "timed-out", "")
    }

    /// Calls a function that must not succeed before its fuel is gone, of which it has as much.
    fn until_out_of(mut self, fuel: u64, export: &'static str) -> Self {
        self.fuel = fuel;
        self.call(export, "", "out-of-fuel", "")
    }

    /// The module must not be loaded, for a reason that says this.
    fn refused(self, says: &'static str) -> Self {
        self.call("run", "", "load", says)
    }

    fn fuel(mut self, fuel: u64) -> Self {
        self.fuel = fuel;
        self
    }

    /// The process may take more memory.
    fn within(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    fn linked(mut self, name: &'static str, guest: Guest) -> Self {
        self.links.push((name, guest));
        self
    }

    fn reaching(mut self, hosts: &'static [&'static str]) -> Self {
        self.hosts = hosts;
        self
    }

    fn cancelled_after(mut self, time: Duration) -> Self {
        self.cancelled_after = Some(time);
        self
    }

    fn compiled_in(mut self, time: Duration) -> Self {
        self.compile_time = time;
        self
    }
}
