//! Whatever is wrong with a pipeline or the arguments is said in words that name it, with the documented exit code.

use serde_json::{Value, json};

use crate::support::{Project, child, step};

/// `hm build` on a pipeline with these steps; what it says on standard error.
#[track_caller]
fn refused(steps: &Value, expected: &str) {
    let ran = Project::with_steps(steps).run(&["build"]).expect_code(7);
    assert_eq!(ran.stdout, "", "nothing has run");
    assert!(ran.stderr.starts_with(&format!("error: {expected}")), "{}", ran.stderr);
}

#[test]
fn graphs_that_cannot_be() {
    refused(&json!([]), "the pipeline is empty: there is nothing to run\n");
    refused(
        &json!([step("a", "true"), step("a", "true")]),
        "step key `a` is used twice, by steps[0] and steps[1]\n",
    );
    refused(&json!([child("a", "b", "true")]), "step `a` builds in `b`, and there is no such step\n");
    refused(
        &json!([child("a", "b", "true"), child("b", "a", "true")]),
        "steps build in each other in a circle: a -> b -> a\n",
    );
    refused(&json!([step("a", &"x".repeat(1 << 20))]), "step `a`: its command is 1048576 bytes long");
    let mut unknown = step("a", "true");
    unknown["runner"] = json!("mars");
    refused(
        &json!([unknown]),
        "step `a` asks for runner `mars`, which no plugin provides; there is: docker, local\nhint: see what there is: hm plugin list\n",
    );
}

/// `hm build` on a pipeline of the other form, with steps `a`, `b` and `c` and these edges.
#[track_caller]
fn refused_graph(edges: &Value, expected: &str) {
    let nodes = ["a", "b", "c"].map(|key| json!({"step": {"key": key, "cmd": "true"}, "env": {}}));
    let graph = json!({"nodes": nodes, "node_holes": [], "edge_property": "directed", "edges": edges});
    let text = json!({"version": "0", "graph": graph}).to_string();
    let ran = Project::new().run_with_input(&["build", "--file", "-"], text.as_bytes()).expect_code(7);
    assert_eq!((ran.stderr.as_str(), ran.stdout.as_str()), (&*format!("error: {expected}\n"), ""));
}

#[test]
fn graphs_with_edges_that_cannot_be() {
    refused_graph(
        &json!([[0, 1, "builds_in"], [1, 2, "depends_on"], [2, 0, "depends_on"]]),
        "steps wait for each other in a circle: a -> c -> b -> a",
    );
    refused_graph(
        &json!([[0, 7, "builds_in"]]),
        "standard input: graph.edges[0] is not valid: there is no node 7",
    );
    refused_graph(
        &json!([[0, 1, "builds_in"], [2, 1, "builds_in"]]),
        "standard input: graph.edges[1] is not valid: step `b` cannot build in `c`, for it builds in `a` already",
    );
    let both = br#"{"version": "0", "steps": [], "graph": {}}"#;
    let ran = Project::new().run_with_input(&["build", "--file", "-"], both).expect_code(7);
    let expected = "error: standard input: the pipeline is not valid: it has both `steps` and `graph`\n";
    assert_eq!(ran.stderr, expected);
}

#[test]
fn arguments_that_the_runner_does_not_take() {
    let with = |arguments: Value| {
        let mut second = step("second", "true");
        second["runner_args"] = arguments;
        json!([step("first", "true"), second])
    };
    for (arguments, expected) in [
        (
            json!({"network": "no"}),
            r#"step `second`: runner_args.network is not what runner `local` takes: "no" is not of type "boolean""#,
        ),
        (
            json!({"shell": ""}),
            r#"step `second`: runner_args.shell is not what runner `local` takes: "" is shorter than 1 character"#,
        ),
        (
            json!("sh"),
            r#"step `second`: runner_args is not what runner `local` takes: "sh" is not of type "object""#,
        ),
    ] {
        refused(&with(arguments), &format!("{expected}\n"));
    }
    for arguments in [json!({}), json!(null), json!({"network": false, "shell": "sh"})] {
        Project::with_steps(&with(arguments)).run(&["build"]).expect_code(0);
    }
}

#[test]
fn documents_that_cannot_be_read() {
    let cases: &[(&[u8], i32, &str)] = &[
        (
            b"{\"version\": \"0\",\n  \"steps\": [,]}",
            7,
            "error: standard input is not valid JSON at line 2, column 13: expected value\n",
        ),
        (b"{\"version\": \"\xff\"}", 7, "error: standard input is not UTF-8: invalid byte at offset 13\n"),
        (
            br#"{"version": "1", "steps": []}"#,
            7,
            "error: standard input: version is \"1\", and only \"0\" is known\n",
        ),
        (
            br#"{"schema_version": "1", "pipelines": []}"#,
            7,
            "error: the document is empty: there is nothing to run\n",
        ),
        (
            br#"{"version": "0", "steps": [{"type": "command", "key": "a", "cmd": 1}]}"#,
            7,
            "error: standard input: steps[0] (key `a`) is not valid: invalid type: integer `1`, expected a string\n",
        ),
    ];
    for (input, code, expected) in cases {
        let ran = Project::new().run_with_input(&["build", "--file", "-"], input).expect_code(*code);
        assert_eq!((ran.stderr.as_str(), ran.stdout.as_str()), (*expected, ""));
    }
    let deep = Project::new()
        .run_with_input(&["build", "--file", "-"], "[".repeat(100_000).as_bytes())
        .expect_code(7);
    assert!(
        deep.stderr.contains("recursion limit exceeded at")
            || deep.stderr.contains("recursion limit exceeded\n"),
        "{}",
        deep.stderr
    );
}

#[test]
fn files_and_arguments_that_are_not_there() {
    let missing = Project::new().run(&["build", "--file", "no.json"]).expect_code(2);
    assert!(
        missing.stderr.starts_with("error: cannot read ")
            && missing.stderr.contains("no.json\n  1: No such file or directory"),
        "{}",
        missing.stderr
    );
    let none = Project::new().run(&["build"]).expect_code(2);
    assert!(
        none.stderr.contains("no pipeline found")
            && none.stderr.contains("hint: put a pipeline into .hm/ci.py or .hm/ci.json"),
        "{}",
        none.stderr
    );
    let project = Project::with_steps(&json!([step("a", "true")]));
    for (args, expected) in [
        (&["build", "--dir", "nowhere"][..], "is not a directory"),
        (&["build", "--jobs", "0"], "0 is not in 1..=65535"),
        (&["build", "--env", "NOT_SET"], "--env NOT_SET: no such variable in your environment"),
        (&["build", "--env", "=x"], r#"--env "=x": the name is empty"#),
        (&["build", "--format", "smoke"], "there is no output format `smoke`; there is: human, json"),
        (&["dance"], "there is no command `dance`"),
    ] {
        let ran = project.run(args).expect_code(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    project.run(&["build", "other"]).expect_code(2);
    project.run(&["build", "--runner", "mars"]).expect_code(7);
}

#[test]
fn several_pipelines_want_a_choice() {
    let project = Project::with_steps(&json!([step("a", "true")]));
    project.write(
        ".hm/nightly.json",
        r#"{"version":"0","steps":[{"type":"command","key":"n","cmd":"exit 3"}]}"#,
    );
    let ran = project.run(&["build"]).expect_code(2);
    assert_eq!(
        ran.stderr,
        "error: there are 2 pipelines: ci, nightly\nhint: name the one to run: hm build PIPELINE\n"
    );
    project.run(&["build", "ci"]).expect_code(0);
    project.run(&["build", "nightly"]).expect_code(1);
}

#[test]
fn an_envelope_with_several_pipelines_wants_a_choice_as_well() {
    let pipeline = |slug: &str, cmd: &str| {
        let definition = json!({"version": "0", "steps": [step(slug, cmd)]});
        json!({"slug": slug, "name": slug, "allow_manual": true, "triggers": [], "definition": definition})
    };
    let pipelines = [pipeline("ci", "true"), pipeline("nightly", "exit 3")];
    let project = Project::new();
    project.write("all.json", &json!({"schema_version": "1", "pipelines": pipelines}).to_string());
    let ran = project.run(&["build", "--file", "all.json"]).expect_code(2);
    assert_eq!(
        ran.stderr,
        "error: there are 2 pipelines: ci, nightly\nhint: name the one to run: hm build PIPELINE\n"
    );
    let ran = project.run(&["build", "--file", "all.json", "weekly"]).expect_code(2);
    assert_eq!(ran.stderr, "error: there is no pipeline `weekly`; there is: ci, nightly\n");
    project.run(&["build", "--file", "all.json", "ci"]).expect_code(0);
    project.run(&["build", "--file", "all.json", "nightly"]).expect_code(1);
}

#[test]
fn an_image_is_never_silently_something_else() {
    let mut alpine = step("a", "true");
    alpine["image"] = json!("alpine:3.20");
    let project = Project::with_steps(&json!([alpine]));
    let settings = project.config().join("plugins.toml");
    std::fs::write(&settings, "[plugin.docker]\nenabled = false\n").expect("a file");
    let ran = project.run(&["build"]).expect_code(5);
    assert_eq!(
        ran.stderr,
        "error: step `a` wants image `alpine:3.20`, which needs the `docker` runner, and no plugin provides it\n\
         hint: run such steps without their image, in the local sandbox: --runner local, or runner = \"local\" in .hm/config.toml\n"
    );
    project.run(&["build", "--runner", "local"]).expect_code(0);
    project.write(".hm/config.toml", "runner = \"local\"\n");
    project.run(&["build"]).expect_code(0);
}

#[test]
fn a_name_that_no_image_can_have_is_found_before_anything_runs() {
    for (image, reason) in [
        ("Bad Image", "there is a blank in it"),
        ("Nope", "only a registry and a tag can have capital letters"),
        ("", "it is empty"),
    ] {
        let mut deploy = step("deploy", "true");
        deploy["image"] = json!(image);
        let steps = json!([step("first", "true"), deploy]);
        let expected = format!("step `deploy`: `{image}` is no name of an image: {reason}\n");
        refused(&steps, &expected);
        let project = Project::with_steps(&steps);
        let planned = project.run(&["plan"]).expect_code(7);
        assert_eq!((planned.stderr, planned.stdout), (format!("error: {expected}"), String::new()));
        let ran = project.run(&["build", "--runner", "local"]).expect_code(0);
        assert_eq!(ran.stderr, "", "who names a runner without images knows what that means");
        let pipeline = json!({"version": "0", "default_image": image, "steps": [step("deploy", "true")]});
        project.write(".hm/ci.json", &pipeline.to_string());
        let ran = project.run(&["build"]).expect_code(7);
        assert_eq!(ran.stderr, format!("error: {expected}"));
    }
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
fn fields_that_nobody_knows_are_said() {
    let mut typo = step("a", "true");
    typo["builds-in"] = json!("b");
    let ran = Project::with_steps(&json!([typo])).run(&["build"]).expect_code(0);
    assert_eq!(ran.stderr, "warning: step `a`: this hm does not know the field `builds-in`\n");
    let project = Project::new();
    let timed = json!({"version": "0", "timeout_seconds": 60, "steps": [step("a", "true")]});
    project.write(".hm/ci.json", &timed.to_string());
    let ran = project.run(&["build"]).expect_code(0);
    assert_eq!(ran.stderr, "warning: the pipeline: this hm does not know the field `timeout_seconds`\n");
}

#[test]
fn a_configuration_that_is_no_file_is_an_error() {
    let project = Project::with_steps(&json!([step("a", "true")]));
    std::os::unix::fs::symlink("/dev/zero", project.path().join(".hm/config.toml")).expect("a link");
    let ran = project.run(&["build"]).expect_code(2);
    assert!(ran.stderr.contains("it is not a regular file"), "{}", ran.stderr);
}
