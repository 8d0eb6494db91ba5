//! Amplification: values that a guest hands over once and the host might hold many times.

use hm_abi::{HostFunction, HostFunctions, InstanceLimits, LogLevel, USER_MODULE};

use crate::guest::{assemble, rig, rig_with};

/// [host.argument-bytes] The arguments of one call are no more bytes than Extism memory may have, also where all are
/// the same block.
#[tokio::test]
async fn arguments_are_bounded_together() {
    let mut host = HostFunctions::<()>::new();
    let name = "five";
    let five =
        HostFunction { module: USER_MODULE, name, params: 5, returns: false, fuel: 0, fuel_per_byte: 0 };
    host.define(five, |(), _| Box::pin(async { Ok(Vec::new()) }));
    let guest = r#"(import "extism:host/user" "five" (func $five (param i64 i64 i64 i64 i64))) ;; body
        (func (export "f") (local $b i64)
          (local.set $b (call $input_offset))
          (call $five (local.get $b) (local.get $b) (local.get $b) (local.get $b) (local.get $b)))"#;
    let limits = InstanceLimits { memory_bytes: 1000, ..InstanceLimits::standard() };
    let mut rig = rig_with(&assemble(guest), &host, (), limits, LogLevel::Info);
    assert_eq!(rig.call("f", &"x".repeat(200)).await, "output ");
    assert_eq!(rig.call("f", &"x".repeat(201)).await, "limit bytes of arguments 1005 > 1000");
}

/// [error.cut] An error message is cut off after 1 MiB.
#[tokio::test]
async fn an_error_message_is_cut_off() {
    let guest = r#"(func (export "f") (call $error_set (call $input_offset)))"#;
    let mut rig = rig(guest, InstanceLimits::standard());
    let long = "x".repeat(1024 * 1024);
    assert_eq!(rig.call("f", &format!("{long}yyy")).await, format!("guest -1 [{long}]"));
}
