//! Guests without a loop, which pass none of the engine's ticks: long rows of calls of the host.

use std::time::{Duration, Instant};

use hm_abi::{CallLimits, InstanceLimits};

use crate::guest::{CALL, describe, rig};

/// Calls in a row: enough for minutes.
const CALLS: usize = 20_000;

/// [deadline.straight] The deadline also ends a guest that does nothing but call the host, without a loop; so does
/// its fuel.
#[tokio::test]
async fn rows_of_calls_end_at_the_deadline() {
    for (imports, call) in [
        (
            r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32))) ;; body"#,
            "(drop (call $random (i32.const 0) (i32.const 65536)))",
        ),
        (
            "",
            "(call $output_set (local.tee $block (call $alloc (i64.const 33554432))) (i64.const 33554432)) \
             (call $free (local.get $block))",
        ),
    ] {
        let guest = format!(r#"{imports} (func (export "f") (local $block i64) {})"#, call.repeat(CALLS));
        let mut rig = rig(&guest, InstanceLimits::standard());
        let input = vec![b'x'; 64 * 1024 * 1024];
        let short = CallLimits { fuel: u64::MAX, deadline: Duration::from_millis(200) };
        let begin = Instant::now();
        assert_eq!(describe(&rig.instance.call("f", &input, &short).await), "timed out", "{call}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{call}: {:?}", begin.elapsed());
        let poor = CallLimits { fuel: 100_000, ..CALL };
        assert_eq!(describe(&rig.instance.call("f", &input, &poor).await), "out of fuel", "{call}");
    }
}

/// [cancel.straight] Calls of WASI let others run, who may cancel.
#[tokio::test]
async fn a_row_of_calls_can_be_cancelled() {
    let guest = format!(
        r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32))) ;; body
        (func (export "f") {})"#,
        "(drop (call $random (i32.const 0) (i32.const 65536)))".repeat(CALLS)
    );
    let mut rig = rig(&guest, InstanceLimits::standard());
    let handle = rig.instance.cancel_handle();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        handle.cancel();
    });
    let patient = CallLimits { fuel: u64::MAX, deadline: Duration::from_secs(600) };
    assert_eq!(describe(&rig.instance.call("f", b"", &patient).await), "cancelled");
}
