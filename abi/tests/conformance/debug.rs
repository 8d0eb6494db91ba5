//! Debug texts: an embedder's types that hold the crate's can derive `Debug`, whatever the data of an instance is.

use hm_abi::{Code, HostFunctions, InstanceOptions, Module, ModuleLimits, TypedFunction};

use crate::guest::ENGINE;

/// Data without `Debug`.
struct Opaque;

#[test]
fn all_that_an_embedder_holds_has_a_debug_text() {
    let wasm = wat::parse_str(r#"(module $greeter (func (export "greet")))"#).unwrap();
    let code = Code::compile(&ENGINE, &wasm, &ModuleLimits::standard()).unwrap();
    let mut host = HostFunctions::new();
    let declaration = TypedFunction { module: "mine", name: "look", fuel: 0, fuel_per_byte: 0 };
    host.define_typed(declaration, |_: &mut Opaque, (): ()| Box::pin(async { Ok(()) }));
    let module = Module::new(&ENGINE, &code, &[], &host).unwrap();
    let instance = module.instance(Opaque, InstanceOptions::standard());
    let code_text = r#"Code { name: Some("greeter"), .. }"#;
    let module_text = format!(r#"Module {{ main: {code_text}, functions: ["greet"], .. }}"#);
    assert_eq!(format!("{:?}", *ENGINE), "Engine { .. }");
    assert_eq!(format!("{code:?}"), code_text);
    assert_eq!(format!("{host:?}"), r#"HostFunctions([("mine", "look")])"#);
    assert_eq!(format!("{module:?}"), module_text);
    assert_eq!(format!("{instance:?}"), format!("Instance {{ module: {module_text}, started: false, .. }}"));
}
