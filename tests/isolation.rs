//! Machines whose kernel gives a step no isolation, or not all of it: only what runs in the local sandbox may hear of
//! that. Such a machine is made by a filter of system calls around `hm`.

use std::process::Command;

use serde_json::json;

use crate::docker::lab::{Engine, root};
use crate::support::{Project, Ran, logs, ran, skipped, step};

/// Makes the named system calls fail in the program that it becomes, and in all that this starts. The numbers are those
/// of every machine that Linux has Landlock on, but for `unshare`'s.
const FILTER: &str = r#"
import ctypes, os, platform, struct, sys
NUMBERS = {"unshare": {"x86_64": 272, "aarch64": 97}.get(platform.machine()), "landlock_create_ruleset": 444}
EPERM, ENOSYS = 1, 38
def instruction(code, if_true, if_false, value):
    return struct.pack("HBBI", code, if_true, if_false, value)
program = instruction(0x20, 0, 0, 0)
for name in sys.argv[1].split(","):
    error = EPERM if name == "unshare" else ENOSYS
    program += instruction(0x15, 0, 1, NUMBERS[name]) + instruction(0x06, 0, 0, 0x00050000 | error)
program += instruction(0x06, 0, 0, 0x7fff0000)
code = ctypes.create_string_buffer(program, len(program))
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
if libc.prctl(38, 1, None, 0, 0) or libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, ctypes.addressof(code))), 0, 0):
    sys.exit(77)
os.execv(sys.argv[2], sys.argv[2:])
"#;

/// No namespaces, and no Landlock.
const NOTHING: &str = "unshare,landlock_create_ruleset";

/// Program whose absence leaves Landlock alone.
const LANDLOCK_ALONE: &str = "unshare";

/// Runs `hm` to its end where these system calls fail.
fn without(calls: &str, project: &Project, args: &[&str]) -> Option<Ran> {
    let hm = project.hm(args);
    let mut command = Command::new("python3");
    command.args(["-c", FILTER, calls]).arg(hm.get_program()).args(hm.get_args()).current_dir(project.path());
    command.env_clear().envs(hm.get_envs().filter_map(|(name, value)| Some((name, value?))));
    match command.output() {
        Ok(output) if output.status.code() == Some(77) => {
            skipped("no system call can be filtered here");
            None
        }
        Ok(output) => Some(ran(output)),
        Err(error) => {
            skipped(&format!("python3: {error}"));
            None
        }
    }
}

#[test]
fn steps_in_containers_ask_for_no_sandbox_here() {
    let Some(engine) = Engine::get() else { return };
    for calls in [NOTHING, LANDLOCK_ALONE] {
        let mut kept = root("a", "cat source.txt; echo x > out");
        kept["cache"] = json!({"policy": "on_change", "paths": ["source.txt"]});
        kept["runner_args"] = json!({"artifacts": ["out"]});
        let project = engine.project(&json!([kept]));
        project.write("source.txt", "mine\n");
        for cached in [false, true] {
            let Some(planned) = without(calls, &project, &["plan"]) else { return };
            assert_eq!(planned.expect_code(0).stderr, "", "{calls}");
            let Some(built) = without(calls, &project, &["build", "--format", "json"]) else { return };
            let built = built.expect_code(0);
            assert_eq!(built.stderr, "", "{calls}");
            let events: Vec<_> =
                built.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
            assert_eq!(logs(&events)["a"], ["mine"], "{calls}");
            assert_eq!(built.stdout.contains("step_cache_hit"), cached, "{calls}: {}", built.stdout);
        }
        assert_eq!(std::fs::read_to_string(project.path().join(".hm/out/a/out")).expect("there"), "x\n");
        assert!(!project.cache().join("layers").exists(), "nothing of a local sandbox");
    }
}

#[test]
fn a_plan_of_containers_asks_for_no_sandbox_here() {
    let project =
        Project::with_steps(&json!([root("a", "true")])).with_variable("DOCKER_HOST", "unix:///nowhere");
    let Some(planned) = without(NOTHING, &project, &["plan"]) else { return };
    let said = planned.expect_code(0).stderr;
    assert!(said.contains("foretold as if nothing were kept") && said.lines().count() == 1, "{said}");
    let Some(built) = without(NOTHING, &project, &["build"]) else { return };
    let said = built.expect_code(4).stderr;
    assert!(said.contains("there are steps that run in containers, and no engine for them"), "{said}");
    assert!(!said.contains("isolate"), "{said}");
}

#[test]
fn steps_here_are_refused_before_any_begins() {
    let project = Project::with_steps(&json!([step("a", "true")]));
    for command in [&["build", "--format", "json"][..], &["plan"]] {
        let Some(refused) = without(NOTHING, &project, command) else { return };
        let refused = refused.expect_code(4);
        assert_eq!(refused.stdout, "", "{command:?}");
        let expected = "error: cannot prepare the sandbox for steps\n  1: this machine can isolate no step: namespaces do not work";
        assert!(refused.stderr.starts_with(expected), "{}", refused.stderr);
    }
}

#[test]
fn steps_here_without_namespaces_are_told_of_once() {
    let project = Project::with_steps(&json!([step("a", "true"), step("b", "true")])).alone();
    for command in [&["build", "--format", "json"][..], &["plan"]] {
        let Some(ran) = without(LANDLOCK_ALONE, &project, command) else { return };
        if ran.stderr.contains("can isolate no step") {
            return skipped("there is no Landlock here");
        }
        let ran = ran.expect_code(0);
        assert_eq!(ran.stderr.matches("steps run without namespaces").count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn one_step_here_among_containers_is_enough_to_be_refused() {
    let Some(engine) = Engine::get() else { return };
    let project = engine.project(&json!([root("a", "touch /began"), step("b", "true")]));
    let Some(refused) = without(NOTHING, &project, &["build", "--format", "json"]) else { return };
    let refused = refused.expect_code(4);
    assert!(refused.stderr.contains("this machine can isolate no step"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
}
