//! Configuration, variables and log.

use hm_abi::{HostFunctions, InstanceLimits, InstanceOptions, LogLevel};

use crate::guest::{CALL, assemble, case, check, load, rig, rig_with};

#[tokio::test]
async fn config() {
    check(&[
        case(
            "[config.value] a value",
            r#"(func (export "f") (call $put (call $config_get (call $input_offset))))"#,
            &[("f", "greeting", "output hello")],
        ),
        case(
            "[config.absent] absent and empty values are offset 0",
            r#"(func (export "f") (call $number (call $config_get (call $input_offset))))"#,
            &[("f", "absent", "number 0"), ("f", "empty", "number 0")],
        ),
        case(
            "[key.zero] offset 0 is the empty key",
            r#"(func (export "f") (call $put (call $config_get (i64.const 0))))"#,
            &[("f", "", "output of the empty key")],
        ),
        case(
            "[argument.unknown] an unknown key offset is a fault",
            r#"(func (export "f") (drop (call $config_get (i64.const 9))))"#,
            &[("f", "", "trap `config_get` was given offset 9, where no block starts")],
        ),
        case(
            "[key.utf8] a key that is not UTF-8 is a fault",
            r#"(data (i32.const 0) "\ff") (func (export "f")
                (drop (call $config_get (call $text (i32.const 0) (i32.const 1)))))"#,
            &[("f", "", "trap `config_get` was given a key that is not UTF-8")],
        ),
        case(
            "[owner.key] [owner.late-free] the host frees the key; a late free of it spares the value",
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
            "[var.lasts] [var.outlives] [var.absent] [var.delete] a variable lasts from call to call, through traps and `_start`; setting nothing deletes it",
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
            "[key.zero] offset 0 is the empty key",
            r#"(func (export "f") (call $var_set (i64.const 0) (call $input_offset))
                (call $put (call $var_get (i64.const 0))))"#,
            &[("f", "value", "output value")],
        ),
        case(
            "[argument.unknown] unknown offsets are faults, for key and value",
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
            "[owner.key] [owner.value] the host frees key and value",
            r#"(func (export "f") (local $key i64)
                (local.set $key (call $fill (i32.const 1)))
                (call $var_set (local.get $key) (call $input_offset))
                (call $number (i64.add (call $length (local.get $key)) (call $input_length))))"#,
            &[("f", "value", "number 0")],
        ),
        case(
            "[var.bytes] a value is any bytes",
            r#"(data (i32.const 0) "k\00\ff\80")
               (func (export "f")
                (call $var_set (call $text (i32.const 0) (i32.const 1)) (call $text (i32.const 0) (i32.const 4)))
                (call $number (i64.extend_i32_u (call $load_u8 (i64.add (i64.const 2)
                  (call $var_get (call $text (i32.const 0) (i32.const 1))))))))"#,
            &[("f", "", "number 255")],
        ),
        case(
            "[var.copy] [owner.result] what is done to the block of `var_get` is not done to the variable",
            r#"(func (export "set") (call $var_set (i64.const 0) (call $input_offset)))
               (func (export "f") (local $one i64)
                (local.set $one (call $var_get (i64.const 0)))
                (call $store_u8 (local.get $one) (i32.const 88))
                (if (i64.eq (local.get $one) (call $var_get (i64.const 0))) (then unreachable))
                (call $free (local.get $one))
                (call $put (call $var_get (i64.const 0))))"#,
            &[("set", "value", "output "), ("f", "", "output value"), ("f", "", "output value")],
        ),
        case(
            "[var.delete] deleting what is not there does nothing; freeing the value's block deletes nothing",
            r#"(func (export "delete") (call $var_set (call $input_offset) (i64.const 0)))
               (func (export "set") (local $value i64)
                (local.set $value (call $fill (i32.const 3)))
                (call $var_set (call $input_offset) (local.get $value)) (call $free (local.get $value)))
               (func (export "get") (call $put (call $var_get (call $input_offset))))"#,
            &[
                ("delete", "k", "output "),
                ("set", "k", "output "),
                ("delete", "other", "output "),
                ("get", "k", "output xxx"),
                ("delete", "k", "output "),
                ("get", "k", "output "),
            ],
        ),
        case(
            "[var.outlives] a variable that is set in a call that fails is set",
            r#"(func (export "f") (result i32) (call $var_set (i64.const 0) (call $input_offset)) (i32.const 1))
               (func (export "trap") (call $var_set (i64.const 0) (call $input_offset)) unreachable)
               (func (export "get") (call $put (call $var_get (i64.const 0))))"#,
            &[
                ("f", "one", "guest 1"),
                ("get", "", "output one"),
                ("trap", "two", "trap wasm `unreachable` instruction executed"),
                ("get", "", "output two"),
            ],
        ),
        case(
            "[key.utf8] a key of a variable that is not UTF-8 is a fault",
            r#"(data (i32.const 0) "\c3") (func $key (result i64) (call $text (i32.const 0) (i32.const 1)))
               (func (export "get") (drop (call $var_get (call $key))))
               (func (export "set") (call $var_set (call $key) (call $input_offset)))
               (func (export "delete") (call $var_set (call $key) (i64.const 0)))"#,
            &[
                ("get", "", "trap `var_get` was given a key that is not UTF-8"),
                ("set", "x", "trap `var_set` was given a key that is not UTF-8"),
                ("delete", "", "trap `var_set` was given a key that is not UTF-8"),
            ],
        ),
        case(
            "[var.same-block] key and value may be one block",
            r#"(func (export "f") (call $var_set (call $input_offset) (call $input_offset))
                (call $number (call $input_length)))"#,
            &[("f", "twice", "number 0")],
        ),
    ])
    .await;
}

/// [limit.variables] [limit.overwrite] Bytes and number, and what an overwrite is charged.
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

/// [limit.no-variables] Where there are to be none, nothing is stored, and all else works.
#[tokio::test]
async fn there_may_be_no_variables() {
    for limits in [
        InstanceLimits { var_bytes: 0, ..InstanceLimits::standard() },
        InstanceLimits { vars: 0, ..InstanceLimits::standard() },
    ] {
        let mut rig = rig(VARS, limits);
        assert_eq!(rig.call("get", "k").await, "output ");
        assert_eq!(rig.call("set", "k").await, "output ", "deleting is nothing");
        let refused = rig.call("set", "kv").await;
        assert!(
            refused == "limit bytes of variables 50 > 0" || refused == "limit variables 1 > 0",
            "{refused}"
        );
        assert_eq!(rig.call("get", "k").await, "output ");
    }
}

/// [var.own] Two instances of one module have variables of their own.
#[tokio::test]
async fn variables_belong_to_an_instance() {
    let module = load::<()>(&assemble(VARS), &HostFunctions::new()).unwrap();
    let mut one = module.instance((), InstanceOptions::standard());
    let mut two = module.instance((), InstanceOptions::standard());
    one.call("set", b"kvalue", &CALL).await.unwrap();
    assert_eq!(two.call("get", b"k", &CALL).await.unwrap(), b"");
    assert_eq!(one.call("get", b"k", &CALL).await.unwrap(), b"value");
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

/// [log.threshold] [log.level] [log.empty] [log.lossy] [log.harmless] [owner.log] What is written, and as what.
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

/// [limit.log] Lines beyond the ceiling are counted and dropped.
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

/// [log.off] Where there is no log, no level is as high as the threshold.
#[tokio::test]
async fn a_log_that_is_off_says_so() {
    let module = load::<()>(&assemble(LOG), &HostFunctions::new()).unwrap();
    let mut instance = module.instance((), InstanceOptions::standard());
    let level = instance.call("level", &[], &CALL).await.unwrap();
    assert_eq!(level, i64::from(i32::MAX).to_le_bytes());
}

/// [log.levels] [log.level] [owner.log] Each level is a threshold, and has its number.
#[tokio::test]
async fn each_level_is_a_threshold() {
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    for (number, threshold) in [Trace, Debug, Info, Warn, Error].into_iter().enumerate() {
        let limits = InstanceLimits::standard();
        let mut rig = rig_with(&assemble(LOG), &HostFunctions::new(), (), limits, threshold);
        assert_eq!(rig.call("level", "").await, format!("number {number}"));
        rig.call("all", "").await;
        let levels: Vec<_> =
            rig.logged().iter().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(levels, ["Trace", "Debug", "Info", "Warn", "Error"][number..]);
        assert_eq!(rig.call("input", "freed").await, "number 0", "the block is freed whatever the threshold");
    }
}

/// [log.ends] [log.harmless] [log.lossy] Each line as the guest wrote it, and as it arrives.
#[tokio::test]
async fn lines_arrive_as_one_plain_line() {
    let mut rig = rig(LOG, InstanceLimits::standard());
    for (written, line) in [
        ("ends\r\n\n", "ends"),
        ("\ttab\t", "\ttab\t"),
        ("two\nlines", "two\\nlines"),
        ("\u{1b}[31mred\u{7}\u{9b}", "\\u{1b}[31mred\\u{7}\\u{9b}"),
        ("nul\0", "nul\\u{0}"),
        ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
        ("\u{202e}txt\u{2066}", "\\u{202e}txt\\u{2066}"),
        ("größer 🦀", "größer 🦀"),
    ] {
        rig.call("input", written).await;
        assert_eq!(rig.logged().last().unwrap(), &format!("Info: {line}"), "{written:?}");
    }
}

/// [log.failed-call] [limit.log] Lines are there although the call traps, and the bytes of a call are limited too.
#[tokio::test]
async fn a_call_that_fails_has_logged() {
    let guest = r#"(func (export "f") (call $log_warn (call $input_offset)) (call $log_info (call $fill (i32.const 6))) unreachable)"#;
    let limits = InstanceLimits { log_bytes: 10, ..InstanceLimits::standard() };
    let mut rig = rig(guest, limits);
    for _ in 0..2 {
        assert!(rig.call("f", "first").await.starts_with("trap"));
    }
    let cut = "Warn: 1 log lines (6 bytes) dropped, over the limit of 10000 lines and 10 bytes in a call";
    assert_eq!(rig.logged(), ["Warn: first", cut, "Warn: first", cut], "each call has its own");
}
