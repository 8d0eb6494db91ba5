//! Ceilings: linear memory, tables, Extism memory, fuel.

use hm_abi::{CallLimits, HostFunctions, InstanceLimits, LogLevel};

use crate::guest::{CALL, describe, rig, rig_with};

/// [limit.pages] Beyond the ceiling, growing answers -1.
#[tokio::test]
async fn linear_memory_has_a_ceiling_on_its_total() {
    // The prelude's memory starts with one page and has no maximum of its own.
    let guest = r#"(func (export "grow") (call $number
        (i64.extend_i32_s (memory.grow (i32.wrap_i64 (call $input_length))))))"#;
    let mut rig = rig(guest, InstanceLimits { memory_pages: 4, ..InstanceLimits::standard() });
    for (pages, answer) in
        [("..", "number 1"), ("..", "number -1"), (".", "number 3"), (".", "number -1"), ("", "number 4")]
    {
        assert_eq!(rig.call("grow", pages).await, answer);
    }
}

/// [limit.no-leak] Growths that are refused leave the ceiling as it is.
#[tokio::test]
async fn a_growth_that_cannot_be_does_not_count() {
    let guest = r#"(func (export "grow") (call $number
        (i64.extend_i32_s (memory.grow (i32.wrap_i64 (call $input_load_u64 (i64.const 0)))))))"#;
    let mut rig = rig(guest, InstanceLimits { memory_pages: 4, ..InstanceLimits::standard() });
    let huge = std::str::from_utf8(&[0, 0, 1, 0, 0, 0, 0, 0]).unwrap();
    let three = std::str::from_utf8(&[3, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let one = std::str::from_utf8(&[1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    for (pages, answer) in [
        (huge, "number -1"),
        (three, "number 1"),
        (huge, "number -1"),
        (one, "number -1"),
        (one, "number -1"),
    ] {
        assert_eq!(rig.call("grow", pages).await, answer);
    }
}

/// [limit.elements] [limit.no-leak] All tables together have one ceiling.
#[tokio::test]
async fn tables_have_a_ceiling_on_their_total() {
    let guest = r#"(table $a 2 funcref) (table $b 2 5 funcref)
        (func (export "a") (call $number (i64.extend_i32_s
          (table.grow $a (ref.null func) (i32.wrap_i64 (call $input_length))))))
        (func (export "b") (call $number (i64.extend_i32_s
          (table.grow $b (ref.null func) (i32.wrap_i64 (call $input_length))))))"#;
    let mut rig = rig(guest, InstanceLimits { table_elements: 12, ..InstanceLimits::standard() });
    // The fourth element is one too many for table `b` itself, and does not count for the total.
    for (table, elements, answer) in [
        ("a", "...", "number 2"),
        ("b", "....", "number -1"),
        ("b", "...", "number 2"),
        ("a", "...", "number -1"),
        ("a", "..", "number 5"),
    ] {
        assert_eq!(rig.call(table, elements).await, answer);
    }
}

/// [limit.own-maximum] The memory's own maximum can be reached, and not passed.
#[tokio::test]
async fn memory_grows_up_to_its_declared_maximum() {
    let wasm = wat::parse_str(
        r#"(module (memory 1 3)
            (func (export "one") (result i32) (i32.add (memory.grow (i32.const 1)) (i32.const 100)))
            (func (export "three") (result i32) (i32.add (memory.grow (i32.const 3)) (i32.const 100))))"#,
    )
    .unwrap();
    // What the memory's own maximum refuses does not count for the total.
    let limits = InstanceLimits { memory_pages: 4, ..InstanceLimits::standard() };
    let mut rig = rig_with(&wasm, &HostFunctions::new(), (), limits, LogLevel::Info);
    for (export, answer) in
        [("three", "guest 99"), ("one", "guest 101"), ("one", "guest 102"), ("one", "guest 99")]
    {
        assert_eq!(rig.call(export, "").await, answer);
    }
}

/// [limit.fresh] What the memory of an earlier wasm instance had does not count.
#[tokio::test]
async fn a_fresh_instance_has_the_whole_ceiling() {
    let guest = r#"(func (export "grow") (call $number (i64.extend_i32_s (memory.grow (i32.const 3)))))
        (func (export "trap") unreachable)"#;
    let mut rig = rig(guest, InstanceLimits { memory_pages: 4, ..InstanceLimits::standard() });
    for _ in 0..2 {
        assert_eq!(rig.call("grow", "").await, "number 1");
        assert_eq!(rig.call("grow", "").await, "number -1");
        rig.call("trap", "").await;
    }
}

/// [limit.start] Memory and table that a module starts with have to fit.
#[tokio::test]
async fn an_instance_that_starts_over_its_ceiling_is_refused() {
    let guest = r#"(table 20 funcref) (func (export "f"))"#;
    let small = InstanceLimits { memory_pages: 0, ..InstanceLimits::standard() };
    assert_eq!(rig(guest, small).call("f", "").await, "limit bytes of linear memory 65536 > 0");
    let small = InstanceLimits { table_elements: 10, ..InstanceLimits::standard() };
    assert_eq!(rig(guest, small).call("f", "").await, "limit table elements 20 > 10");
}

/// [limit.blocks] [limit.input] [alloc.ceiling] Bytes and number of live blocks.
#[tokio::test]
async fn extism_memory_has_a_ceiling() {
    let guest = r#"(func (export "alloc") (drop (call $alloc (i64.const 60))))
        (func (export "twice") (drop (call $alloc (i64.const 60))) (drop (call $alloc (i64.const 60))))
        (func (export "freed") (call $free (call $alloc (i64.const 60))) (drop (call $alloc (i64.const 60))))
        (func (export "many") (loop $again (drop (call $alloc (i64.const 1))) (br $again)))"#;
    let mut rig = rig(guest, InstanceLimits { memory_bytes: 100, blocks: 10, ..InstanceLimits::standard() });
    for (export, expected) in [
        ("alloc", "output "),
        ("twice", "limit bytes of Extism memory 120 > 100"),
        ("freed", "output "),
        ("many", "limit blocks of Extism memory 11 > 10"),
    ] {
        assert_eq!(rig.call(export, "").await, expected, "{export}");
    }
    let long = "x".repeat(101);
    assert_eq!(rig.call("alloc", &long).await, "limit bytes of Extism memory 101 > 100", "the input counts");
}

/// [limit.answers] A block that the host makes has to fit like one of the guest's.
#[tokio::test]
async fn what_the_host_answers_counts() {
    let guest = r#"(func (export "config") (drop (call $config_get (call $input_offset))))
        (func (export "set") (call $var_set (i64.const 0) (call $input_offset)))
        (func (export "get") (drop (call $alloc (i64.const 5))) (drop (call $var_get (i64.const 0))))"#;
    let mut rig = rig(guest, InstanceLimits { memory_bytes: 8, blocks: 1, ..InstanceLimits::standard() });
    assert_eq!(
        rig.call("config", "greeting").await,
        "output ",
        "the key is freed before the value is placed"
    );
    assert_eq!(rig.call("set", "four").await, "output ");
    assert_eq!(rig.call("get", "").await, "limit bytes of Extism memory 9 > 8");
    assert_eq!(rig.call("set", "one").await, "output ");
    assert_eq!(rig.call("get", "").await, "limit blocks of Extism memory 2 > 1");
}

/// [limit.fixed] A memory that cannot grow is one like any other, at the ceiling too.
#[tokio::test]
async fn a_memory_may_be_of_fixed_size() {
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 4 4)
            (func (export "grow") (result i32) (memory.grow (i32.const 1)))
            (func (export "none") (result i32) (memory.grow (i32.const 0)))
            (func (export "last") (result i32) (i32.load8_u (i32.const 262143))))"#,
    )
    .unwrap();
    let limits = InstanceLimits { memory_pages: 4, ..InstanceLimits::standard() };
    let mut rig = rig_with(&wasm, &HostFunctions::new(), (), limits, LogLevel::Info);
    for (export, answer) in
        [("last", "output "), ("grow", "guest -1"), ("none", "guest 4"), ("grow", "guest -1")]
    {
        assert_eq!(rig.call(export, "").await, answer, "{export}");
    }
}

/// [fuel.everywhere] [result.fuel] Start functions, initialisers, functions and imports.
#[tokio::test]
async fn fuel_bounds_start_initialiser_call_and_imports() {
    let forever = "(loop $again (br $again))";
    let poor = CallLimits { fuel: 100_000, ..CALL };
    for guest in [
        format!(r#"(func (export "f") {forever})"#),
        format!(r#"(func $start {forever}) (start $start) (func (export "f"))"#),
        format!(r#"(func (export "_initialize") {forever}) (func (export "f"))"#),
        format!(r#"(func (export "__wasm_call_ctors") {forever}) (func (export "f"))"#),
        r#"(func (export "f") (loop $again (call $log_info (i64.const 0)) (br $again)))"#.to_owned(),
        r#"(func (export "f") (loop $again (call $free (call $alloc (i64.const 1000000))) (br $again)))"#
            .to_owned(),
        r#"(func (export "f") (loop $again (drop (call $var_get (i64.const 0))) (br $again)))"#.to_owned(),
    ] {
        let mut rig = rig(&guest, InstanceLimits::standard());
        assert_eq!(describe(&rig.instance.call("f", &[], &poor).await), "out of fuel", "{guest}");
    }
}

/// [result.fuel] [result.limit] The guest's own error is told beside.
#[tokio::test]
async fn a_set_error_is_told_beside_a_limit_and_the_end_of_fuel() {
    let guest = r#"(func (export "fuel") (call $error_set (call $input_offset)) (loop $again (br $again)))
        (func (export "limit") (call $error_set (call $input_offset)) (drop (call $alloc (i64.const -1))))"#;
    let mut rig = rig(guest, InstanceLimits { memory_bytes: 10, ..InstanceLimits::standard() });
    let poor = CallLimits { fuel: 100_000, ..CALL };
    assert_eq!(describe(&rig.instance.call("fuel", b"broken", &poor).await), "out of fuel [broken]");
    let limit = "limit bytes of Extism memory 18446744073709551615 > 10 [broken]";
    assert_eq!(rig.call("limit", "broken").await, limit);
}
