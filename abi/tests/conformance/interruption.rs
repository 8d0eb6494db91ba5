//! Deadlines and cancellation, wherever the guest is at that moment.

use std::time::{Duration, Instant};

use hm_abi::{CallLimits, HostFunction, HostFunctions, InstanceLimits, LogLevel, USER_MODULE};

use crate::guest::{CALL, Rig, assemble, describe, rig_with};

/// Longer than any interruption takes, and much shorter than the guests would go on.
const HANG: Duration = Duration::from_secs(20);

const SHORT: CallLimits = CallLimits { fuel: u64::MAX, deadline: Duration::from_millis(100) };

/// Guests that go on for ever, or for an hour, when `f` is called.
const ENDLESS: &[(&str, &str)] = &[
    ("call", r#"(func (export "f") (loop $again (br $again)))"#),
    ("start function", r#"(func $start (loop $again (br $again))) (start $start) (func (export "f"))"#),
    ("initialiser", r#"(func (export "_initialize") (loop $again (br $again))) (func (export "f"))"#),
    ("recursion", r#"(func $f (export "f") (loop $again (call $g) (br $again))) (func $g)"#),
    ("imports", r#"(func (export "f") (loop $again (drop (call $length (i64.const 1))) (br $again)))"#),
    (
        "host function",
        r#"(import "extism:host/user" "sleep" (func $sleep)) ;; body
        (func (export "f") (call $sleep))"#,
    ),
    (
        "host function in an initialiser",
        r#"(import "extism:host/user" "sleep" (func $sleep)) ;; body
        (func (export "_initialize") (call $sleep)) (func (export "f"))"#,
    ),
    (
        // One subscription to the monotonic clock, an hour from now.
        "WASI sleep",
        r#"(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32))) ;; body
        (func (export "f")
          (i32.store (i32.const 16) (i32.const 1))
          (i64.store (i32.const 24) (i64.const 3600000000000))
          (if (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)) (then unreachable)))"#,
    ),
];

fn endless(guest: &str) -> Rig<u32> {
    let mut host = HostFunctions::new();
    let sleep = HostFunction {
        module: USER_MODULE,
        name: "sleep",
        params: 0,
        returns: false,
        fuel: 0,
        fuel_per_byte: 0,
    };
    host.define(sleep, |calls: &mut u32, _| {
        Box::pin(async move {
            *calls += 1;
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(Vec::new())
        })
    });
    let wasm = assemble(&format!(r#"{guest} (func (export "g") (call $put (call $input_offset)))"#));
    rig_with(&wasm, &host, 0, InstanceLimits::standard(), LogLevel::Info)
}

/// [deadline.everywhere] [result.deadline] Wherever the guest is.
#[tokio::test]
async fn the_deadline_ends_everything() {
    for (place, guest) in ENDLESS {
        let mut rig = endless(guest);
        let begin = Instant::now();
        assert_eq!(describe(&rig.instance.call("f", &[], &SHORT).await), "timed out", "{place}");
        assert!(begin.elapsed() < HANG, "{place}");
    }
}

/// [deadline.many] More endless guests than threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_deadline_holds_where_one_worker_has_many_guests() {
    let calls: Vec<_> = (0..4)
        .flat_map(|_| ENDLESS)
        .map(|(place, guest)| {
            tokio::spawn(async move {
                let mut rig = endless(guest);
                (place, describe(&rig.instance.call("f", &[], &SHORT).await))
            })
        })
        .collect();
    let begin = Instant::now();
    for call in calls {
        let (place, outcome) = call.await.unwrap();
        assert_eq!(outcome, "timed out", "{place}");
    }
    assert!(begin.elapsed() < HANG);
}

/// [result.deadline] [life.fresh-deadline] The guest's own error is told beside.
#[tokio::test]
async fn a_timeout_tells_the_error_the_guest_had_set_and_the_next_call_is_fresh() {
    let mut rig = endless(
        r#"(global $count (mut i64) (i64.const 0))
        (func (export "f") (global.set $count (i64.const 9)) (call $error_set (call $input_offset))
          (loop $again (br $again)))
        (func (export "count") (call $number (global.get $count)))"#,
    );
    assert_eq!(describe(&rig.instance.call("f", b"busy", &SHORT).await), "timed out [busy]");
    assert_eq!(rig.call("count", "").await, "number 0");
}

/// [cancel.dropped] [life.fresh-dropped] [life.data-stays] Wherever the guest is.
#[tokio::test]
async fn dropping_the_call_cancels_it_and_keeps_data_and_variables() {
    for (place, guest) in ENDLESS {
        let mut rig = endless(guest);
        *rig.instance.data_mut() += 10;
        let begin = Instant::now();
        let call = rig.instance.call("f", &[], &CallLimits { fuel: u64::MAX, ..CALL });
        let cancelled = tokio::time::timeout(Duration::from_millis(100), call).await;
        assert!(cancelled.is_err(), "{place}");
        assert!(begin.elapsed() < HANG, "{place}");
        let sleeps = u32::from(place.contains("host function"));
        assert_eq!(*rig.instance.data(), 10 + sleeps, "{place}");
        if !matches!(*place, "start function" | "initialiser" | "host function in an initialiser") {
            assert_eq!(rig.call("g", "fresh").await, "output fresh", "{place}");
        }
    }
}

/// [cancel.everywhere] [result.cancelled] [life.fresh-cancelled] [life.data-stays] Wherever the guest is.
#[tokio::test]
async fn a_handle_ends_everything() {
    for (place, guest) in ENDLESS {
        let mut rig = endless(guest);
        *rig.instance.data_mut() += 10;
        let handle = rig.instance.cancel_handle();
        let begin = Instant::now();
        let limits = CallLimits { fuel: u64::MAX, ..CALL };
        let (outcome, ()) = tokio::join!(rig.instance.call("f", b"", &limits), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            handle.cancel();
        });
        assert_eq!(describe(&outcome), "cancelled", "{place}");
        assert!(begin.elapsed() < HANG, "{place}");
        let sleeps = u32::from(place.contains("host function"));
        assert_eq!(*rig.instance.data(), 10 + sleeps, "{place}");
        if !matches!(*place, "start function" | "initialiser" | "host function in an initialiser") {
            assert_eq!(rig.call("g", "fresh").await, "output fresh", "{place}");
        }
    }
}

/// [cancel.idle] [result.cancelled] Between calls a cancel is nothing; in one it tells the error that was set.
#[tokio::test]
async fn a_cancel_between_calls_is_nothing() {
    let mut rig = endless(
        r#"(global $count (mut i64) (i64.const 0))
        (func (export "f") (call $error_set (call $input_offset)) (loop $again (br $again)))
        (func (export "count") (global.set $count (i64.add (global.get $count) (i64.const 1)))
          (call $number (global.get $count)))"#,
    );
    let handle = rig.instance.cancel_handle();
    handle.cancel();
    assert_eq!(rig.call("count", "").await, "number 1");
    handle.cancel();
    handle.clone().cancel();
    assert_eq!(rig.call("count", "").await, "number 2", "not even the wasm instance is another");
    let limits = CallLimits { fuel: u64::MAX, ..CALL };
    let (outcome, ()) = tokio::join!(rig.instance.call("f", b"busy", &limits), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        handle.cancel();
    });
    assert_eq!(describe(&outcome), "cancelled [busy]");
    assert_eq!(rig.call("count", "").await, "number 1");
}

/// [stop.alone] A neighbour counts on while others end by deadline and by being dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_one_leaves_its_neighbour_running() {
    let neighbour = tokio::spawn(async {
        let mut rig = endless(
            r#"(func (export "count") (local $i i64)
                (loop $again (br_if $again (i64.lt_u
                  (local.tee $i (i64.add (local.get $i) (i64.const 1))) (call $input_load_u64 (i64.const 0)))))
                (call $number (local.get $i)))"#,
        );
        let limits = CallLimits { fuel: u64::MAX, deadline: Duration::from_secs(300) };
        let result = rig.instance.call("count", &5_000_000_u64.to_le_bytes(), &limits).await;
        describe(&result)
    });
    for (place, guest) in ENDLESS {
        let mut rig = endless(guest);
        assert_eq!(describe(&rig.instance.call("f", &[], &SHORT).await), "timed out", "{place}");
        let call = rig.instance.call("f", &[], &CallLimits { fuel: u64::MAX, ..CALL });
        assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err(), "{place}");
    }
    assert_eq!(neighbour.await.unwrap(), "number 5000000");
}

/// [deadline.extremes] The shortest and the longest deadline.
#[tokio::test]
async fn no_time_at_all_is_a_timeout_and_all_the_time_is_none() {
    let mut rig = endless(ENDLESS[0].1);
    let none = CallLimits { deadline: Duration::ZERO, ..SHORT };
    assert_eq!(describe(&rig.instance.call("f", &[], &none).await), "timed out");
    let all = CallLimits { deadline: Duration::MAX, ..CALL };
    assert_eq!(describe(&rig.instance.call("g", b"x", &all).await), "output x");
}

/// [cancel.unpolled] A call is one from when its future is made: a cancel before the first poll ends it.
#[tokio::test]
async fn a_cancel_before_the_first_poll_ends_the_call() {
    let mut rig = endless(ENDLESS[0].1);
    let handle = rig.instance.cancel_handle();
    let call = rig.instance.call("f", b"", &SHORT);
    handle.cancel();
    assert_eq!(describe(&call.await), "cancelled");
    assert_eq!(rig.call("g", "next").await, "output next");
    // One that was never polled is none any more.
    drop(rig.instance.call("f", b"", &SHORT));
    handle.cancel();
    assert_eq!(rig.call("g", "next").await, "output next");
}
