//! Whatever is wrong with a pipeline or the arguments is said in words that name it, with the documented exit code.

use hm_plugin_protocol::BuildEvent;
use serde_json::{Value, json};

use crate::support::{Project, Ran, child, exits, step};
use crate::transcript::Transcript;

/// `hm build` on a pipeline with these steps, none of which may run.
#[track_caller]
fn refused(said: &mut Transcript, about: &str, steps: &Value) {
    let ran = said.run(about, &Project::with_steps(steps), &["build"]).expect_code(7);
    assert_eq!(ran.stdout, "", "nothing has run");
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
}

/// `hm build` on a pipeline that comes on standard input.
#[track_caller]
fn from_input(said: &mut Transcript, about: &str, input: &[u8]) -> Ran {
    let (project, args) = (Project::new(), ["build", "--file", "-"]);
    let ran = project.run_with_input(&args, input).expect_code(7);
    assert_eq!(ran.stdout, "", "nothing has run");
    said.add(about, &project, &args, &ran);
    ran
}

#[test]
fn graphs_that_cannot_be() {
    let mut said = Transcript::default();
    refused(&mut said, "no step", &json!([]));
    refused(&mut said, "a key is used twice", &json!([step("a", "true"), step("a", "true")]));
    refused(&mut said, "no such parent", &json!([child("a", "b", "true")]));
    refused(&mut said, "a circle", &json!([child("a", "b", "true"), child("b", "a", "true")]));
    refused(&mut said, "a command without end", &json!([step("a", &"x".repeat(1 << 20))]));
    let mut unknown = step("a", "true");
    unknown["runner"] = json!("mars");
    refused(&mut said, "no such runner", &json!([unknown]));
    said.expect("bad-graphs");
}

/// `hm build` on a pipeline of the other form, with steps `a`, `b` and `c` and these edges.
#[track_caller]
fn refused_graph(said: &mut Transcript, about: &str, edges: &Value) {
    let nodes = ["a", "b", "c"].map(|key| json!({"step": {"key": key, "cmd": "true"}, "env": {}}));
    let graph = json!({"nodes": nodes, "node_holes": [], "edge_property": "directed", "edges": edges});
    from_input(said, about, json!({"version": "0", "graph": graph}).to_string().as_bytes());
}

#[test]
fn graphs_with_edges_that_cannot_be() {
    let mut said = Transcript::default();
    let circle = json!([[0, 1, "builds_in"], [1, 2, "depends_on"], [2, 0, "depends_on"]]);
    refused_graph(&mut said, "a circle", &circle);
    refused_graph(&mut said, "no such node", &json!([[0, 7, "builds_in"]]));
    refused_graph(&mut said, "two parents", &json!([[0, 1, "builds_in"], [2, 1, "builds_in"]]));
    from_input(&mut said, "both forms", br#"{"version": "0", "steps": [], "graph": {}}"#);
    said.expect("bad-edges");
}

#[test]
fn arguments_that_the_runner_does_not_take() {
    let with = |arguments: Value| {
        let mut second = step("second", "true");
        second["runner_args"] = arguments;
        json!([step("first", "true"), second])
    };
    let mut said = Transcript::default();
    for (about, arguments) in [
        ("of another type", json!({"network": "no"})),
        ("too short", json!({"shell": ""})),
        ("no object", json!("sh")),
    ] {
        refused(&mut said, about, &with(arguments));
    }
    said.expect("bad-runner-arguments");
    for arguments in [json!({}), json!(null), json!({"network": false, "shell": "sh"})] {
        Project::with_steps(&with(arguments)).run(&["build"]).expect_code(0);
    }
}

#[test]
fn documents_that_cannot_be_read() {
    let mut said = Transcript::default();
    from_input(&mut said, "no JSON", b"{\"version\": \"0\",\n  \"steps\": [,]}");
    from_input(&mut said, "no UTF-8", b"{\"version\": \"\xff\"}");
    from_input(&mut said, "another version", br#"{"version": "1", "steps": []}"#);
    from_input(&mut said, "no pipeline", br#"{"schema_version": "1", "pipelines": []}"#);
    let number = br#"{"version": "0", "steps": [{"type": "command", "key": "a", "cmd": 1}]}"#;
    from_input(&mut said, "a field of another type", number);
    let deep = from_input(&mut said, "deeper than anybody nests", "[".repeat(100_000).as_bytes());
    assert!(deep.stderr.contains("recursion limit exceeded"), "{}", deep.stderr);
    said.expect("bad-documents");
}

#[test]
fn files_and_arguments_that_are_not_there() {
    let mut said = Transcript::default();
    said.run("no such file", &Project::new(), &["build", "--file", "no.json"]).expect_code(2);
    said.run("no pipeline", &Project::new(), &["build"]).expect_code(2);
    let project = Project::with_steps(&json!([step("a", "true")]));
    for (about, args, code) in [
        ("no such directory", &["build", "--dir", "nowhere"][..], 2),
        ("a number that is too small", &["build", "--jobs", "0"], 2),
        ("no such variable", &["build", "--env", "NOT_SET"], 2),
        ("a variable without a name", &["build", "--env", "=x"], 2),
        ("no such format", &["build", "--format", "smoke"], 2),
        ("no such command", &["dance"], 2),
        ("no such pipeline", &["build", "other"], 2),
        ("no such runner", &["build", "--runner", "mars"], 7),
    ] {
        said.run(about, &project, args).expect_code(code);
    }
    said.expect("bad-arguments");
}

#[test]
fn several_pipelines_want_a_choice() {
    let project = Project::with_steps(&json!([step("a", "true")]));
    project.write(
        ".hm/nightly.json",
        r#"{"version":"0","steps":[{"type":"command","key":"n","cmd":"exit 3"}]}"#,
    );
    let mut said = Transcript::default();
    said.run("two files", &project, &["build"]).expect_code(2);
    project.run(&["build", "ci"]).expect_code(0);
    project.run(&["build", "nightly"]).expect_code(1);

    let pipeline = |slug: &str, cmd: &str| {
        let definition = json!({"version": "0", "steps": [step(slug, cmd)]});
        json!({"slug": slug, "name": slug, "allow_manual": true, "triggers": [], "definition": definition})
    };
    let pipelines = [pipeline("ci", "true"), pipeline("nightly", "exit 3")];
    let project = Project::new();
    project.write("all.json", &json!({"schema_version": "1", "pipelines": pipelines}).to_string());
    said.run("two in a file", &project, &["build", "--file", "all.json"]).expect_code(2);
    said.run("neither of them", &project, &["build", "--file", "all.json", "weekly"]).expect_code(2);
    project.run(&["build", "--file", "all.json", "ci"]).expect_code(0);
    project.run(&["build", "--file", "all.json", "nightly"]).expect_code(1);
    said.expect("several-pipelines");
}

#[test]
fn an_image_is_never_silently_something_else() {
    let mut alpine = step("a", "true");
    alpine["image"] = json!("alpine:3.20");
    let project = Project::with_steps(&json!([alpine]));
    let settings = project.config().join("plugins.toml");
    std::fs::write(&settings, "[plugin.docker]\nenabled = false\n").expect("a file");
    let mut said = Transcript::default();
    said.run("nobody runs images", &project, &["build"]).expect_code(5);
    said.expect("image-without-runner");
    project.run(&["build", "--runner", "local"]).expect_code(0);
    project.write(".hm/config.toml", "runner = \"local\"\n");
    project.run(&["build"]).expect_code(0);
}

#[test]
fn a_name_that_no_image_can_have_is_found_before_anything_runs() {
    let mut said = Transcript::default();
    for image in ["Bad Image", "Nope", ""] {
        let mut deploy = step("deploy", "true");
        deploy["image"] = json!(image);
        let steps = json!([step("first", "true"), deploy]);
        refused(&mut said, &format!("`{image}`"), &steps);
        let project = Project::with_steps(&steps);
        let expected = project.run(&["build"]).expect_code(7).stderr;
        let planned = project.run(&["plan"]).expect_code(7);
        assert_eq!((planned.stderr, planned.stdout), (expected.clone(), String::new()));
        let ran = project.run(&["build", "--runner", "local"]).expect_code(0);
        assert_eq!(ran.stderr, "", "who names a runner without images knows what that means");
        let pipeline = json!({"version": "0", "default_image": image, "steps": [step("deploy", "true")]});
        project.write(".hm/ci.json", &pipeline.to_string());
        let ran = project.run(&["build"]).expect_code(7);
        assert_eq!(ran.stderr, expected);
    }
    said.expect("bad-images");
    let mut inside = child("inside", "outside", "true");
    inside["image"] = json!("Nope");
    let ran = Project::with_steps(&json!([step("outside", "true"), inside])).run(&["build"]).expect_code(0);
    assert!(ran.stderr.contains("image `Nope` is not used"), "{}", ran.stderr);
}

#[test]
fn who_asks_for_a_runner_that_is_not_there_is_named() {
    let project = Project::with_steps(&json!([step("a", "true")]));
    let own = project.config().join("config.toml");
    std::fs::write(&own, "runner = \"dokcer\"\n").expect("a file");
    let refused = |args: &[&str], who: &str| {
        let ran = project.run(args).expect_code(7);
        let expected = format!("error: {who} asks for runner `dokcer`, which no plugin provides; there is: ");
        assert!(ran.stderr.starts_with(&expected), "{}", ran.stderr);
    };
    refused(&["build"], &own.display().to_string());
    project.write(".hm/config.toml", "runner = \"dokcer\"\n");
    refused(&["build"], &project.path().join(".hm/config.toml").display().to_string());
    project.write(".hm/config.toml", "runner = \"local\"\n");
    project.run(&["build"]).expect_code(0);
    refused(&["build", "--runner", "dokcer"], "--runner");
}

#[test]
fn what_others_wrote_cannot_act_on_the_terminal_or_pass_for_our_words() {
    let key = "k\u{1b}]0;title\u{7}\u{9b}31m\nhint: rm -rf /";
    let ran = Project::with_steps(&json!([step(key, "true")])).run(&["build"]).expect_code(7);
    assert!(ran.stderr.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", ran.stderr);
    assert_eq!(
        ran.stderr.lines().filter(|l| l.starts_with("hint:") || l.starts_with("error:")).count(),
        1,
        "{}",
        ran.stderr
    );
}

#[test]
fn fields_that_nobody_knows_are_errors() {
    let mut said = Transcript::default();
    let with = |fields: Value| {
        let mut step = step("a", "true");
        step.as_object_mut().expect("a step").extend(fields.as_object().expect("fields").clone());
        step
    };
    let typo = Project::with_steps(&json!([with(json!({"builds-in": "b"}))]));
    said.run("of a step", &typo, &["build"]).expect_code(7);
    said.run("let pass", &typo, &["build", "--lenient"]).expect_code(0);
    typo.run(&["plan"]).expect_code(7);
    assert!(typo.run(&["plan", "--lenient"]).expect_code(0).stderr.contains("`builds-in`"));
    let others = json!([
        with(json!({"timeout": 5, "needs": ["b"], "retry": 2, "if": "x", "services": [], "artifacts": [], "matrix": {}})),
        {"type": "wait", "allow_failure": true},
    ]);
    refused(&mut said, "words of other systems", &others);
    refused(&mut said, "of a policy", &json!([with(json!({"cache": {"policy": "forever", "path": ["a"]}}))]));
    let graph = br#"{"version": "0", "graph": {
        "nodes": [{"step": {"key": "a", "cmd": "true", "secrets": []}}], "edges": []}}"#;
    from_input(&mut said, "of a node", graph);
    let project = Project::new();
    let pipeline = |field: &str| json!({"version": "0", field: 60, "steps": [step("a", "true")]}).to_string();
    project.write(".hm/ci.json", &pipeline("timeout"));
    said.run("of the pipeline", &project, &["build"]).expect_code(7);
    project.write(".hm/ci.json", &pipeline("timeout_seconds"));
    said.run("of emitters", &project, &["build"]).expect_code(0);
    said.expect("unknown-fields");
    let own = with(json!({"x-owner": "me", "cache": {"policy": "none", "x-why": 1}}));
    assert_eq!(Project::with_steps(&json!([own])).run(&["build"]).expect_code(0).stderr, "");
}

#[test]
fn what_has_two_meanings_or_none_is_an_error() {
    let mut said = Transcript::default();
    let twice = br#"{"version": "0", "steps": [
  {"type": "command", "key": "a", "cmd": "true", "env": {"A": "1", "A": "2"}}]}"#;
    from_input(&mut said, "a name twice", twice);
    refused(&mut said, "no command", &json!([step("a", " ")]));
    let mut after = step("after", "true");
    after["depends_on"] = json!(["befor"]);
    refused(&mut said, "a dependency that is not there", &json!([step("before", "true"), after]));
    let project = Project::with_steps(&json!([step("a", "")]));
    project.run(&["build", "--lenient"]).expect_code(7);
    said.expect("no-meaning");
}

#[test]
fn a_step_waits_for_those_that_it_depends_on() {
    let mut last = step("last", "true");
    last["depends_on"] = json!(["slow", "quick"]);
    let project = Project::with_steps(&json!([last, step("slow", "sleep 0.2"), step("quick", "true")]));
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    let position = |what: fn(&BuildEvent) -> bool| events.iter().rposition(what);
    let last_start = position(|event| matches!(event, BuildEvent::StepStart { .. })).expect("a start");
    let ended = events[..last_start].iter().filter(|event| matches!(event, BuildEvent::StepEnd { .. }));
    assert_eq!(ended.count(), 2, "the last step has waited for the others");
    let mut after = step("after", "true");
    after["depends_on"] = json!(["bad"]);
    let (ran, events) = Project::with_steps(&json!([after, step("bad", "exit 3")])).events(&["--keep-going"]);
    ran.expect_code(1);
    assert_eq!(json!(exits(&events)), json!({"bad": 3}));
}

#[test]
fn pipelines_are_checked_without_running_anything() {
    let mut said = Transcript::default();
    let mut imaged = step("b", "exit 3");
    imaged["image"] = json!("alpine:3.20");
    let project = Project::with_steps(&json!([step("a", "exit 3"), imaged]));
    said.run("what can be run", &project, &["validate"]).expect_code(0);
    let one = json!({"version": "0", "steps": [step("a", "exit 3")]}).to_string();
    project.write("one.json", &one);
    said.run("a file", &project, &["validate", "one.json"]).expect_code(0);
    let from_input = project.run_with_input(&["validate", "-"], one.as_bytes()).expect_code(0);
    assert!(from_input.stdout.starts_with("valid: "), "{}", from_input.stdout);
    project.write(".hm/nightly.json", &one);
    project.write(".hm/more.py", "raise SystemExit(1)\n");
    said.run("several, and Python", &project, &["validate"]).expect_code(0);
    assert!(!project.path().join(".hm/out").exists(), "nothing has run");
    project.write("bad.json", &one.replace("\"cmd\"", "\"needs\":[],\"cmd\""));
    let bad = said.run("a field that nobody knows", &project, &["validate", "bad.json"]).expect_code(7);
    assert_eq!(bad.stderr, project.run(&["build", "--file", "bad.json"]).expect_code(7).stderr);
    for (text, code) in [("{", 7), (r#"{"schema_version":"1","pipelines":[]}"#, 7)] {
        project.write("bad.json", text);
        project.run(&["validate", "bad.json"]).expect_code(code);
    }
    said.run("no such file", &project, &["validate", "no.json"]).expect_code(2);
    let python = Project::new();
    python.write(".hm/ci.py", "raise SystemExit(1)\n");
    said.run("Python alone", &python, &["validate"]).expect_code(2);
    said.expect("validate");
}

#[test]
fn a_configuration_that_is_no_file_is_an_error() {
    let project = Project::with_steps(&json!([step("a", "true")]));
    std::os::unix::fs::symlink("/dev/zero", project.path().join(".hm/config.toml")).expect("a link");
    let ran = project.run(&["build"]).expect_code(2);
    assert!(ran.stderr.contains("it is not a regular file"), "{}", ran.stderr);
}
