//! Says in words why a step was or was not taken from the cache, from what was decided in this build and in the one
//! before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{KeyInputs, MissReason, ParentResult, StepDecision, StepVerdict, Uncacheable};

/// Longest line, in characters.
const WIDTH: usize = 80;
/// Most of a text that is shown, in characters.
const SHOWN: usize = 25;
/// Most of an image's name that is shown, in characters.
const IMAGE: usize = 48;
/// Characters of a long text that are shown before the place where it differs.
const BEFORE: usize = 8;
/// Most changes of one kind that are shown.
const LINES: usize = 10;
/// Depth to which changes of `runner_args` are looked for.
const DEPTH: usize = 4;

/// Reasons for a decision, a line for each, none longer than 80 characters. `before` is what the last build that knew
/// the step decided; `at` is when `now` was decided.
#[must_use]
pub fn explain(now: &StepDecision, before: Option<&StepDecision>, at: DateTime<Utc>) -> Vec<String> {
    let lines = match &now.verdict {
        StepVerdict::Hit { made_at, .. } => {
            vec![format!("nothing changed since its result was made, {}", ago(*made_at, at))]
        }
        StepVerdict::Uncacheable(never) => vec![always(never)],
        StepVerdict::Miss(missing) => missed(missing, now, before, at),
    };
    lines.into_iter().map(|line| cut(&line, WIDTH)).collect()
}

fn always(never: &Uncacheable) -> String {
    match never {
        Uncacheable::NoPolicy => "it has no cache policy, so it always runs".into(),
        Uncacheable::Policy => "its cache policy is none, so it always runs".into(),
        Uncacheable::ParentNotKept { parent } => {
            format!("it builds in `{}`, whose result is not kept", cut(parent, SHOWN))
        }
        Uncacheable::CannotKeep { why } => format!("its result cannot be kept: {why}"),
    }
}

fn missed(
    missing: &MissReason,
    now: &StepDecision,
    before: Option<&StepDecision>,
    at: DateTime<Utc>,
) -> Vec<String> {
    let because = match missing {
        MissReason::Expired { since } => format!("expired {}", ago(*since, at)),
        MissReason::MadeInFuture => "its result was made later than now: the clock was set back".into(),
        MissReason::Deleted => "its result is gone: somebody removed it".into(),
        MissReason::OtherImage { name } => {
            format!("the image `{}` is another one now", cut_front(name, IMAGE))
        }
        MissReason::Covered { path } => {
            format!("`{}` changed, which it or a parent had written or removed", cut_front(path, SHOWN))
        }
        MissReason::CannotUse { why } => why.clone(),
        MissReason::RunnerLostIt => "its runner no longer has its result, or cannot use it".into(),
        MissReason::Damaged => {
            "its result is damaged, or was not on the disk when the machine went down".into()
        }
        MissReason::Bypassed => "former results were not to be used (--no-cache)".into(),
        MissReason::NoEntry => match (&now.inputs, before.map(|before| (before, &before.inputs))) {
            (_, None) => "no former build is known that had this step".into(),
            (Some(now), Some((_, Some(before)))) => match changes(before, now) {
                changes if changes.is_empty() => {
                    "nothing changed, but no result was kept, or it was removed".into()
                }
                changes => return changes,
            },
            (_, Some((before, _))) => match &before.verdict {
                StepVerdict::Uncacheable(never) => format!("no result was kept before: {}", always(never)),
                _ => "what the build before was made of is not known".into(),
            },
        },
    };
    vec![because]
}

/// The differences, part by part.
fn changes(before: &KeyInputs, now: &KeyInputs) -> Vec<String> {
    let mut lines = Vec::new();
    changed(&mut lines, "project", Some(&before.project), Some(&now.project));
    if before.cmd != now.cmd {
        lines.push(line_changed(&before.cmd, &now.cmd));
    }
    named(&mut lines, "env ", &before.env, &now.env);
    changed(&mut lines, "image", before.image.as_ref(), now.image.as_ref());
    changed(&mut lines, "runner", Some(&before.runner), Some(&now.runner));
    changed(&mut lines, "plugin", Some(&before.plugin), Some(&now.plugin));
    json(&mut lines, "runner_args", before.runner_args.as_ref(), now.runner_args.as_ref(), DEPTH);
    both(&before.fields, &now.fields, |name, before, now| json(&mut lines, name, before, now, DEPTH));
    match (&before.parent, &now.parent) {
        (Some(before), Some(now)) if before.result == now.result => {}
        (Some(before), Some(now)) if before.step == now.step => {
            lines.push(format!("parent `{}` was made anew", cut(&now.step, SHOWN)));
        }
        (before, now) => {
            let step = |parent: &Option<ParentResult>| parent.as_ref().map(|parent| parent.step.clone());
            changed(&mut lines, "parent", step(before).as_ref(), step(now).as_ref());
        }
    }
    if before.paths != now.paths && !before.files.keys().eq(now.files.keys()) {
        let (old, new) = parted(&listed(&before.paths), &listed(&now.paths));
        lines.push(format!("its cache policy names other files: {old} → {new}"));
        // Which files are new or gone follows from that.
        named(&mut lines, "input ", &shared(&before.files, &now.files), &shared(&now.files, &before.files));
    } else {
        named(&mut lines, "input ", &before.files, &now.files);
    }
    if before.machine != now.machine {
        lines.push("this machine changed: its architecture, its system or its PATH".into());
    }
    // Emitters compute it from much of the above: beside that it says nothing.
    if lines.is_empty() && before.emitter_key != now.emitter_key {
        lines.push("cache.key changed, which the program that wrote the pipeline computes".into());
    }
    lines
}

/// Patterns in a sentence.
fn listed(paths: &BTreeSet<String>) -> String {
    match paths.len() {
        0 => "none".into(),
        _ => paths.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// Values whose names are also on the other side.
fn shared(of: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let both = of.iter().filter(|(name, _)| other.contains_key(*name));
    both.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The first line that differs between two commands.
fn line_changed(before: &str, now: &str) -> String {
    let (mut old, mut new) = (before.lines(), now.lines());
    let mut number = 1;
    let (old, new) = loop {
        match (old.next(), new.next()) {
            (Some(old), Some(new)) if old == new => number += 1,
            // They differ in the end of the last line.
            (None, None) => return "cmd changed: in its line ends".into(),
            pair => break pair,
        }
    };
    let at = match before.lines().count().max(now.lines().count()) {
        0 | 1 => String::new(),
        _ => format!(" in line {number}"),
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            let (old, new) = parted(old, new);
            format!("cmd changed{at}: {old} → {new}")
        }
        (None, Some(new)) => format!("cmd changed{at}, which is new: {}", cut(new, SHOWN)),
        (Some(old), None) => format!("cmd changed{at}, which is gone: {}", cut(old, SHOWN)),
        (None, None) => format!("cmd changed{at}"),
    }
}

/// A value that one side may lack.
fn changed(lines: &mut Vec<String>, what: &str, before: Option<&impl Display>, now: Option<&impl Display>) {
    let text = |value: &dyn Display| value.to_string();
    match (before.map(|v| text(v)), now.map(|v| text(v))) {
        (Some(before), Some(now)) if before != now => {
            let (before, now) = parted(&before, &now);
            lines.push(format!("{what} changed: {before} → {now}"));
        }
        (None, Some(now)) => lines.push(format!("{what} is new: {}", cut(&now, SHOWN))),
        (Some(before), None) => lines.push(format!("{what} is gone: {}", cut(&before, SHOWN))),
        _ => {}
    }
}

/// Values of which only the names are shown.
fn named(
    lines: &mut Vec<String>,
    kind: &str,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) {
    let mut all = Vec::new();
    both(before, now, |name, before, now| {
        let how = match (before, now) {
            (Some(before), Some(now)) if before == now => return,
            (Some(_), Some(_)) => "changed",
            (None, _) => "is new",
            (_, None) => "is gone",
        };
        all.push(format!("{kind}{} {how}", cut_front(name, WIDTH - 16)));
    });
    let more = all.len().saturating_sub(LINES);
    lines.extend(all.into_iter().take(LINES));
    if more > 0 {
        lines.push(format!("and {more} more of {}", kind.trim_end()));
    }
}

/// The inputs of JSON values that differ, by path.
fn json(lines: &mut Vec<String>, path: &str, before: Option<&Value>, now: Option<&Value>, depth: usize) {
    match (before, now) {
        (Some(Value::Object(before)), Some(Value::Object(now))) if depth > 0 => {
            let before: BTreeMap<_, _> = before.iter().map(|(name, value)| (name.clone(), value)).collect();
            let now: BTreeMap<_, _> = now.iter().map(|(name, value)| (name.clone(), value)).collect();
            both(&before, &now, |name, before, now| {
                json(lines, &format!("{path}.{name}"), before.copied(), now.copied(), depth - 1);
            });
        }
        (before, now) => changed(lines, &cut_front(path, SHOWN), before, now),
    }
}

/// Calls with what each name has on each side.
fn both<T>(
    before: &BTreeMap<String, T>,
    now: &BTreeMap<String, T>,
    mut with: impl FnMut(&str, Option<&T>, Option<&T>),
) {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    for name in names {
        with(name, before.get(name), now.get(name));
    }
}

/// Two texts that differ, each from shortly before the place where they do.
fn parted(before: &str, now: &str) -> (String, String) {
    let same = before.chars().zip(now.chars()).take_while(|(a, b)| a == b).count();
    let long = before.chars().count().max(now.chars().count()) > SHOWN;
    let start = if long { same.saturating_sub(BEFORE) } else { 0 };
    let from = |text: &str| {
        let rest: String = text.chars().skip(start).collect();
        cut(&if start > 0 { format!("…{rest}") } else { rest }, SHOWN)
    };
    (from(before), from(now))
}

/// The start of a text, in one line.
fn cut(text: &str, width: usize) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    if text.chars().nth(width).is_none() {
        return text.chars().map(plain).collect();
    }
    text.chars().take(width - 1).map(plain).chain(['…']).collect()
}

/// The end of a text, in one line.
fn cut_front(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return cut(text, width);
    }
    let end: String = text.chars().skip(length - width + 1).collect();
    format!("…{}", cut(&end, width))
}

/// Time between something and `now`, in words.
fn ago(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - then).num_seconds();
    match seconds {
        ..60 => format!("{} s ago", seconds.max(0)),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use hm_plugin_protocol::SnapshotRef;
    use serde_json::json;

    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn inputs() -> KeyInputs {
        KeyInputs {
            project: "/p".into(),
            cmd: "set -e\nmake -j4\nmake test".into(),
            env: texts(&[("A", "1"), ("SECRET", "2")]),
            image: None,
            runner: "local".into(),
            plugin: "local 0.1.0".into(),
            runner_args: Some(json!({"network": true, "artifacts": ["a"], "deep": {"x": 1}})),
            fields: BTreeMap::new(),
            emitter_key: None,
            parent: Some(ParentResult { step: "deps".into(), result: SnapshotRef("t1".into()) }),
            files: texts(&[("src/main.c", "1"), ("src/old.c", "1")]),
            paths: ["src".to_owned()].into(),
            machine: Some("m".into()),
        }
    }

    fn decided(inputs: KeyInputs, verdict: StepVerdict) -> StepDecision {
        StepDecision { step: "s".into(), key: Some(inputs.key()), inputs: Some(inputs), verdict }
    }

    fn hit() -> StepVerdict {
        StepVerdict::Hit { tag: SnapshotRef("t".into()), made_at: at() - TimeDelta::hours(2) }
    }

    /// Explanation of a change.
    fn said(change: impl FnOnce(&mut KeyInputs)) -> Vec<String> {
        let mut now = inputs();
        change(&mut now);
        let now = decided(now, StepVerdict::Miss(MissReason::NoEntry));
        explain(&now, Some(&decided(inputs(), hit())), at())
    }

    #[test]
    fn each_part_is_named_and_no_value_of_a_variable_is() {
        assert_eq!(
            said(|inputs| inputs.cmd = inputs.cmd.replace("j4", "j8")),
            ["cmd changed in line 2: make -j4 → make -j8"]
        );
        assert_eq!(said(|inputs| inputs.cmd = "make".into()), ["cmd changed in line 1: set -e → make"]);
        assert_eq!(line_changed("make", "make all"), "cmd changed: make → make all");
        assert_eq!(line_changed("", "make"), "cmd changed, which is new: make");
        assert_eq!(said(|inputs| inputs.cmd += "\nmore"), ["cmd changed in line 4, which is new: more"]);
        assert_eq!(
            said(|inputs| inputs.cmd = "set -e".into()),
            ["cmd changed in line 2, which is gone: make -j4"]
        );
        assert_eq!(said(|inputs| inputs.cmd += "\n"), ["cmd changed: in its line ends"]);
        assert_eq!(
            said(|inputs| inputs.env = texts(&[("B", "1"), ("SECRET", "3")])),
            ["env A is gone", "env B is new", "env SECRET changed"]
        );
        assert_eq!(said(|inputs| inputs.image = Some("alpine:3".into())), ["image is new: alpine:3"]);
        assert_eq!(said(|inputs| inputs.runner = "docker".into()), ["runner changed: local → docker"]);
        assert_eq!(
            said(|inputs| inputs.plugin = "local 0.2.0".into()),
            ["plugin changed: local 0.1.0 → local 0.2.0"]
        );
        assert_eq!(
            said(|inputs| inputs.runner_args = Some(json!({"network": false, "deep": {"x": 1, "y": null}}))),
            [
                r#"runner_args.artifacts is gone: ["a"]"#,
                "runner_args.deep.y is new: null",
                "runner_args.network changed: true → false"
            ]
        );
        assert_eq!(said(|inputs| inputs.runner_args = None).len(), 1);
        assert_eq!(said(|inputs| drop(inputs.fields.insert("salt".into(), json!(1)))), ["salt is new: 1"]);
        assert_eq!(said(|inputs| inputs.parent = None), ["parent is gone: deps"]);
        let parent =
            |step: &str, result: &str| ParentResult { step: step.into(), result: SnapshotRef(result.into()) };
        assert_eq!(
            said(|inputs| inputs.parent = Some(parent("deps", "t2"))),
            ["parent `deps` was made anew"]
        );
        assert_eq!(
            said(|inputs| inputs.parent = Some(parent("base", "t2"))),
            ["parent changed: deps → base"]
        );
        assert_eq!(
            said(|inputs| inputs.files = texts(&[("src/main.c", "2"), ("src/new.c", "1")])),
            ["input src/main.c changed", "input src/new.c is new", "input src/old.c is gone"]
        );
        assert_eq!(
            said(|inputs| {
                inputs.files = texts(&[("src/main.c", "2"), ("src/new.c", "1")]);
                inputs.paths = ["src/main.c".to_owned(), "src/n*.c".to_owned()].into();
            }),
            ["its cache policy names other files: src → src/main.c, src/n*.c", "input src/main.c changed"]
        );
        assert_eq!(
            said(|inputs| (inputs.files, inputs.paths) = Default::default()),
            ["its cache policy names other files: src → none"]
        );
        assert_eq!(
            said(|inputs| {
                inputs.files.insert("src/main.c".into(), "2".into());
                inputs.paths = ["src/*".to_owned()].into();
            }),
            ["input src/main.c changed"],
            "they are the same files"
        );
        assert_eq!(said(|inputs| inputs.machine = Some("n".into())).len(), 1);
        assert_eq!(
            said(|inputs| inputs.emitter_key = Some("k".into())),
            ["cache.key changed, which the program that wrote the pipeline computes"]
        );
        assert_eq!(said(|inputs| inputs.project = "/q".into()), ["project changed: /p → /q"]);
    }

    #[test]
    fn a_change_of_any_part_is_told() {
        let both = |inputs: &mut KeyInputs| {
            inputs.image = Some("a".into());
            inputs.cmd = "x".into();
        };
        assert_eq!(said(both), ["cmd changed in line 1: set -e → x", "image is new: a"]);
        let computed = |inputs: &mut KeyInputs| {
            inputs.emitter_key = Some("k".into());
            inputs.cmd = "x".into();
        };
        assert_eq!(
            said(computed),
            ["cmd changed in line 1: set -e → x"],
            "the emitter's key follows from it"
        );
        // Whatever changes the key has to be told of: a change with no words for it would be a riddle.
        let changes: [fn(&mut KeyInputs); 12] = [
            |p| p.project.push('x'),
            |p| p.cmd.push('x'),
            |p| drop(p.env.insert("X".into(), "1".into())),
            |p| p.image = Some(String::new()),
            |p| p.runner.push('x'),
            |p| p.plugin.push('x'),
            |p| p.runner_args = Some(json!(null)),
            |p| drop(p.fields.insert(String::new(), json!(null))),
            |p| p.emitter_key = Some(String::new()),
            |p| p.parent.as_mut().unwrap().result.0.push('x'),
            |p| drop(p.files.insert(String::new(), String::new())),
            |p| p.machine = None,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let lines = said(change);
            assert!(lines.len() == 1 && !lines[0].starts_with("nothing changed"), "{number}: {lines:?}");
        }
    }

    #[test]
    fn what_is_long_is_shown_where_it_differs_and_fits() {
        let long = |tail: &str| format!("{}{tail}", "cargo build --release --locked ".repeat(9));
        let line = said(|inputs| inputs.cmd = long("a")).remove(0);
        assert_eq!(line, "cmd changed in line 1: set -e → cargo build --release --…");
        let (old, new) = parted(&long("-p one"), &long("-p two --features x and more of them"));
        assert_eq!((old.as_str(), new.as_str()), ("…cked -p one", "…cked -p two --features …"));
        let many: BTreeMap<String, String> =
            (0..10_000).map(|at| (format!("{}/{at:05}\n\u{1b}", "dir/".repeat(40)), String::new())).collect();
        let lines = said(|inputs| (inputs.env, inputs.files) = (many.clone(), many));
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[10], "and 9992 more of env");
        for line in &lines {
            assert!(line.chars().count() <= WIDTH && !line.contains(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn verdicts_have_words() {
        let one = |verdict: StepVerdict, before: Option<StepVerdict>| {
            let before = before.map(|verdict| decided(inputs(), verdict));
            let mut lines = explain(&decided(inputs(), verdict), before.as_ref(), at());
            assert_eq!(lines.len(), 1, "{lines:?}");
            lines.remove(0)
        };
        let miss = |missing| one(StepVerdict::Miss(missing), None);
        assert_eq!(one(hit(), None), "nothing changed since its result was made, 2 h ago");
        let since = at() - TimeDelta::minutes(200);
        assert_eq!(miss(MissReason::Expired { since }), "expired 3 h ago");
        assert_eq!(miss(MissReason::Bypassed), "former results were not to be used (--no-cache)");
        assert_eq!(miss(MissReason::NoEntry), "no former build is known that had this step");
        for missing in [MissReason::MadeInFuture, MissReason::RunnerLostIt, MissReason::Damaged] {
            assert!(miss(missing).starts_with("its r"));
        }
        assert_eq!(miss(MissReason::Deleted), "its result is gone: somebody removed it");
        let image = |name: &str| miss(MissReason::OtherImage { name: name.into() });
        assert_eq!(image("gcc:12"), "the image `gcc:12` is another one now");
        assert!(image(&format!("{}gcc:12", "x/".repeat(99))).ends_with("/gcc:12` is another one now"));
        let covered = |path: &str| miss(MissReason::Covered { path: path.into() });
        assert_eq!(
            covered("src/main.c"),
            "`src/main.c` changed, which it or a parent had written or removed"
        );
        let deep = covered(&format!("{}main.c", "deep/".repeat(99)));
        assert!(
            deep.starts_with("`…") && deep.contains("/main.c` changed") && deep.ends_with("removed"),
            "{deep}"
        );
        assert_eq!(miss(MissReason::CannotUse { why: "no\nengine".into() }), "no engine");
        assert_eq!(
            one(StepVerdict::Miss(MissReason::NoEntry), Some(hit())),
            "nothing changed, but no result was kept, or it was removed"
        );
        let never = |never| one(StepVerdict::Uncacheable(never), None);
        assert!(never(Uncacheable::NoPolicy).contains("no cache policy"));
        assert!(never(Uncacheable::Policy).contains("none"));
        assert_eq!(
            never(Uncacheable::ParentNotKept { parent: "deps".into() }),
            "it builds in `deps`, whose result is not kept"
        );
        assert_eq!(
            never(Uncacheable::CannotKeep { why: "no\nroom".into() }),
            "its result cannot be kept: no room"
        );
        let before = StepDecision {
            key: None,
            inputs: None,
            ..decided(inputs(), StepVerdict::Uncacheable(Uncacheable::NoPolicy))
        };
        let now = decided(inputs(), StepVerdict::Miss(MissReason::NoEntry));
        let lines = explain(&now, Some(&before), at());
        assert_eq!(lines, ["no result was kept before: it has no cache policy, so it always runs"]);
    }

    #[test]
    fn decisions_are_read_as_they_were_written() {
        for verdict in [
            hit(),
            StepVerdict::Miss(MissReason::Expired { since: at() }),
            StepVerdict::Miss(MissReason::NoEntry),
            StepVerdict::Miss(MissReason::Deleted),
            StepVerdict::Miss(MissReason::OtherImage { name: "gcc:12".into() }),
            StepVerdict::Miss(MissReason::Covered { path: "src/\n".into() }),
            StepVerdict::Miss(MissReason::CannotUse { why: "x".into() }),
            StepVerdict::Uncacheable(Uncacheable::CannotKeep { why: "x".into() }),
            StepVerdict::Uncacheable(Uncacheable::ParentNotKept { parent: "x".into() }),
        ] {
            let decision = decided(inputs(), verdict);
            let text = serde_json::to_string(&decision).unwrap();
            assert_eq!(serde_json::from_str::<StepDecision>(&text).unwrap(), decision, "{text}");
        }
        let earlier = r#"{"kind":"miss","about":{"because":"gone"}}"#;
        assert_eq!(
            serde_json::from_str::<StepVerdict>(earlier).unwrap(),
            StepVerdict::Miss(MissReason::RunnerLostIt)
        );
    }
}
