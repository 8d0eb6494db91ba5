//! Plug-ins of several modules: who can import from whom, how often each exists, what they share.

use std::time::Duration;

use hm_abi::{
    CallLimits, Code, Engine, HostFunction, HostFunctions, InstanceLimits, InstanceOptions, LoadError,
    Module, ModuleLimits,
};

use crate::guest::{CALL, ENGINE, assemble, describe};

fn compile(wasm: &[u8]) -> Code {
    Code::compile(&ENGINE, wasm, &ModuleLimits::standard()).unwrap()
}

fn text(module: &str) -> Code {
    compile(&wat::parse_str(module).unwrap())
}

fn link(main: &Code, others: &[(&str, Code)]) -> Result<Module<()>, LoadError> {
    Module::new(&ENGINE, main, others, &HostFunctions::new())
}

fn refusal(main: &Code, others: &[(&str, Code)]) -> String {
    link(main, others).err().unwrap().to_string()
}

/// A main module that outputs the sum of four calls of `one` in a library.
fn counting_main() -> Code {
    compile(&assemble(
        r#"(import "counter" "one" (func $one (result i64))) ;; body
        (func (export "f") (call $number (i64.add (call $one) (i64.mul (i64.const 10) (call $one)))))"#,
    ))
}

const COUNTER: &str = r#"(global $count (mut i64) (i64.const 0))
    (func (export "one") (result i64)
      (global.set $count (i64.add (global.get $count) (i64.const 1)))
      (global.get $count))"#;

/// [link.reactor-once] A library exists once, and keeps its state from call to call.
#[tokio::test]
async fn a_library_exists_once() {
    let module = link(&counting_main(), &[("counter", text(&format!("(module {COUNTER})")))]).unwrap();
    let mut instance = module.instance((), InstanceOptions::standard());
    assert_eq!(describe(&instance.call("f", b"", &CALL).await), "number 21");
    assert_eq!(describe(&instance.call("f", b"", &CALL).await), "number 43");
    let mut other = module.instance((), InstanceOptions::standard());
    assert_eq!(describe(&other.call("f", b"", &CALL).await), "number 21", "each plug-in has its own");
}

/// [link.command-fresh] A command is made anew for each call of one of its functions.
#[tokio::test]
async fn a_command_is_made_anew_for_each_call() {
    let command = text(&format!(r#"(module {COUNTER} (func (export "_start") unreachable))"#));
    let module = link(&counting_main(), &[("counter", command)]).unwrap();
    let mut instance = module.instance((), InstanceOptions::standard());
    assert_eq!(describe(&instance.call("f", b"", &CALL).await), "number 11");
    assert_eq!(describe(&instance.call("f", b"", &CALL).await), "number 11");
}

/// [link.command-fresh] With `_initialize` beside `_start` it is a library.
#[tokio::test]
async fn what_is_both_is_a_library() {
    let both = text(&format!(
        r#"(module {COUNTER} (func (export "_start") unreachable)
            (func (export "_initialize") (global.set $count (i64.const 5))))"#
    ));
    let mut instance =
        link(&counting_main(), &[("counter", both)]).unwrap().instance((), InstanceOptions::standard());
    assert_eq!(describe(&instance.call("f", b"", &CALL).await), "number 76");
}

/// [link.shared-state] All modules see the same input, blocks, variables and output.
/// [link.initialisers] The initialisers of a library run before the main module's.
#[tokio::test]
async fn modules_share_the_plug_ins_memory() {
    let library = compile(&assemble(
        r#"(data (i32.const 0) "key")
        (func (export "_initialize") (call $var_set (call $text (i32.const 0) (i32.const 3)) (call $fill (i32.const 4))))
        (func (export "reply") (call $put (call $input_offset)))"#,
    ));
    let main = compile(&assemble(
        r#"(import "library" "reply" (func $reply)) ;; body
        (data (i32.const 0) "key")
        (global $found (mut i64) (i64.const 0))
        (func (export "_initialize")
          (global.set $found (call $length (call $var_get (call $text (i32.const 0) (i32.const 3))))))
        (func (export "reply") (call $reply))
        (func (export "found") (call $number (global.get $found)))"#,
    ));
    let mut instance =
        link(&main, &[("library", library)]).unwrap().instance((), InstanceOptions::standard());
    assert_eq!(describe(&instance.call("reply", b"shared", &CALL).await), "output shared");
    assert_eq!(describe(&instance.call("found", b"", &CALL).await), "number 4");
}

/// [link.main-exports] Only the main module's functions can be called.
#[tokio::test]
async fn functions_of_other_modules_cannot_be_called() {
    let module = link(&counting_main(), &[("counter", text(&format!("(module {COUNTER})")))]).unwrap();
    assert_eq!(module.exports().collect::<Vec<_>>(), ["f"]);
}

/// [link.chain] Modules can import from each other, in any order they are given in, also memories and globals.
#[tokio::test]
async fn modules_import_from_each_other() {
    let a = text(r#"(module (memory (export "memory") 1) (global (export "g") i64 (i64.const 40)))"#);
    let b = text(
        r#"(module (import "a" "memory" (memory 1)) (import "a" "g" (global $g i64))
            (func (export "f") (result i64) (i64.store (i32.const 8) (i64.const 2)) (global.get $g)))"#,
    );
    let main = compile(
        &wat::parse_str(
            r#"(module (import "b" "f" (func $f (result i64))) (import "a" "memory" (memory 1))
                (func (export "f") (result i32)
                  (i32.wrap_i64 (i64.add (call $f) (i64.load (i32.const 8))))))"#,
        )
        .unwrap(),
    );
    for others in [[("a", a.clone()), ("b", b.clone())], [("b", b), ("a", a)]] {
        let mut instance = link(&main, &others).unwrap().instance((), InstanceOptions::standard());
        assert_eq!(describe(&instance.call("f", b"", &CALL).await), "guest 42");
    }
}

/// [link.circle] Modules that import from themselves or in a circle are refused.
#[test]
fn circles_are_refused() {
    let importing =
        |from: &str| text(&format!(r#"(module (import "{from}" "f" (func)) (func (export "f")))"#));
    let main = text("(module)");
    assert_eq!(
        refusal(&main, &[("a", importing("a"))]),
        "linked modules import from each other in a circle: a -> a"
    );
    assert_eq!(
        refusal(&main, &[("a", importing("b")), ("b", importing("c")), ("c", importing("b"))]),
        "linked modules import from each other in a circle: b -> c -> b"
    );
    let itself = text(r#"(module (import "main" "f" (func)) (func (export "f")))"#);
    assert_eq!(refusal(&itself, &[]), "the module imports `f` from `main`, which does not exist");
    assert_eq!(
        refusal(&itself, &[("a", text("(module)"))]),
        "the module imports `f` from `main`, which does not exist"
    );
}

/// [link.names] Names of linked modules are not those of the host's or of another, and not `main`.
#[test]
fn names_that_are_taken_are_refused() {
    let (main, other) = (text("(module)"), text("(module)"));
    for name in ["main", "extism:host/env", "env", "wasi_snapshot_preview1"] {
        let expected = format!("a linked module cannot have the name `{name}`: it is taken");
        assert_eq!(refusal(&main, &[(name, other.clone())]), expected);
    }
    let expected = "a linked module cannot have the name `a`: it is taken";
    assert_eq!(refusal(&main, &[("a", other.clone()), ("a", other.clone())]), expected);

    let mut host = HostFunctions::<()>::new();
    let declaration =
        HostFunction { module: "mine", name: "f", params: 0, returns: false, fuel: 0, fuel_per_byte: 0 };
    host.define(declaration, |(), _| Box::pin(async { Ok(Vec::new()) }));
    let refused = Module::new(&ENGINE, &main, &[("mine", other.clone())], &host);
    assert!(matches!(refused, Err(LoadError::ModuleName { name }) if name == "mine"));

    let names: Vec<String> = (0..17).map(|number| format!("m{number}")).collect();
    let many: Vec<(&str, Code)> = names.iter().map(|name| (name.as_str(), other.clone())).collect();
    assert_eq!(refusal(&main, &many), "17 modules are linked to the main one, more than the 16 allowed");
}

/// [link.exports] A linked module exports no more than 10,000 things; the main one may.
#[test]
fn exports_of_linked_modules_are_bounded() {
    let exports: String = (0..10_001).map(|number| format!(r#"(export "e{number}" (func $f))"#)).collect();
    let many = text(&format!("(module (func $f) {exports})"));
    let expected = "the linked module `a` exports 10001 things, more than the 10000 allowed";
    assert_eq!(refusal(&text("(module)"), &[("a", many.clone())]), expected);
    assert!(link(&many, &[]).is_ok());
}

/// [link.imports] What a linked module imports must be there, with the same type; kernel functions are refused in it
/// too.
#[test]
fn imports_between_modules_are_checked() {
    let library = text(r#"(module (func (export "f") (param i32)) (memory (export "m") 1))"#);
    let main = |import: &str| text(&format!("(module {import})"));
    for (import, message) in [
        (r#"(import "a" "g" (func))"#, "the module imports `g` from `a`, which does not exist"),
        (
            r#"(import "a" "f" (func))"#,
            "the module imports something with a wrong type: `f` from `a` is wanted as (type (func)), and is \
             (type (func (param i32)))",
        ),
        (
            r#"(import "a" "m" (func))"#,
            "the module imports something with a wrong type: `m` from `a` is wanted as (type (func)), and is no \
             function",
        ),
        (
            r#"(import "a" "f" (func (param i32))) (import "b" "x" (func))"#,
            "the module imports `x` from `b`, which does not exist",
        ),
        (
            r#"(import "a" "g" (func)) (import "b" "x" (func)) (import "a" "f" (func (param i32)))"#,
            "the module imports `g` from `a` and `x` from `b`, which do not exist",
        ),
    ] {
        assert_eq!(refusal(&main(import), &[("a", library.clone())]), message);
    }
    let kernel = main(r#"(import "extism:host/env" "reset" (func))"#);
    assert!(matches!(
        link(&main(""), &[("a", kernel)]),
        Err(LoadError::ForbiddenImport { name }) if name == "reset"
    ));
}

/// [link.ceilings] Ceilings, fuel and deadline are the plug-in's, not each module's; so are traps.
#[tokio::test]
async fn ceilings_are_for_all_modules_together() {
    let library = text(
        r#"(module (memory 3) (func (export "spin") (loop $l (br $l))) (func (export "trap") unreachable)
            (func (export "grow") (result i32) (memory.grow (i32.const 2))))"#,
    );
    let main = compile(
        &wat::parse_str(
            r#"(module (import "a" "spin" (func $spin)) (import "a" "trap" (func $trap))
                (import "a" "grow" (func $grow (result i32)))
                (memory 3) (func (export "spin") (call $spin)) (func (export "trap") (call $trap))
                (func (export "grow") (result i32) (call $grow)))"#,
        )
        .unwrap(),
    );
    let limits = InstanceLimits { memory_pages: 7, ..InstanceLimits::standard() };
    let module = link(&main, &[("a", library)]).unwrap();
    let mut instance = module.instance((), InstanceOptions { limits, ..InstanceOptions::standard() });
    assert_eq!(describe(&instance.call("grow", b"", &CALL).await), "guest -1");
    assert!(describe(&instance.call("trap", b"", &CALL).await).starts_with("trap "));
    let poor = CallLimits { fuel: 100_000, ..CALL };
    assert_eq!(describe(&instance.call("spin", b"", &poor).await), "out of fuel");
    let short = CallLimits { fuel: u64::MAX, deadline: Duration::from_millis(50) };
    assert_eq!(describe(&instance.call("spin", b"", &short).await), "timed out");
    let limits = InstanceLimits { memory_pages: 5, ..InstanceLimits::standard() };
    let mut small = module.instance((), InstanceOptions { limits, ..InstanceOptions::standard() });
    assert_eq!(
        describe(&small.call("trap", b"", &CALL).await),
        "limit bytes of linear memory 393216 > 327680"
    );
}

/// [link.command-gone] A command goes with its call: a plug-in that uses one goes on for as long as it likes, and keeps
/// its own globals. Ceilings count what lives, and what one call makes.
#[tokio::test]
async fn a_command_is_gone_after_its_call() {
    let command = text(
        r#"(module
            (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
            (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
            (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
            (memory 16) (table 1000 funcref)
            (func (export "tell") (param i64) (result i64) (local $block i64)
              (local.set $block (call $alloc (i64.const 8)))
              (call $store_u64 (local.get $block) (local.get 0))
              (call $output_set (local.get $block) (i64.const 8))
              (local.get $block))
            (func (export "_start")))"#,
    );
    let main = compile(&assemble(
        r#"(import "a" "tell" (func $tell (param i64) (result i64))) ;; body
        (global $count (mut i64) (i64.const 0))
        (func (export "f")
          (global.set $count (i64.add (global.get $count) (i64.const 1)))
          (drop (call $tell (i64.const 5)))
          (if (i64.ne (call $length (call $tell (global.get $count))) (i64.const 8)) (then unreachable)))"#,
    ));
    let mut instance = link(&main, &[("a", command)]).unwrap().instance((), InstanceOptions::standard());
    for number in 1..=400 {
        assert_eq!(describe(&instance.call("f", b"", &CALL).await), format!("number {number}"));
        assert_eq!(instance.report().memory_bytes, 17 * 65_536, "the most there was at one time");
    }
}

/// [link.command-gone] However a command ends, the plug-in gets back its data and what is left of its fuel.
#[tokio::test]
async fn the_end_of_a_command_is_that_of_the_call() {
    let command = text(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "extism:host/user" "seen" (func $seen (param i64)))
            (memory (export "memory") 1) (func (export "_start"))
            (func (export "trap") (call $seen (i64.const 0)) unreachable)
            (func (export "exit") (call $seen (i64.const 0)) (call $exit (i32.const 3)))
            (func (export "spin") (call $seen (i64.const 0)) (loop $l (br $l))))"#,
    );
    let main = compile(&assemble(
        r#"(import "a" "trap" (func $trap)) (import "a" "exit" (func $exit)) (import "a" "spin" (func $spin)) ;; body
        (func (export "trap") (call $trap)) (func (export "exit") (call $exit)) (func (export "spin") (call $spin))
        (func (export "set") (call $var_set (i64.const 0) (call $input_offset)))
        (func (export "get") (call $put (call $var_get (i64.const 0))))"#,
    ));
    let mut host = HostFunctions::<u32>::new();
    let seen = HostFunction {
        module: hm_abi::USER_MODULE,
        name: "seen",
        params: 1,
        returns: false,
        fuel: 5000,
        fuel_per_byte: 0,
    };
    host.define(seen, |count, _| {
        *count += 1;
        Box::pin(async { Ok(Vec::new()) })
    });
    let module = Module::new(&ENGINE, &main, &[("a", command)], &host).unwrap();
    let mut instance = module.instance(0, InstanceOptions::standard());
    instance.call("set", b"kept", &CALL).await.unwrap();
    let trap = describe(&instance.call("trap", b"", &CALL).await);
    assert_eq!(trap, "trap wasm `unreachable` instruction executed");
    let used = instance.report().fuel_used;
    assert!((5000..6000).contains(&used), "{used}");
    assert_eq!(describe(&instance.call("exit", b"", &CALL).await), "exit 3");
    let poor = CallLimits { fuel: 100_000, ..CALL };
    assert_eq!(describe(&instance.call("spin", b"", &poor).await), "out of fuel");
    assert_eq!(instance.report().fuel_used, 100_000);
    let short = CallLimits { fuel: u64::MAX, deadline: Duration::from_millis(50) };
    assert_eq!(describe(&instance.call("spin", b"", &short).await), "timed out");
    assert!(instance.report().fuel_used >= 5000);
    let endless = CallLimits { fuel: u64::MAX, ..CALL };
    let dropped = instance.call("spin", b"", &endless);
    assert!(tokio::time::timeout(Duration::from_millis(50), dropped).await.is_err());
    assert_eq!(*instance.data(), 5);
    assert_eq!(describe(&instance.call("get", b"", &CALL).await), "output kept");
}

/// [link.command-fresh] What a command is made for in one call counts: a loop of calls ends at the ceiling.
#[tokio::test]
async fn calls_of_commands_are_bounded_by_the_ceiling() {
    let command = text(r#"(module (memory 1) (func (export "f")) (func (export "_start")))"#);
    let main = text(
        r#"(module (import "a" "f" (func $f)) (func (export "f") (loop $again (call $f) (br $again))))"#,
    );
    let limits = InstanceLimits { memory_pages: 20, ..InstanceLimits::standard() };
    let mut instance = link(&main, &[("a", command)])
        .unwrap()
        .instance((), InstanceOptions { limits, ..InstanceOptions::standard() });
    assert_eq!(describe(&instance.call("f", b"", &CALL).await), "limit wasm instances 101 > 100");
}

/// [link.instances] The number of wasm instances has a ceiling of its own, which each call has anew.
#[tokio::test]
async fn the_number_of_instances_is_bounded() {
    let command = text(r#"(module (func (export "f")) (func (export "_start")))"#);
    let main = text(
        r#"(module (import "a" "f" (func $f)) (func (export "once") (call $f))
            (func (export "f") (loop $again (call $f) (br $again))))"#,
    );
    let limits = InstanceLimits { instances: 3, ..InstanceLimits::standard() };
    let mut instance = link(&main, &[("a", command)])
        .unwrap()
        .instance((), InstanceOptions { limits, ..InstanceOptions::standard() });
    for (export, expected) in [
        ("once", "output "),
        ("once", "output "),
        ("once", "output "),
        ("f", "limit wasm instances 4 > 3"),
        ("once", "output "),
    ] {
        assert_eq!(describe(&instance.call(export, b"", &CALL).await), expected, "{export}");
    }
}

/// [load.compile-time] Compiling that takes too long is given up.
#[test]
fn compiling_has_a_time_limit() {
    // Registers for 300 locals, all of them live in each of 300 loops.
    let locals: String = (0..300).map(|n| format!("(local $l{n} i32)")).collect();
    let touch: String =
        (0..300).map(|n| format!("(local.set $l{n} (i32.add (local.get $l{n}) (i32.const 1)))")).collect();
    let (open, exits) =
        ("loop ".repeat(300), (0..300).map(|n| format!("local.get 0 br_if {n} ")).collect::<String>());
    let wasm =
        wat::parse_str(format!("(module (func {locals} {open} {touch} {exits} {}))", "end ".repeat(300)))
            .unwrap();
    let limits = ModuleLimits { compile_time: Duration::from_millis(1), ..ModuleLimits::standard() };
    let result = Code::compile(&Engine::new().unwrap(), &wasm, &limits);
    assert!(matches!(result, Err(LoadError::CompileTime { .. })), "{:?}", result.err());
}
