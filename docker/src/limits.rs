//! Ceilings for a container's use of its machine.

use bollard::models::HostConfig;

/// Engines count processors in billionths.
const BILLION: i32 = 1_000_000_000;

/// Ceilings of one container; none where the engine's own is enough.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory, swap included.
    pub memory: Option<u64>,
    /// Processors, as a number that may have a fraction.
    pub cpus: Option<f64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}

impl Limits {
    /// Ceilings as an engine with so many processors takes them: it refuses to promise more.
    pub(crate) fn host_config(&self, processors: Option<i64>) -> HostConfig {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "casts from floats saturate")]
        let nano_cpus = self.cpus.map(|cpus| (cpus * f64::from(BILLION)) as i64);
        let all = processors.filter(|number| *number > 0).map(|number| number.saturating_mul(BILLION.into()));
        let nano_cpus = nano_cpus.map(|wanted| all.map_or(wanted, |all| wanted.min(all)));
        HostConfig {
            memory: self.memory.map(whole),
            memory_swap: self.memory.map(whole),
            nano_cpus,
            pids_limit: self.pids.map(whole),
            ..HostConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_counts_in_billionths_and_gives_no_swap_on_top() {
        let limits = Limits { memory: Some(4_000_000_000), cpus: Some(2.5), pids: Some(4096) };
        let config = limits.host_config(None);
        assert_eq!((config.memory, config.memory_swap), (Some(4_000_000_000), Some(4_000_000_000)));
        assert_eq!((config.nano_cpus, config.pids_limit), (Some(2_500_000_000), Some(4096)));
        assert_eq!(Limits::default().host_config(Some(2)), HostConfig::default());
        let endless = Limits { memory: Some(u64::MAX), cpus: Some(f64::MAX), pids: None };
        assert_eq!(endless.host_config(None).memory, Some(i64::MAX));
        assert_eq!(endless.host_config(None).nano_cpus, Some(i64::MAX));
        assert_eq!(endless.host_config(Some(2)).nano_cpus, Some(2_000_000_000), "what there is");
        assert_eq!(limits.host_config(Some(8)).nano_cpus, Some(2_500_000_000));
    }
}
