//! Configuration, variables and log.

use hm_abi::{HostFunctions, InstanceLimits, InstanceOptions, LogLevel};

use crate::guest::{assemble, case, check, load, rig, rig_with};

#[tokio::test]
async fn config() {
    check(&[
        case(
            "a value",
            r#"(func (export "f") (call $put (call $config_get (call $input_offset))))"#,
            &[("f", "greeting", "output hello")],
        ),
        case(
            "absent and empty values are offset 0",
            r#"(func (export "f") (call $number (call $config_get (call $input_offset))))"#,
            &[("f", "absent", "number 0"), ("f", "empty", "number 0")],
        ),
        case(
            "offset 0 is the empty key",
            r#"(func (export "f") (call $put (call $config_get (i64.const 0))))"#,
            &[("f", "", "output of the empty key")],
        ),
        case(
            "an unknown key offset is a fault",
            r#"(func (export "f") (drop (call $config_get (i64.const 9))))"#,
            &[("f", "", "trap `config_get` was given offset 9, where no block starts")],
        ),
        case(
            "a key that is not UTF-8 is a fault",
            r#"(data (i32.const 0) "\ff") (func (export "f")
                (drop (call $config_get (call $text (i32.const 0) (i32.const 1)))))"#,
            &[("f", "", "trap `config_get` was given a key that is not UTF-8")],
        ),
        case(
            "the host frees the key; a late free of it spares the value",
            r#"(func (export "f") (local $key i64) (local $value i64)
                (local.set $key (call $input_offset))
                (local.set $value (call $config_get (local.get $key)))
                (if (i64.ne (call $length (local.get $key)) (i64.const 0)) (then unreachable))
                (call $free (local.get $key))
                (call $put (local.get $value)))"#,
            &[("f", "greeting", "output hello")],
        ),
    ])
    .await;
}

/// `set` takes the first byte of the input as the key and the rest as the value; `get` the input as the key.
const VARS: &str = r#"
(func (export "set") (local $i i32)
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (i32.wrap_i64 (call $input_length))))
    (i32.store8 (local.get $i) (call $input_load_u8 (i64.extend_i32_u (local.get $i))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))
  (call $var_set (call $text (i32.const 0) (i32.const 1))
    (call $text (i32.const 1) (i32.sub (local.get $i) (i32.const 1)))))
(func (export "get") (call $put (call $var_get (call $input_offset))))
(func (export "trap") unreachable)
(func (export "_start") (call $proc_exit (i32.const 0)))
"#;

#[tokio::test]
async fn variables() {
    check(&[
        case(
            "a variable lasts from call to call, through traps and `_start`; setting nothing deletes it",
            VARS,
            &[
                ("get", "k", "output "),
                ("set", "kvalue", "output "),
                ("get", "k", "output value"),
                ("trap", "", "trap wasm `unreachable` instruction executed"),
                ("get", "k", "output value"),
                ("_start", "", "output "),
                ("get", "k", "output value"),
                ("set", "knew", "output "),
                ("get", "k", "output new"),
                ("set", "k", "output "),
                ("get", "k", "output "),
            ],
        ),
        case(
            "offset 0 is the empty key",
            r#"(func (export "f") (call $var_set (i64.const 0) (call $input_offset))
                (call $put (call $var_get (i64.const 0))))"#,
            &[("f", "value", "output value")],
        ),
        case(
            "unknown offsets are faults, for key and value",
            r#"(func (export "key") (call $var_set (i64.const 5) (i64.const 0)))
               (func (export "value") (call $var_set (i64.const 0) (i64.const 5)))
               (func (export "get") (drop (call $var_get (i64.const 5))))"#,
            &[
                ("key", "", "trap `var_set` was given offset 5, where no block starts"),
                ("value", "", "trap `var_set` was given offset 5, where no block starts"),
                ("get", "", "trap `var_get` was given offset 5, where no block starts"),
            ],
        ),
        case(
            "the host frees key and value",
            r#"(func (export "f") (local $key i64)
                (local.set $key (call $fill (i32.const 1)))
                (call $var_set (local.get $key) (call $input_offset))
                (call $number (i64.add (call $length (local.get $key)) (call $input_length))))"#,
            &[("f", "value", "number 0")],
        ),
        case(
            "key and value may be one block",
            r#"(func (export "f") (call $var_set (call $input_offset) (call $input_offset))
                (call $number (call $input_length)))"#,
            &[("f", "twice", "number 0")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn variables_have_a_ceiling() {
    let mut rig = rig(VARS, InstanceLimits { var_bytes: 54, vars: 1, ..InstanceLimits::standard() });
    assert_eq!(rig.call("set", "k12345").await, "output ");
    assert_eq!(rig.call("set", "k54321").await, "output ", "an overwrite is charged once");
    assert_eq!(rig.call("set", "k123456").await, "limit bytes of variables 55 > 54");
    assert_eq!(rig.call("get", "k").await, "output 54321", "the old value stays");
    assert_eq!(rig.call("set", "k").await, "output ");
    assert_eq!(rig.call("set", "l12345").await, "output ");
}

const LOG: &str = r#"
(func (export "all")
  (call $log_trace (call $text (i32.const 0) (i32.const 5)))
  (call $log_debug (call $text (i32.const 0) (i32.const 5)))
  (call $log_info (call $text (i32.const 0) (i32.const 5)))
  (call $log_warn (call $text (i32.const 0) (i32.const 5)))
  (call $log_error (call $text (i32.const 0) (i32.const 5))))
(func (export "level") (call $number (i64.extend_i32_s (call $get_log_level))))
(func (export "input") (call $log_info (call $input_offset)) (call $number (call $input_length)))
(func (export "nothing") (call $log_info (i64.const 0)))
(func (export "unknown") (call $log_trace (i64.const 5)))
(data (i32.const 0) "a\1bb\ffc")
"#;

#[tokio::test]
async fn log() {
    let mut rig = rig_with(
        &assemble(LOG),
        &HostFunctions::new(),
        (),
        InstanceLimits { log_lines: 5, ..InstanceLimits::standard() },
        LogLevel::Info,
    );
    assert_eq!(rig.call("level", "").await, "number 2");
    assert_eq!(rig.call("all", "").await, "output ");
    let line = "a\\u{1b}b\u{fffd}c";
    let expected = [format!("Info: {line}"), format!("Warn: {line}"), format!("Error: {line}")];
    assert_eq!(rig.logged(), expected, "below the threshold nothing, and nothing raw");

    assert_eq!(rig.call("nothing", "").await, "output ", "offset 0 is an empty line");
    assert_eq!(rig.call("input", "text").await, "number 0", "the host frees the block");
    assert_eq!(rig.logged()[3..], ["Info: ", "Info: text"]);
    assert_eq!(
        rig.call("unknown", "").await,
        "trap `log_trace` was given offset 5, where no block starts",
        "also below the threshold"
    );
}

#[tokio::test]
async fn log_floods_are_cut() {
    let limits = InstanceLimits { log_lines: 2, ..InstanceLimits::standard() };
    let mut rig = rig(LOG, limits);
    rig.call("all", "").await;
    let logged = rig.logged();
    assert_eq!(logged.len(), 3);
    assert_eq!(
        logged[2],
        "Warn: 3 log lines (15 bytes) dropped, over the limit of 2 lines and 1048576 bytes in a call"
    );
}

#[tokio::test]
async fn a_log_that_is_off_says_so() {
    let module = load::<()>(&assemble(LOG), &HostFunctions::new()).unwrap();
    let mut instance = module.instance((), InstanceOptions::standard());
    let level = instance.call("level", &[], &crate::guest::CALL).await.unwrap();
    assert_eq!(level, i64::from(i32::MAX).to_le_bytes());
}
