// A guest in AssemblyScript as its compiler builds it by default: with an import of `env.abort`, with globals that
// the start section fills, and with text that crosses byte by byte. The imports of the ABI are declared here.

// @ts-ignore: decorator
@external("extism:host/env", "alloc") declare function alloc(length: u64): u64;
// @ts-ignore: decorator
@external("extism:host/env", "length") declare function lengthOf(block: u64): u64;
// @ts-ignore: decorator
@external("extism:host/env", "load_u8") declare function loadByte(offset: u64): u8;
// @ts-ignore: decorator
@external("extism:host/env", "store_u8") declare function storeByte(offset: u64, value: u8): void;
// @ts-ignore: decorator
@external("extism:host/env", "input_length") declare function inputLength(): u64;
// @ts-ignore: decorator
@external("extism:host/env", "input_load_u8") declare function inputByte(index: u64): u8;
// @ts-ignore: decorator
@external("extism:host/env", "output_set") declare function outputSet(offset: u64, length: u64): void;
// @ts-ignore: decorator
@external("extism:host/env", "error_set") declare function errorSet(block: u64): void;
// @ts-ignore: decorator
@external("extism:host/env", "config_get") declare function configGet(key: u64): u64;
// @ts-ignore: decorator
@external("extism:host/env", "var_get") declare function varGet(key: u64): u64;
// @ts-ignore: decorator
@external("extism:host/env", "var_set") declare function varSet(key: u64, value: u64): void;
// @ts-ignore: decorator
@external("extism:host/env", "log_info") declare function logInfo(message: u64): void;
// @ts-ignore: decorator
@external("env", "scale") declare function scale(value: f64, by: i32): f64;

function block(text: string): u64 {
  const bytes = Uint8Array.wrap(String.UTF8.encode(text));
  const offset = alloc(bytes.length);
  for (let i = 0; i < bytes.length; i++) storeByte(offset + i, bytes[i]);
  return offset;
}

function textOf(offset: u64): string {
  const bytes = new Uint8Array(<i32>lengthOf(offset));
  for (let i = 0; i < bytes.length; i++) bytes[i] = loadByte(offset + i);
  return String.UTF8.decode(bytes.buffer);
}

function input(): string {
  const bytes = new Uint8Array(<i32>inputLength());
  for (let i = 0; i < bytes.length; i++) bytes[i] = inputByte(i);
  return String.UTF8.decode(bytes.buffer);
}

function output(text: string): void {
  const out = block(text);
  outputSet(out, lengthOf(out));
}

// Both are made by the start section, one of them with a call of the host.
const started = new Map<string, i32>();
started.set("started", 1);
logInfo(block("starting with " + textOf(configGet(block("greeting")))));

export function globals(): i32 {
  started.set("calls", started.has("calls") ? started.get("calls") + 1 : 1);
  output(started.get("started").toString() + " start, " + started.get("calls").toString() + " calls");
  return 0;
}

export function countVowels(): i32 {
  const text = input();
  let count = 0;
  for (let i = 0; i < text.length; i++) if ("aeiouAEIOU".includes(text.charAt(i))) count++;
  output('{"count":' + count.toString() + "}");
  return 0;
}

export function upper(): void {
  output(input().toUpperCase());
}

export function counter(): i32 {
  const stored = varGet(block("count"));
  const count = (stored == 0 ? 0 : I32.parseInt(textOf(stored))) + 1;
  varSet(block("count"), block(count.toString()));
  output(count.toString());
  return 0;
}

export function fail(): i32 {
  errorSet(block("failed: " + input()));
  return 3;
}

export function throws(): i32 {
  if (inputLength() > 0) throw new Error("no: " + input());
  return 0;
}

export function outOfBounds(): i32 {
  const bytes = new Uint8Array(<i32>inputLength());
  return bytes[bytes.length];
}

export function scaled(): i32 {
  output(scale(F64.parseFloat(input()), -2).toString());
  return 0;
}
