//! Functions of the embedder, as guests see them.

use hm_abi::{
    Answer, CallLimits, FromBytes, HostError, HostFunction, HostFunctions, InstanceLimits, Json, LoadError,
    LogLevel, Number, ToBytes, TypedFunction, USER_MODULE, Undecoded,
};

use crate::guest::{CALL, Rig, assemble, describe, load, rig_with};

/// Arguments that the functions were called with.
type Calls = Vec<Vec<Vec<u8>>>;

const fn declare(name: &'static str, params: u8, returns: bool) -> HostFunction {
    HostFunction { module: USER_MODULE, name, params, returns, fuel: 1000, fuel_per_byte: 10 }
}

fn functions() -> HostFunctions<Calls> {
    let mut host = HostFunctions::new();
    for (name, params) in [("join0", 0), ("join1", 1), ("join2", 2), ("join3", 3), ("join4", 4), ("join5", 5)]
    {
        host.define(declare(name, params, true), |calls: &mut Calls, arguments| {
            Box::pin(async move {
                calls.push(arguments.clone());
                tokio::task::yield_now().await;
                Ok(arguments.join(&b'+'))
            })
        });
    }
    host.define(declare("note", 1, false), |calls: &mut Calls, arguments| {
        Box::pin(async move {
            calls.push(arguments);
            Ok(b"goes nowhere".to_vec())
        })
    })
    .define(declare("empty", 0, true), |_, _| Box::pin(async { Ok(Vec::new()) }))
    .define(declare("large", 0, true), |_, _| Box::pin(async { Ok(vec![b'x'; 1000]) }))
    .define(declare("deny", 0, false), |_, _| {
        Box::pin(async { Err(HostError::Denied { capability: "dir:docs".to_owned() }) })
    })
    .define(declare("limit", 0, false), |_, _| {
        Box::pin(async { Err(HostError::Limit { which: "sockets", asked: 9, allowed: 8 }) })
    })
    .define(declare("reject", 0, false), |_, _| {
        Box::pin(async { Err(HostError::InvalidArgument("no such handle".to_owned())) })
    })
    .define(declare("fail", 0, false), |_, _| {
        Box::pin(async { Err(std::io::Error::other("the disk is full"))? })
    });
    host
}

const GUEST: &str = r#"
(import "extism:host/user" "join0" (func $join0 (result i64)))
(import "extism:host/user" "join1" (func $join1 (param i64) (result i64)))
(import "extism:host/user" "join2" (func $join2 (param i64 i64) (result i64)))
(import "extism:host/user" "join3" (func $join3 (param i64 i64 i64) (result i64)))
(import "extism:host/user" "join4" (func $join4 (param i64 i64 i64 i64) (result i64)))
(import "extism:host/user" "join5" (func $join5 (param i64 i64 i64 i64 i64) (result i64)))
(import "extism:host/user" "note" (func $note (param i64)))
(import "extism:host/user" "empty" (func $empty (result i64)))
(import "extism:host/user" "large" (func $large (result i64)))
(import "extism:host/user" "deny" (func $deny))
(import "extism:host/user" "limit" (func $limit))
(import "extism:host/user" "reject" (func $reject))
(import "extism:host/user" "fail" (func $fail))
;; body
(global $a (mut i64) (i64.const 0)) (global $b (mut i64) (i64.const 0))
(func $letters (global.set $a (call $fill (i32.const 1))) (global.set $b (call $fill (i32.const 2))))
(func (export "join0") (call $put (call $join0)))
(func (export "join1") (call $put (call $join1 (call $input_offset))))
(func (export "join2") (call $letters) (call $put (call $join2 (call $input_offset) (global.get $b))))
(func (export "join3") (call $letters)
  (call $put (call $join3 (global.get $a) (i64.const 0) (global.get $b))))
(func (export "join4") (call $letters)
  (call $put (call $join4 (global.get $a) (global.get $b) (global.get $a) (call $input_offset))))
(func (export "join5") (call $letters)
  (call $put (call $join5 (global.get $a) (i64.const 0) (global.get $a) (global.get $b) (call $input_offset))))
(func (export "note") (call $note (call $input_offset)) (call $number (call $input_length)))
(func (export "empty") (call $number (call $empty)))
(func (export "large") (call $number (call $length (call $large))))
(func (export "pdk_order") (local $result i64)
  (call $letters)
  (local.set $result (call $join2 (global.get $a) (global.get $b)))
  (call $free (global.get $a)) (call $free (global.get $b))
  (call $put (local.get $result)))
(func (export "forged") (drop (call $join1 (i64.const 99))))
(func (export "interior") (drop (call $join1 (i64.add (call $fill (i32.const 3)) (i64.const 1)))))
(func (export "deny") (call $deny))
(func (export "limit") (call $limit))
(func (export "reject") (call $reject))
(func (export "fail") (call $error_set (call $input_offset)) (call $fail))
"#;

fn rig() -> Rig<Calls> {
    rig_with(&assemble(GUEST), &functions(), Vec::new(), InstanceLimits::standard(), LogLevel::Info)
}

/// [host.arguments] [host.result] [host.empty] [host.bytes] [owner.argument] [owner.late-free] From none to five
/// arguments.
#[tokio::test]
async fn arguments_and_results() {
    let mut rig = rig();
    for (export, input, expected) in [
        ("join0", "", "output "),
        ("join1", "one", "output one"),
        ("join1", "", "output "),
        ("join2", "in", "output in+xx"),
        ("join3", "", "output x++xx"),
        ("join4", "in", "output x+xx+x+in"),
        ("join5", "in", "output x++x+xx+in"),
        ("note", "noted", "number 5"),
        ("empty", "", "number 0"),
        ("large", "", "number 1000"),
        ("pdk_order", "", "output x+xx"),
    ] {
        assert_eq!(rig.call(export, input).await, expected, "{export}");
    }
    let calls = rig.instance.data();
    assert_eq!(calls[1], [b"one".to_vec()]);
    assert_eq!(calls[2], [b"".to_vec()]);
    assert_eq!(calls[5], [b"x".to_vec(), b"xx".to_vec(), b"x".to_vec(), b"in".to_vec()]);
    assert_eq!(calls[7], [b"noted".to_vec()]);
}

/// [result.host] [result.denied] [result.limit] [life.data-stays] What a function of the host can end a call with.
#[tokio::test]
async fn failures_end_the_call_and_the_data_stays() {
    let mut rig = rig();
    rig.instance.data_mut().push(Vec::new());
    for (export, input, expected) in [
        ("forged", "", "trap `join1` was given offset 99, where no block starts"),
        ("interior", "", "trap `join1` was given offset 4097, where no block starts"),
        ("deny", "", "denied dir:docs"),
        ("limit", "", "limit sockets 9 > 8"),
        ("reject", "", "trap `reject`: no such handle"),
        ("fail", "", "host fail: the disk is full"),
        ("fail", "broken", "host fail: the disk is full [broken]"),
    ] {
        assert_eq!(rig.call(export, input).await, expected, "{export}");
    }
    assert_eq!(rig.instance.data().len(), 1);
    assert_eq!(rig.call("join1", "still there").await, "output still there");
}

/// [fuel.host] As it was declared.
#[tokio::test]
async fn each_call_and_each_byte_costs_fuel() {
    let mut rig = rig();
    let mut used = async |export, input: &[u8]| {
        rig.instance.call(export, input, &CALL).await.unwrap();
        rig.instance.report().fuel_used
    };
    let (short, long) = (used("join1", b"a").await, used("join1", &[b'a'; 101]).await);
    // 100 bytes more, paid on the way in and on the way out, and copied to the output.
    assert_eq!(long - short, 100 * 10 * 2 + 100 / 8);
    assert!(short > 1000);

    let poor = CallLimits { fuel: 500, ..CALL };
    let before = rig.instance.data().len();
    let result = rig.instance.call("join1", b"a", &poor).await;
    assert_eq!(describe(&result), "out of fuel");
    assert_eq!(rig.instance.data().len(), before, "it is charged before it runs");
    let result = rig.instance.call("large", &[], &CallLimits { fuel: 5000, ..CALL }).await;
    assert_eq!(describe(&result), "out of fuel", "a result costs by its size");
}

/// [host.later] The import has one function.
#[tokio::test]
async fn the_later_of_two_declarations_is_linked() {
    let mut host = functions();
    host.define(declare("join1", 1, true), |_, _| Box::pin(async { Ok(b"later".to_vec()) }));
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&assemble(GUEST), &host, Vec::new(), limits, LogLevel::Info);
    assert_eq!(rig.call("join1", "in").await, "output later");
}

/// [host.module] [host.type] [import.unknown] A module whose imports are not all there.
#[tokio::test]
async fn what_is_imported() {
    let module = load(&assemble(GUEST), &functions()).unwrap();
    let names = "join0 join1 join2 join3 join4 join5 note empty large deny limit reject fail";
    assert_eq!(module.host_imports(), names.split(' ').collect::<Vec<_>>());

    let result = load(&assemble(GUEST), &HostFunctions::<Calls>::new()).map(|_| ());
    assert!(matches!(result, Err(LoadError::UnknownImport { module, name, also })
        if module == USER_MODULE && name == "join0" && also.len() == 12 && also[0].name == "join1"));

    let mut host = functions();
    host.define(declare("join1", 2, true), |_, _| Box::pin(async { Ok(Vec::new()) }));
    let result = load(&assemble(GUEST), &host).map(|_| ());
    assert!(matches!(result, Err(LoadError::WrongImportType { message }) if message.contains("join1")));

    host.define(declare("join9", 9, true), |_, _| Box::pin(async { Ok(Vec::new()) }));
    let result = load(&assemble(GUEST), &host).map(|_| ());
    assert!(matches!(result, Err(LoadError::HostFunction { name, params: 9 }) if name == "join9"));
}

/// A function of the user module that notes what it was given, as Rust writes it, and gives it back.
fn define_echo<V>(host: &mut HostFunctions<Vec<String>>, name: &'static str)
where
    V: FromBytes + ToBytes + std::fmt::Debug,
{
    host.define_typed(typed(USER_MODULE, name), |seen: &mut Vec<String>, (value,): (V,)| {
        Box::pin(async move {
            tokio::task::yield_now().await;
            seen.push(format!("{value:?}"));
            Ok(value)
        })
    });
}

const fn typed(module: &'static str, name: &'static str) -> TypedFunction {
    TypedFunction { module, name, fuel: 1000, fuel_per_byte: 10 }
}

/// [host.bytes] [host.text] [host.bool] [host.four] [host.eight] [host.option] [host.json] [host.no-value] Each type
/// is given back as it came.
#[tokio::test]
async fn each_type_has_its_bytes() {
    let mut host = HostFunctions::new();
    define_echo::<Vec<u8>>(&mut host, "bytes");
    define_echo::<String>(&mut host, "string");
    define_echo::<bool>(&mut host, "bool");
    define_echo::<u32>(&mut host, "u32");
    define_echo::<i32>(&mut host, "i32");
    define_echo::<f32>(&mut host, "f32");
    define_echo::<u64>(&mut host, "u64");
    define_echo::<i64>(&mut host, "i64");
    define_echo::<f64>(&mut host, "f64");
    define_echo::<Option<u32>>(&mut host, "option");
    define_echo::<Json<Option<Vec<u8>>>>(&mut host, "json");
    let names = ["bytes", "string", "bool", "u32", "i32", "f32", "u64", "i64", "f64", "option", "json"];
    let imports = names.map(|name| {
        format!(r#"(import "extism:host/user" "{name}" (func ${name} (param i64) (result i64)))"#)
    });
    let exports = names
        .map(|name| format!(r#"(func (export "{name}") (call $put (call ${name} (call $input_offset))))"#));
    let guest = assemble(&format!("{};; body\n{}", imports.concat(), exports.concat()));
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&guest, &host, Vec::new(), limits, LogLevel::Info);

    let (four, eight) = (1.5_f32.to_le_bytes(), (-2.5_f64).to_le_bytes());
    let accepted: &[(&str, &[u8], &str)] = &[
        ("bytes", b"", "[]"),
        ("bytes", &[0, 255], "[0, 255]"),
        ("string", b"", "\"\""),
        ("string", "h\u{e9}\0".as_bytes(), "\"h\u{e9}\\0\""),
        ("bool", &[1], "true"),
        ("bool", &[0], "false"),
        ("u32", &[255, 255, 255, 255], "4294967295"),
        ("i32", &[254, 255, 255, 255], "-2"),
        ("f32", &four, "1.5"),
        ("u64", &[255; 8], "18446744073709551615"),
        ("i64", &[255; 8], "-1"),
        ("f64", &eight, "-2.5"),
        ("option", b"", "None"),
        ("option", &[7, 0, 0, 0], "Some(7)"),
        ("json", b"null", "Json(None)"),
        ("json", b"[104,105]", "Json(Some([104, 105]))"),
    ];
    for (name, bytes, value) in accepted {
        let expected = rig.instance.call("bytes", bytes, &CALL).await;
        let found = rig.instance.call(name, bytes, &CALL).await;
        assert_eq!(describe(&found), describe(&expected), "{name} {bytes:?}");
        assert_eq!(rig.instance.data().last().map(String::as_str), Some(*value), "{name} {bytes:?}");
    }
    // Written otherwise than read.
    for (name, bytes, expected) in [("bool", "a truth", "output \u{1}"), ("json", " [ ] ", "output []")] {
        assert_eq!(rig.call(name, bytes).await, expected);
    }

    rig.instance.data_mut().clear();
    let refused: &[(&str, &[u8], &str)] = &[
        ("string", &[b'a', 255], "invalid utf-8 sequence of 1 bytes from index 1"),
        ("bool", b"", "no byte where there should be a truth value"),
        ("u32", b"", "0 bytes where a number has 4"),
        ("u32", b"123", "3 bytes where a number has 4"),
        ("i32", b"12345", "5 bytes where a number has 4"),
        ("f32", b"12345678", "8 bytes where a number has 4"),
        ("u64", b"1234", "4 bytes where a number has 8"),
        ("i64", b"1234567", "7 bytes where a number has 8"),
        ("f64", b"123456789", "9 bytes where a number has 8"),
        ("option", b"1", "1 bytes where a number has 4"),
        ("json", b"", "EOF while parsing a value at line 1 column 0"),
        ("json", b"{}", "invalid type: map, expected a sequence at line 1 column 0"),
        ("json", b"[256]", "invalid value: integer `256`, expected u8 at line 1 column 4"),
        ("json", b"null null", "trailing characters at line 1 column 6"),
    ];
    for (name, bytes, reason) in refused {
        let found = describe(&rig.instance.call(name, bytes, &CALL).await);
        assert_eq!(found, format!("trap `{name}`: argument 1: {reason}"), "{bytes:?}");
    }
    assert_eq!(rig.instance.data().len(), 0, "a function never sees what is no value");
}

type Five = (Number<i32>, String, Number<f64>, Number<f32>, Json<Vec<u8>>);

fn typed_functions() -> HostFunctions<Calls> {
    let mut host = HostFunctions::new();
    host.define_typed(
        typed("host", "mult"),
        |_: &mut Calls, (Number(a), Number(b)): (Number<i64>, Number<i64>)| {
            Box::pin(async move { Ok(Number(a * b)) })
        },
    )
    .define_typed(typed("user", "half"), |_, (Number(a),): (Number<f32>,)| {
        Box::pin(async move { Ok(Number(a / 2.0)) })
    })
    .define_typed(typed("env", "seed"), |_, (): ()| Box::pin(async { Ok(Number(2.5_f64)) }))
    .define_typed(typed("env", "five"), |calls, (a, b, c, d, e): Five| {
        Box::pin(async move {
            calls.push(vec![format!("{} {b} {} {} {:?}", a.0, c.0, d.0, e.0).into_bytes()]);
            Ok(Number(a.0 * 2))
        })
    })
    .define_typed(typed(USER_MODULE, "drops"), |calls, (kept, ()): (Vec<u8>, ())| {
        Box::pin(async move {
            calls.push(vec![kept]);
            Ok(())
        })
    })
    .define_typed(typed(USER_MODULE, "none"), |_, (): ()| Box::pin(async { Ok(None::<String>) }))
    .define_typed(typed(USER_MODULE, "no_json"), |_, (): ()| {
        Box::pin(async { Ok(Json(std::collections::BTreeMap::from([([1_u8], 2_u8)]))) })
    });
    host
}

const TYPED_GUEST: &str = r#"
(import "host" "mult" (func $mult (param i64 i64) (result i64)))
(import "user" "half" (func $half (param f32) (result f32)))
(import "env" "seed" (func $seed (result f64)))
(import "env" "five" (func $five (param i32 i64 f64 f32 i64) (result i32)))
(import "extism:host/user" "drops" (func $drops (param i64 i64)))
(import "extism:host/user" "none" (func $none (result i64)))
(import "extism:host/user" "no_json" (func $no_json (result i64)))
;; body
(func (export "mult") (call $number (call $mult (i64.const -6) (i64.const 7))))
(func (export "half") (call $number (i64.trunc_f32_s (call $half (f32.const -9)))))
(func (export "seed") (call $number (i64.trunc_f64_s (f64.mul (f64.const 10) (call $seed)))))
(func (export "five") (call $number (i64.extend_i32_s (call $five (i32.const -100)
  (call $fill (i32.const 3)) (f64.const 0.5) (f32.const 0.25) (call $input_offset)))))
(func (export "drops") (call $drops (call $input_offset) (call $fill (i32.const 1))))
(func (export "forged") (call $drops (i64.const 0) (i64.const 99)))
(func (export "none") (call $number (call $none)))
(func (export "no_json") (drop (call $no_json)))
"#;

/// [host.numbers] [host.module] [host.unit] [host.result] Under several import modules.
#[tokio::test]
async fn numbers_by_value_and_blocks_side_by_side() {
    let host = typed_functions();
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&assemble(TYPED_GUEST), &host, Vec::new(), limits, LogLevel::Info);
    for (export, input, expected) in [
        ("mult", "", "number -42"),
        ("half", "", "number -4"),
        ("seed", "", "number 25"),
        ("five", "[3]", "number -200"),
        ("five", "", "trap `five`: argument 5: EOF while parsing a value at line 1 column 0"),
        ("drops", "kept", "output "),
        ("forged", "", "trap `drops` was given offset 99, where no block starts"),
        ("none", "", "number 0"),
        ("no_json", "", "host no_json: key must be a string"),
    ] {
        assert_eq!(rig.call(export, input).await, expected, "{export}");
    }
    assert_eq!(rig.instance.data(), &[[b"-100 xxx 0.5 0.25 [3]".to_vec()], [b"kept".to_vec()]]);
}

#[tokio::test]
async fn what_is_passed_by_value_costs_no_bytes() {
    let host = typed_functions();
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&assemble(TYPED_GUEST), &host, Vec::new(), limits, LogLevel::Info);
    let poor = CallLimits { fuel: 2000, ..CALL };
    assert_eq!(describe(&rig.instance.call("mult", b"", &poor).await), "number -42");
    assert_eq!(describe(&rig.instance.call("drops", &[b'x'; 100], &poor).await), "out of fuel");
    assert_eq!(rig.instance.data().len(), 0);
}

/// [host.type] [host.unused] One import of several declarations, with one wrong type in each way.
#[tokio::test]
async fn typed_imports_must_have_the_type_of_the_declaration() {
    let imports = [
        r#"(import "host" "mult" (func (param i64 i64) (result i64)))"#,
        r#"(import "host" "mult" (func (param i64 f64) (result i64)))"#,
        r#"(import "host" "mult" (func (param i64) (result i64)))"#,
        r#"(import "host" "mult" (func (param i64 i64)))"#,
        r#"(import "user" "half" (func (param f64) (result f32)))"#,
        r#"(import "env" "five" (func (param i64 i64 i64 i64 i64) (result i64)))"#,
        r#"(import "extism:host/user" "drops" (func (param i64 i64) (result i64)))"#,
    ];
    for (number, import) in imports.iter().enumerate() {
        let result = load(&wat::parse_str(format!("(module {import})")).unwrap(), &typed_functions());
        match result.map(|_| ()) {
            Ok(()) => assert_eq!(number, 0, "{import}"),
            Err(LoadError::WrongImportType { message }) => {
                let name = import.split('"').nth(3).unwrap();
                assert!(message.contains(name), "{message}");
            }
            Err(other) => panic!("{import}: {other}"),
        }
    }
}

/// [host.later] Whichever way they are declared.
#[tokio::test]
async fn a_typed_function_can_stand_in_for_one_of_bytes() {
    let mut host = functions();
    host.define_typed(typed(USER_MODULE, "join1"), |_, (text,): (Option<String>,)| {
        Box::pin(async move { Ok(text.map(|text| text.to_uppercase())) })
    });
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&assemble(GUEST), &host, Vec::new(), limits, LogLevel::Info);
    assert_eq!(rig.call("join1", "typed").await, "output TYPED");
    assert_eq!(rig.call("join1", "").await, "output ");

    host.define_typed(typed(USER_MODULE, "join1"), |_, (_,): (Number<f64>,)| Box::pin(async { Ok(()) }));
    let result = load(&assemble(GUEST), &host).map(|_| ());
    assert!(matches!(result, Err(LoadError::WrongImportType { message }) if message.contains("join1")));
}

/// A body sees a call before its arguments are read, how many bytes they are, and how many its answer is.
#[tokio::test]
async fn a_body_can_measure_what_comes_and_what_goes() {
    let mut host = functions();
    host.define_typed(
        typed(USER_MODULE, "join1"),
        |calls: &mut Calls, arguments: Undecoded<(Json<u32>,)>| {
            Box::pin(async move {
                calls.push(vec![arguments.byte_count().to_string().into_bytes()]);
                let (Json(number),) = arguments.decode().map_err(|(number, error)| {
                    HostError::InvalidArgument(format!("the embedder's words for {number}: {error}"))
                })?;
                let answer = (number * 2).encode().map_err(HostError::failed)?;
                calls.push(vec![answer.byte_count().to_string().into_bytes()]);
                Ok(answer)
            })
        },
    );
    let limits = InstanceLimits::standard();
    let mut rig = rig_with(&assemble(GUEST), &host, Vec::new(), limits, LogLevel::Info);
    assert_eq!(rig.call("join1", "50").await, "output d\0\0\0");
    let broken = rig.call("join1", "{").await;
    assert!(broken.starts_with("trap `join1`: the embedder's words for 1: invalid type: map"), "{broken}");
    assert_eq!(*rig.instance.data(), [[b"2"], [b"4"], [b"1"]]);
}

/// [host.shadow] AssemblyScript's `abort` is the embedder's if it declares one, and its other imports come with it.
#[tokio::test]
async fn a_declaration_stands_in_for_an_import_of_the_abi() {
    let mut host = HostFunctions::new();
    host.define_typed(
        typed("env", "abort"),
        |seen: &mut Vec<u32>, (_, _, line, column): (Number<u32>, Number<u32>, Number<u32>, Number<u32>)| {
            Box::pin(async move {
                seen.extend([line.0, column.0]);
                Ok(())
            })
        },
    )
    .define_typed(typed("env", "seed"), |_, (): ()| Box::pin(async { Ok(Number(7.0_f64)) }));
    let guest = r#"(import "env" "abort" (func $abort (param i32 i32 i32 i32)))
        (import "env" "seed" (func $seed (result f64))) ;; body
        (func (export "f") (call $abort (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 4))
          (call $number (i64.trunc_f64_s (call $seed))))"#;
    let mut rig = rig_with(&assemble(guest), &host, Vec::new(), InstanceLimits::standard(), LogLevel::Info);
    assert_eq!(rig.call("f", "").await, "number 7");
    assert_eq!(rig.instance.data(), &[3, 4]);
}
