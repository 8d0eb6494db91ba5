//! Inputs of a step's result, one by one, and the cache key that stands for all of them. Finding the inputs, and
//! what follows from a key, are not known here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hm_disk::hex;
use hm_plugin_protocol::SnapshotRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Changes whenever old results mean something else; then all of them are missed.
const FORMAT: &str = "hm result 1";

/// Inputs of a cache key: all that the result of a step depends on. Two steps with the same inputs may have the same
/// result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyInputs {
    /// The project's directory: what a step does may depend on files that its policy does not name, so projects share
    /// nothing.
    pub project: String,
    /// Command of the step.
    pub cmd: String,
    /// The SHA-256 of each variable's value, of the whole environment that the pipeline gives the step. Never the
    /// value.
    pub env: BTreeMap<String, String>,
    /// Image that the step names.
    pub image: Option<String>,
    /// Runner of the step.
    pub runner: String,
    /// The plugin that provides the runner: name and version.
    pub plugin: String,
    /// Arguments of the step for its runner.
    pub runner_args: Option<Value>,
    /// The step's fields that this version does not know: its runner may.
    pub fields: BTreeMap<String, Value>,
    /// Key that the emitter of the pipeline has computed.
    pub emitter_key: Option<String>,
    /// Step that it builds in.
    pub parent: Option<ParentResult>,
    /// The digests of the files that its policy names, by path.
    #[serde(rename = "inputs")]
    pub files: BTreeMap<String, String>,
    /// Patterns of its policy, for people: they are not a part of the key, since only the files count.
    #[serde(default)]
    pub paths: BTreeSet<String>,
    /// Stands for what the step sees of the machine, if it runs on it.
    pub machine: Option<String>,
}

/// The result that a step starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentResult {
    /// The step's key, for people: it is not a part of the key, so that a step can be renamed.
    pub step: String,
    /// The tag of its result, which is another one each time that the result is made.
    pub result: SnapshotRef,
}

/// Cache key: 64 digits of lower-case hexadecimal, so that it can be a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// Error for a text that has not the form of a key.
#[derive(Debug, thiserror::Error)]
#[error("it is not 64 digits of lower-case hexadecimal")]
pub struct NotAKey;

impl KeyInputs {
    /// The key: the same for the same inputs, and another one for others.
    #[must_use]
    pub fn key(&self) -> Key {
        // Named one by one, so that a new part cannot be forgotten here.
        let Self {
            project,
            cmd,
            env,
            image,
            runner,
            plugin,
            runner_args,
            fields,
            emitter_key,
            parent,
            files,
            paths: _,
            machine,
        } = self;
        let mut hash = KeyHasher(Sha256::new());
        hash.text(FORMAT);
        hash.text(project);
        hash.text(cmd);
        hash.map(env, KeyHasher::text);
        hash.option(image.as_ref(), KeyHasher::text);
        hash.text(runner);
        hash.text(plugin);
        hash.option(runner_args.as_ref(), KeyHasher::json);
        hash.map(fields, KeyHasher::json);
        hash.option(emitter_key.as_ref(), KeyHasher::text);
        hash.option(parent.as_ref().map(|parent| &parent.result.0), KeyHasher::text);
        hash.map(files, KeyHasher::text);
        hash.option(machine.as_ref(), KeyHasher::text);
        Key(hex(hash.0.finalize()))
    }
}

/// Takes inputs in so that no two sequences of inputs look the same: with their length or number before them.
struct KeyHasher(Sha256);

impl KeyHasher {
    fn length(&mut self, length: usize) {
        self.0.update((length as u64).to_le_bytes());
    }

    fn text(&mut self, text: &(impl AsRef<str> + ?Sized)) {
        let text = text.as_ref();
        self.length(text.len());
        self.0.update(text);
    }

    fn option<T>(&mut self, value: Option<&T>, take: impl FnOnce(&mut Self, &T)) {
        self.length(value.iter().count());
        if let Some(value) = value {
            take(self, value);
        }
    }

    fn map<T>(&mut self, map: &BTreeMap<String, T>, take: impl Fn(&mut Self, &T)) {
        self.length(map.len());
        for (name, value) in map {
            self.text(name);
            take(self, value);
        }
    }

    fn json(&mut self, value: &Value) {
        // Objects are sorted by name, and a text of JSON means one value.
        self.text(&value.to_string());
    }
}

impl Key {
    /// Digits of the key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Key {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(digit) { Ok(Self(text)) } else { Err(NotAKey) }
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Numbers that look random.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % end
        }

        /// Texts that run together if nothing keeps them apart.
        fn text(&mut self) -> String {
            ["", "a", "b", "ab", "a\0b", "\u{1}a", "1", "true", "null"][self.below(9)].to_owned()
        }

        fn option<T>(&mut self, some: impl FnOnce(&mut Self) -> T) -> Option<T> {
            (self.below(2) == 0).then(|| some(self))
        }

        fn map<T>(&mut self, value: impl Fn(&mut Self) -> T) -> BTreeMap<String, T> {
            (0..self.below(3)).map(|_| (self.text(), value(self))).collect()
        }

        fn json(&mut self) -> Value {
            match self.below(7) {
                0 => Value::Null,
                1 => (self.below(2) == 0).into(),
                2 => self.below(3).into(),
                3 => self.text().into(),
                4 => vec![self.text(); self.below(3)].into(),
                5 => (0..self.below(3)).map(|_| self.json()).collect(),
                _ => Value::Object(self.map(Self::json).into_iter().collect()),
            }
        }

        fn part(&mut self, inputs: &mut KeyInputs, which: usize) {
            match which {
                0 => inputs.project = self.text(),
                1 => inputs.cmd = self.text(),
                2 => inputs.env = self.map(Self::text),
                3 => inputs.image = self.option(Self::text),
                4 => inputs.runner = self.text(),
                5 => inputs.plugin = self.text(),
                6 => inputs.runner_args = self.option(Self::json),
                7 => inputs.fields = self.map(Self::json),
                8 => inputs.emitter_key = self.option(Self::text),
                9 => {
                    inputs.parent = self.option(|random| ParentResult {
                        step: "p".into(),
                        result: SnapshotRef(random.text()),
                    });
                }
                10 => inputs.files = self.map(Self::text),
                _ => inputs.machine = self.option(Self::text),
            }
        }
    }

    fn nothing() -> KeyInputs {
        KeyInputs {
            project: String::new(),
            cmd: String::new(),
            env: BTreeMap::new(),
            image: None,
            runner: String::new(),
            plugin: String::new(),
            runner_args: None,
            fields: BTreeMap::new(),
            emitter_key: None,
            parent: None,
            files: BTreeMap::new(),
            paths: BTreeSet::new(),
            machine: None,
        }
    }

    #[test]
    fn keys_are_equal_if_and_only_if_all_parts_are() {
        let mut random = Random(1);
        let mut known: BTreeMap<Key, KeyInputs> = BTreeMap::new();
        let (mut same, mut other) = (0, 0);
        for _ in 0..3000 {
            let mut inputs = nothing();
            (0..12).for_each(|which| random.part(&mut inputs, which));
            // One part of it again, which may come out as it was.
            let mut twin = inputs.clone();
            let which = random.below(12);
            random.part(&mut twin, which);
            let equal = inputs == twin;
            assert_eq!(inputs.key() == twin.key(), equal, "{inputs:?}\n{twin:?}");
            (same, other) = (same + usize::from(equal), other + usize::from(!equal));
            for inputs in [inputs, twin] {
                let before = known.entry(inputs.key()).or_insert_with(|| inputs.clone());
                assert_eq!(*before, inputs);
            }
        }
        assert!(same > 300 && other > 1000, "{same} {other}");
    }

    #[test]
    fn written_and_read_again_parts_have_the_same_key() {
        let mut random = Random(2);
        for _ in 0..300 {
            let mut inputs = nothing();
            (0..12).for_each(|which| random.part(&mut inputs, which));
            let again: KeyInputs = serde_json::from_str(&serde_json::to_string(&inputs).unwrap()).unwrap();
            // JSON cannot tell a null from nothing.
            if inputs.runner_args != Some(Value::Null) {
                assert_eq!((again.key(), &again), (inputs.key(), &inputs));
            }
        }
    }

    #[test]
    fn the_order_in_an_object_and_what_is_there_for_people_do_not_count() {
        let with = |args: &str, step: &str| KeyInputs {
            runner_args: Some(serde_json::from_str(args).unwrap()),
            parent: Some(ParentResult { step: step.into(), result: SnapshotRef("t".into()) }),
            ..nothing()
        };
        let inputs = with(r#"{"a":1,"b":{"c":2,"d":3}}"#, "x");
        assert_eq!(inputs.key(), with(r#"{"b":{"d":3,"c":2},"a":1}"#, "y").key());
        assert_eq!(inputs.key(), KeyInputs { paths: ["x".to_owned()].into(), ..inputs.clone() }.key());
        assert_ne!(inputs.key(), with(r#"{"a":1.0,"b":{"c":2,"d":3}}"#, "x").key());
        assert_ne!(nothing().key(), KeyInputs { runner_args: Some(json!(null)), ..nothing() }.key());
    }

    #[test]
    fn a_key_is_a_name_of_a_file_and_nothing_else() {
        let key = nothing().key();
        assert_eq!(Key::try_from(key.as_str().to_owned()).unwrap(), key);
        assert_eq!(serde_json::from_str::<Key>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
        for text in ["", "..", "../x", &"g".repeat(64), &"A".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert!(Key::try_from(text.to_owned()).is_err(), "{text}");
            assert!(serde_json::from_value::<Key>(json!(text)).is_err(), "{text}");
        }
        // Results of former versions are not lost without notice.
        assert_eq!(key.as_str(), "74ca8d4f20adac0962245e454111dc0a36f2d48e162605f893e2ec043fdc061a");
    }
}
