//! Meaning of a step's cache policy: whether its result is kept, for how long, and which files it depends on. Whether
//! there is a result is the cache's affair.

use std::collections::BTreeSet;
use std::time::Duration;

use hm_plugin_protocol::Cache;
use serde::Deserialize;
use serde_json::Value;

use hm_workspace::globs::Pattern;

/// Depth to which policies may be nested: nobody writes more by hand.
const DEPTH: usize = 8;

/// Paths in a policy, at the most: as many as there may be patterns of artifacts.
const MAX_PATHS: usize = 100;

/// Bytes in a path, at the most.
const LONGEST_PATH: usize = 1000;

/// Policy for the result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caching {
    /// The result is not kept for later builds.
    Never,
    /// The result is kept for later builds.
    Keep {
        /// Age up to which it may be used.
        longest: Option<Duration>,
        /// The files and directories of the project that it depends on, as patterns.
        paths: BTreeSet<String>,
    },
}

impl Caching {
    /// Reads a policy. The result of a step without one is not kept.
    ///
    /// # Errors
    /// The policy is not valid; the text is the end of a sentence about its step.
    pub(super) fn of(policy: Option<&Cache>) -> Result<Self, String> {
        let caching = policy.map_or(Ok(Self::Never), |policy| Self::read(policy, DEPTH))?;
        match &caching {
            Self::Keep { paths, .. } if paths.len() > MAX_PATHS => Err(format!(
                "its cache policy names {} paths, and there may be {MAX_PATHS}; name folders, or use patterns",
                paths.len()
            )),
            _ => Ok(caching),
        }
    }

    /// The fields that say something to a policy.
    pub(super) fn fields(policy: &str) -> &'static [&'static str] {
        match policy {
            "ttl" => &["policy", "key", "duration_seconds", "env_keys"],
            "on_change" => &["policy", "key", "paths", "env_keys"],
            "compose" => &["policy", "key", "sub_policies"],
            _ => &["policy", "key", "env_keys"],
        }
    }

    /// Age up to which a result may be used, if there is a limit.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::Keep { longest, .. } => *longest,
        }
    }

    fn read(cache: &Cache, depth: usize) -> Result<Self, String> {
        let field = |name: &str| cache.extra.get(name).filter(|value| !value.is_null());
        let kept = |longest, paths| Self::Keep { longest, paths };
        match cache.policy.as_str() {
            "none" => Ok(Self::Never),
            "forever" => Ok(kept(None, BTreeSet::new())),
            "ttl" => {
                let value = field("duration_seconds").ok_or("cache policy ttl has no duration_seconds")?;
                let seconds = value.as_u64().filter(|seconds| *seconds > 0).ok_or_else(|| {
                    format!("duration_seconds of its cache policy is {value}, and has to be a whole number above 0")
                })?;
                Ok(kept(Some(Duration::from_secs(seconds)), BTreeSet::new()))
            }
            "on_change" => Ok(kept(None, paths(field("paths"))?)),
            "compose" => {
                let parts = field("sub_policies").and_then(Value::as_array).filter(|parts| !parts.is_empty());
                let parts = parts.ok_or("cache policy compose has no sub_policies")?;
                let depth = depth.checked_sub(1).ok_or("its cache policies are nested too deeply")?;
                let mut whole = kept(None, BTreeSet::new());
                for part in parts {
                    let part = Cache::deserialize(part)
                        .map_err(|error| format!("a part of its cache policy is not valid: {error}"))?;
                    whole = whole.and(Self::read(&part, depth)?);
                }
                Ok(whole)
            }
            other => Err(format!(
                "cache policy {other:?} is not known; there is none, forever, ttl, on_change and compose"
            )),
        }
    }

    /// Policy that meets both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Keep { longest, mut paths }, Self::Keep { longest: other, paths: more }) => {
                paths.extend(more);
                Self::Keep { longest: longest.into_iter().chain(other).min(), paths }
            }
            _ => Self::Never,
        }
    }
}

/// The paths of a policy, relative and within the project.
fn paths(value: Option<&Value>) -> Result<BTreeSet<String>, String> {
    let value = value.ok_or("cache policy on_change has no paths")?;
    let list = value.as_array();
    let list = list.ok_or_else(|| format!("paths of its cache policy is {value}, and has to be a list"))?;
    if list.is_empty() {
        return Err("cache policy on_change has no paths".to_owned());
    }
    list.iter()
        .map(|path| {
            let bad = |reason: &str| format!("path {path} of its cache policy cannot be used: {reason}");
            let path = path.as_str().ok_or_else(|| bad("it is not a text"))?;
            if path.len() > LONGEST_PATH {
                let start: String = path.chars().take(50).collect();
                return Err(format!(
                    "a path of its cache policy, `{start}…`, has {} bytes, and may have {LONGEST_PATH}",
                    path.len()
                ));
            }
            if path.contains('\0') {
                return Err(bad("it contains a NUL character"));
            }
            Pattern::new(path).map_err(|error| bad(&error.to_string()))?;
            Ok(path.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Overrides;
    use crate::pipeline::sketch::plan_json;
    use serde_json::json;

    fn caching(policy: &str) -> Result<Caching, String> {
        let step = format!(r#"{{"type":"command","key":"k","cmd":"c","cache":{policy}}}"#);
        let plan = plan_json(&step, &Overrides::default()).map_err(|error| error.to_string())?;
        Ok(plan.steps()[0].caching.clone())
    }

    fn kept(seconds: Option<u64>, paths: &[&str]) -> Result<Caching, String> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Ok(Caching::Keep { longest: seconds.map(Duration::from_secs), paths })
    }

    fn compose(parts: &str) -> Result<Caching, String> {
        caching(&format!(r#"{{"policy":"compose","sub_policies":[{parts}]}}"#))
    }

    #[test]
    fn policies_are_what_the_emitters_mean() {
        let never = || Ok(Caching::Never);
        assert_eq!(caching("null"), never());
        assert_eq!(caching(r#"{"policy":"none"}"#), never());
        assert_eq!(caching(r#"{"policy":"forever","env_keys":["A"],"key":"x"}"#), kept(None, &[]));
        assert_eq!(caching(r#"{"policy":"ttl","duration_seconds":21600}"#), kept(Some(21600), &[]));
        assert_eq!(
            caching(r#"{"policy":"on_change","paths":["src/","Cargo.toml","src/","**/*.c"]}"#),
            kept(None, &["**/*.c", "Cargo.toml", "src/"])
        );
        let parts = [
            r#"{"policy":"ttl","duration_seconds":60}"#,
            r#"{"policy":"on_change","paths":["a"]}"#,
            r#"{"policy":"forever","env_keys":[]}"#,
            r#"{"policy":"compose","sub_policies":[{"policy":"ttl","duration_seconds":30},{"policy":"on_change","paths":["b"]}]}"#,
        ];
        assert_eq!(compose(&parts.join(",")), kept(Some(30), &["a", "b"]));
        assert_eq!(compose(&format!(r#"{},{{"policy":"none"}},{}"#, parts[0], parts[1])), never());
    }

    #[test]
    fn policies_that_mean_nothing_are_refused() {
        let deep = (0..9).fold(r#"{"policy":"none"}"#.to_owned(), |inner, _| {
            format!(r#"{{"policy":"compose","sub_policies":[{inner}]}}"#)
        });
        for (policy, expected) in [
            (r#"{"policy":"sometimes"}"#, r#"cache policy "sometimes" is not known"#),
            (r#"{"policy":"ttl"}"#, "cache policy ttl has no duration_seconds"),
            (r#"{"policy":"ttl","duration_seconds":null}"#, "cache policy ttl has no duration_seconds"),
            (r#"{"policy":"ttl","duration_seconds":0}"#, "duration_seconds of its cache policy is 0"),
            (r#"{"policy":"ttl","duration_seconds":-1}"#, "duration_seconds of its cache policy is -1"),
            (r#"{"policy":"ttl","duration_seconds":1.5}"#, "duration_seconds of its cache policy is 1.5"),
            (r#"{"policy":"ttl","duration_seconds":"1d"}"#, "duration_seconds of its cache policy is \"1d\""),
            (r#"{"policy":"on_change"}"#, "cache policy on_change has no paths"),
            (r#"{"policy":"on_change","paths":[]}"#, "cache policy on_change has no paths"),
            (
                r#"{"policy":"on_change","paths":"src"}"#,
                "paths of its cache policy is \"src\", and has to be a list",
            ),
            (r#"{"policy":"on_change","paths":[1]}"#, "it is not a text"),
            (r#"{"policy":"on_change","paths":[""]}"#, "it is empty"),
            (r#"{"policy":"on_change","paths":["a\u0000"]}"#, "it contains a NUL character"),
            (r#"{"policy":"on_change","paths":["/etc/passwd"]}"#, "it is absolute"),
            (
                r#"{"policy":"on_change","paths":["a","b/../../x"]}"#,
                r#"path "b/../../x" of its cache policy"#,
            ),
            (r#"{"policy":"compose"}"#, "cache policy compose has no sub_policies"),
            (r#"{"policy":"compose","sub_policies":[]}"#, "cache policy compose has no sub_policies"),
            (r#"{"policy":"compose","sub_policies":[7]}"#, "a part of its cache policy is not valid"),
            (
                r#"{"policy":"compose","sub_policies":[{"policy":"ttl"}]}"#,
                "cache policy ttl has no duration_seconds",
            ),
            (&deep, "its cache policies are nested too deeply"),
        ] {
            let error = caching(policy).expect_err(policy);
            assert!(error.starts_with("step `k`: ") && error.contains(expected), "{error}");
        }
        assert!(
            caching(&deep.replacen(r#"{"policy":"compose","sub_policies":["#, "", 1).replacen("]}", "", 1))
                .is_ok()
        );
    }

    #[test]
    fn paths_are_not_too_many_and_not_too_long() {
        let paths = |range: std::ops::Range<usize>| range.map(|at| format!("p{at}")).collect::<Vec<_>>();
        let policy = |paths: &[String]| json!({"policy": "on_change", "paths": paths});
        let enough = paths(0..100);
        let expected = enough.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(caching(&policy(&enough).to_string()), kept(None, &expected));
        let half = policy(&paths(50..101)).to_string();
        for many in
            [Ok(policy(&paths(0..101)).to_string()), Err([policy(&paths(0..50)).to_string(), half].join(","))]
        {
            let error =
                many.map_or_else(|parts| compose(&parts), |policy| caching(&policy)).expect_err("101");
            assert!(error.contains("its cache policy names 101 paths, and there may be 100"), "{error}");
        }
        let long = |bytes: usize| caching(&policy(&["ä".repeat(bytes / 2)]).to_string());
        assert!(long(1000).is_ok());
        let error = long(1002).expect_err("long");
        let expected =
            format!("a path of its cache policy, `{}…`, has 1002 bytes, and may have 1000", "ä".repeat(50));
        assert!(error.starts_with("step `k`: ") && error.contains(&expected), "{error}");
    }

    #[test]
    fn however_long_a_result_may_be_used_it_can_be_counted() {
        let longest = format!(r#"{{"policy":"ttl","duration_seconds":{}}}"#, u64::MAX);
        assert_eq!(caching(&longest), kept(Some(u64::MAX), &[]));
    }
}
