//! Reports of calls, the budgets of an instance's whole life, and cancel handles.

use std::collections::BTreeMap;
use std::time::Duration;

use hm_abi::{CallLimits, Instance, InstanceLimits, InstanceOptions, Module};

use crate::guest::{CALL, describe, rig};

/// [report.figures] A report tells fuel, time, memory, calls of the host by name, and bytes in and out.
#[tokio::test]
async fn a_report_tells_what_a_call_used() {
    let guest = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32))) ;; body
        (data (i32.const 0) "key")
        (func (export "f")
          (drop (memory.grow (i32.const 2)))
          (call $log_info (call $fill (i32.const 5)))
          (call $log_info (i64.const 0))
          (drop (call $config_get (call $text (i32.const 0) (i32.const 3))))
          (drop (call $yield))
          (call $free (call $alloc (i64.const 100000)))
          (call $put (call $input_offset)))"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    assert_eq!(rig.instance.report(), &hm_abi::Report::default());
    assert_eq!(rig.call("f", "12345678901").await, "output 12345678901");
    let report = rig.instance.report().clone();
    let calls = [("config_get", 1), ("log_info", 2), ("output_set", 1), ("sched_yield", 1)];
    assert_eq!(report.host_calls, BTreeMap::from(calls));
    assert_eq!((report.bytes_in, report.bytes_out), (11, 11));
    assert_eq!(report.memory_bytes, 3 * 65_536);
    assert_eq!(report.block_bytes, 100_011, "the input, and a block of 100,000 bytes");
    assert!(report.fuel_used > 2000 && report.fuel_used < 50_000, "{}", report.fuel_used);
    assert!(report.wall > Duration::ZERO);
}

/// [report.failures] A call that failed has a report too.
#[tokio::test]
async fn a_failed_call_has_a_report() {
    let guest = r#"(func (export "trap") (call $put (call $input_offset)) (call $log_warn (i64.const 0)) unreachable)
        (func (export "fail") (result i32) (i32.const 3))
        (func (export "spin") (loop $l (br $l)))"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    assert!(rig.call("trap", "abc").await.starts_with("trap "));
    let report = rig.instance.report();
    assert_eq!(report.host_calls, BTreeMap::from([("log_warn", 1), ("output_set", 1)]));
    assert_eq!((report.bytes_in, report.bytes_out), (3, 3));
    assert_eq!(rig.call("fail", "").await, "guest 3");
    assert!(rig.instance.report().host_calls.is_empty(), "counted anew");
    let poor = CallLimits { fuel: 10_000, ..CALL };
    assert_eq!(describe(&rig.instance.call("spin", b"", &poor).await), "out of fuel");
    assert_eq!(rig.instance.report().fuel_used, 10_000);
    assert_eq!(rig.call("missing", "").await, "error the plug-in has no function `missing`");
    assert_eq!(rig.instance.report(), &hm_abi::Report::default());
}

/// [limit.fuel-total] The fuel of all calls together has a ceiling.
#[tokio::test]
async fn fuel_has_a_ceiling_for_all_calls() {
    let guest = r#"(func (export "spin") (loop $l (br $l))) (func (export "f"))"#;
    let mut rig = rig(guest, InstanceLimits { fuel: 25_000, ..InstanceLimits::standard() });
    let some = CallLimits { fuel: 10_000, ..CALL };
    for expected in [
        "out of fuel",
        "out of fuel",
        "limit units of fuel in total 30000 > 25000",
        "limit units of fuel in total 35000 > 25000",
    ] {
        assert_eq!(describe(&rig.instance.call("spin", b"", &some).await), expected);
    }
}

/// [fuel.wasi] Calls of WASI cost fuel, also where the guest does nothing else.
#[tokio::test]
async fn calls_of_wasi_cost_fuel() {
    let guest = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32))) ;; body
        (func (export "ten") (local $i i32)
          (loop $l (drop (call $yield))
            (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10)))))
        (func (export "for ever") (loop $l (drop (call $yield)) (br $l)))"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    assert_eq!(rig.call("ten", "").await, "output ");
    let used = rig.instance.report().fuel_used;
    assert!(used > 5000 && used < 6000, "{used}");
    let poor = CallLimits { fuel: 4999, ..CALL };
    assert_eq!(describe(&rig.instance.call("ten", b"", &poor).await), "out of fuel");
    assert_eq!(rig.call("ten", "").await, "output ");
    let poor = CallLimits { fuel: 10_000_000, ..CALL };
    assert_eq!(describe(&rig.instance.call("for ever", b"", &poor).await), "out of fuel");
}

/// [cancel.handle] A handle ends the running call of its instance, and no other; without one it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_cancels_the_running_call() {
    let guest = r#"(global $n (mut i64) (i64.const 0))
        (func (export "spin") (call $error_set (call $input_offset)) (loop $l (br $l)))
        (func (export "count") (global.set $n (i64.add (global.get $n) (i64.const 1))) (call $number (global.get $n)))"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    let handle = rig.instance.cancel_handle();
    handle.cancel();
    assert_eq!(rig.call("count", "").await, "number 1", "a cancel without a call is forgotten");

    let wasm = crate::guest::assemble(guest);
    let module: Module<()> = crate::guest::load(&wasm, &hm_abi::HostFunctions::new()).unwrap();
    let mut neighbour: Instance<()> = module.instance((), InstanceOptions::standard());
    let endless = CallLimits { fuel: u64::MAX, deadline: Duration::from_secs(2) };
    let neighbour = tokio::spawn(async move { describe(&neighbour.call("spin", b"", &endless).await) });
    let patient = CallLimits { fuel: u64::MAX, deadline: Duration::from_secs(60) };
    let canceller = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        handle.cancel();
    });
    assert_eq!(describe(&rig.instance.call("spin", b"said", &patient).await), "cancelled [said]");
    canceller.await.unwrap();
    assert_eq!(neighbour.await.unwrap(), "timed out", "its neighbour ran on");
    assert_eq!(rig.call("count", "").await, "number 1", "a fresh instance");
}
