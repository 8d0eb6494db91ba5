//! What commands see and do in containers: chains, forks, output, environment, and what is left of it all.

use hm_plugin_protocol::StdStream;
use serde_json::json;

use super::lab::{BUSYBOX, Engine, NO_SHELL, ORDINARY_USER, in_image, root, told};
use crate::caching::printed;
use crate::support::{Project, child, exits, logs, ran, step, wait_until};

#[test]
fn children_see_what_their_parents_changed_and_forks_do_not_see_each_other() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root(
            "root",
            "cat source.txt; echo root > root.txt; rm gone.txt; mkdir -p /opt; echo x > /opt/x; rm /etc/made-by"
        ),
        child(
            "left",
            "root",
            "cat root.txt /opt/x; ls gone.txt right.txt /etc/made-by; echo left > left.txt; echo l > /opt/left; sleep 1; ls"
        ),
        child("right", "root", "cat root.txt; echo right > right.txt; sleep 1; ls; ls /opt"),
        {"type": "wait"},
        child("after", "left", "cat left.txt /opt/left; ls"),
        root("fresh", "ls; cat /etc/made-by; ls /opt"),
    ]));
    project.write("source.txt", "mine\n");
    project.write("gone.txt", "still here\n");
    let (ran, events) = project.events(&["-j", "4", "--keep-going"]);
    ran.expect_code(1);
    let logs = logs(&events);
    assert_eq!(logs["root"], ["mine"]);
    assert_eq!(logs["right"], ["root", "right.txt", "root.txt", "source.txt", "x"]);
    let missing = logs["left"].iter().filter(|line| line.contains("No such file")).count();
    assert_eq!(missing, 3, "{:?}", logs["left"]);
    assert_eq!(logs["after"], ["left", "l", "left.txt", "root.txt", "source.txt"]);
    let mut fresh = logs["fresh"].clone();
    // The streams are apart.
    fresh.sort();
    assert_eq!(fresh, ["gone.txt", "hm's tests", "ls: /opt: No such file or directory", "source.txt"]);
    // The user's own tree is as it was.
    assert_eq!(std::fs::read_to_string(project.path().join("gone.txt")).expect("there"), "still here\n");
    assert!(!project.path().join("root.txt").exists());
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn forks_run_side_by_side() {
    let Some(engine) = Engine::get() else { return };
    let forks = (0..4)
        .map(|n| child(&format!("fork{n}"), "root", &format!("cat made; echo {n} > own; sleep 3; cat own")));
    let steps: Vec<_> = std::iter::once(root("root", "echo made > made")).chain(forks).collect();
    let project = engine.project(&json!(steps));
    let mut command = project.hm(&["build", "--format", "json", "-j4"]);
    let build = command.stdout(std::process::Stdio::piped()).spawn().expect("hm starts");
    let pid = build.id();
    let mut most = 0;
    wait_until("all forks run at once", || {
        most = most.max(engine.running(pid).len());
        most == 4
    });
    let ran = ran(build.wait_with_output().expect("hm ends")).expect_code(0);
    let events: Vec<_> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let logs = logs(&events);
    for n in 0..4 {
        assert_eq!(logs[&format!("fork{n}")], ["made".to_owned(), n.to_string()]);
    }
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn a_long_chain_leaves_nothing() {
    let Some(engine) = Engine::get() else { return };
    let chain = (1..20)
        .map(|n| child(&format!("s{n}"), &format!("s{}", n - 1), &format!("cat {}; echo {n} > {n}", n - 1)));
    let steps: Vec<_> = std::iter::once(root("s0", "echo 0 > 0")).chain(chain).collect();
    let (ran, events) = engine.project(&json!(steps)).events(&[]);
    assert_eq!(ran.stderr, "");
    ran.expect_code(0);
    assert_eq!(logs(&events)["s19"], ["18"]);
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn only_root_steps_take_the_default_image() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.reached_from(Project::new()).alone();
    let steps = [
        step("root", "test -L /bin/cat && id -u"),
        child("child", "root", "id -u"),
        in_image(ORDINARY_USER, "own", "id -u"),
        {
            // The state of its parent goes before its own image.
            let mut step = child("both", "root", "id -u");
            step["image"] = json!(ORDINARY_USER);
            step
        },
    ];
    project
        .write(".hm/ci.json", &json!({"version": "0", "default_image": BUSYBOX, "steps": steps}).to_string());
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    let logs = logs(&events);
    let users = ["root", "child", "own", "both"].map(|key| &*logs[key][0]);
    assert_eq!(users, ["0", "0", "1000", "0"]);
}

#[test]
fn output_comes_apart_in_order_and_whole() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root("both", "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo out $i; echo err $i >&2; done; printf 'no end'; printf 'no end either' >&2"),
        root("much", "seq 1 100000"),
        root("odd", r"printf '\377\n\t tab\n\033[31mred\033[0m\r\n'; head -c 200000 /dev/zero | tr '\0' x"),
    ]));
    let (ran, events) = project.events(&["-j1"]);
    ran.expect_code(0);
    let both = printed(&events, "both");
    for (stream, word, end) in
        [(StdStream::Stdout, "out", "no end"), (StdStream::Stderr, "err", "no end either")]
    {
        let lines: Vec<_> =
            both.iter().filter(|(of, _)| *of == stream).map(|(_, line)| line.clone()).collect();
        let expected: Vec<_> = (1..=200).map(|i| format!("{word} {i}")).chain([end.to_owned()]).collect();
        assert_eq!(lines, expected);
    }
    let logs = logs(&events);
    assert!(
        logs["much"].iter().map(String::as_str).eq((1..=100_000)
            .map(|i| i.to_string())
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str))
    );
    assert_eq!(logs["odd"][..2], ["\u{fffd}", "\t tab"]);
    assert_eq!(logs["odd"].iter().skip(3).map(String::len).sum::<usize>(), 200_000);
}

#[test]
fn the_way_a_command_ends_is_the_steps() {
    let Some(engine) = Engine::get() else { return };
    let mut steps = vec![
        root("seven", "exit 7"),
        root("killed", "kill -9 $$"),
        root("nothing", "nosuchprogram --please"),
        root("background", "sleep 1000 & echo started"),
        told(root("shell", "true"), json!({"shell": "nosuchshell"})),
        told(root("ash", "echo $0"), json!({"shell": "ash"})),
    ];
    steps.push(in_image(NO_SHELL, "bare", "true"));
    let (ran, events) = engine.project(&json!(steps)).events(&["-j2", "--keep-going"]);
    ran.expect_code(1);
    let (exits, logs) = (exits(&events), logs(&events));
    for (key, code) in
        [("seven", 7), ("killed", 137), ("nothing", 127), ("background", 0), ("shell", 127), ("ash", 0)]
    {
        assert_eq!(exits[key], code, "{key}: {:?}", logs.get(key));
    }
    assert_eq!(logs["ash"], ["ash"]);
    assert_eq!(logs["background"], ["started"]);
    assert!(logs["nothing"][0].contains("nosuchprogram"), "{:?}", logs["nothing"]);
    assert!(logs["shell"].iter().any(|line| line.contains("nosuchshell")), "{:?}", logs["shell"]);
    let told = format!("{events:?}");
    assert!(exits.get("bare") != Some(&0) && told.contains(NO_SHELL), "{told}");
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn environments_merge_and_the_users_own_stays_out() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.reached_from(Project::new()).alone();
    let cmd = "echo $A $B $C; echo secret:$SECRET; pwd; echo $CI; echo $PATH; printf %s \"$ODD\" | base64";
    let mut first = root("first", cmd);
    first["env"] = json!({"B": "step", "ODD": "two\nlines' \"$(echo no)"});
    let pipeline = json!({"version": "0", "env": {"A": "pipeline", "B": "pipeline", "C": ""}, "steps": [
        // What is only said by a parent is not in its state.
        first, child("second", "first", "echo $A $B; cd /; env")
    ]});
    project.write(".hm/ci.json", &pipeline.to_string());
    let mut hm = project.hm(&["build", "--format", "json", "--env", "TYPED=1"]);
    let ran = ran(hm.env("SECRET", "hunter2").output().expect("hm")).expect_code(0);
    let events: Vec<_> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let logs = logs(&events);
    let odd = "dHdvCmxpbmVzJyAiJChlY2hvIG5vKQ==";
    assert_eq!(logs["first"], ["pipeline step", "secret:", "/workspace", "true", "/usr/local/bin:/bin", odd]);
    assert_eq!(logs["second"][0], "pipeline pipeline");
    let second = &logs["second"];
    assert!(
        second.contains(&"TYPED=1".to_owned()) && !second.iter().any(|line| line.starts_with("ODD")),
        "{second:?}"
    );
    assert!(!second.iter().any(|line| line.contains("hunter2")), "{second:?}");
}

#[test]
fn a_command_can_do_what_its_images_user_can() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        in_image(ORDINARY_USER, "user", "id -un; cat sub/file; echo more >> sub/file; mkdir new; echo x > new/x; rm gone; echo home > ~/mine"),
        child("child", "user", "id -un; cat sub/file new/x ~/mine; ls; echo again >> sub/file"),
        root("root", "id -un; cat sub/file"),
    ]));
    project.write("sub/file", "text\n");
    project.write("gone", "");
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    let logs = logs(&events);
    assert_eq!(logs["user"], ["user", "text"]);
    assert_eq!(logs["child"], ["user", "text", "more", "x", "home", "new", "sub"]);
    assert_eq!(logs["root"], ["root", "text"]);
}

#[test]
fn what_sounds_like_the_engine_is_still_the_commands_output() {
    let Some(engine) = Engine::get() else { return };
    let said = "OCI runtime exec failed: or so";
    let project = engine.project(&json!([
        root("alone", &format!("echo '{said}'")),
        root("first", &format!("echo '{said}'; sleep 0.5; echo more; sleep 0.5; echo '{said}'")),
    ]));
    let (ran, events) = project.events(&[]);
    ran.expect_code(0);
    assert_eq!(json!(logs(&events)), json!({"alone": [said], "first": [said, "more", said]}));
}

#[test]
fn an_image_that_cannot_be_had_is_named() {
    let Some(engine) = Engine::get() else { return };
    // Nobody listens there, so this does not depend on a network.
    let image = "127.0.0.1:1/hm-test/nosuch:7";
    let (ran, events) =
        engine.project(&json!([in_image(image, "far", "true"), root("near", "true")])).events(&["-j2"]);
    let told = format!("{}{}", ran.stderr, ran.stdout);
    assert_eq!(ran.code, Some(4), "{told}");
    // Nothing of how `hm` is made.
    assert!(told.contains(&format!("\"message\":\"the image `{image}` cannot be pulled: ")), "{told}");
    assert_eq!(exits(&events).get("far"), Some(&69));
    assert_eq!(exits(&events).get("near"), Some(&0));
    assert_eq!(engine.left_by(&events), [""; 0]);
}

#[test]
fn a_failure_leaves_nothing() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([
        root("good", "echo x > x"),
        child("bad", "good", "cat x; sleep 1000 & exit 3"),
        child("never", "bad", "true"),
    ]));
    let (ran, events) = project.events(&[]);
    ran.expect_code(1);
    assert_eq!(exits(&events), [("good".to_owned(), 0), ("bad".to_owned(), 3)].into());
    assert_eq!(engine.left_by(&events), [""; 0]);
}
