//! A guest that calls any function of WASI with any arguments, in directories of the test; and what a test asks of it
//! most.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use hm_abi::{
    CallError, CallLimits, Directories, Directory, HostFunctions, Instance, InstanceLimits, InstanceOptions,
};

use crate::guest::load;
use crate::wasi::{FUNCTIONS, importing_all};

/// Place in the guest's memory of the data of a call, behind its arguments.
const DATA: u64 = 128;

/// Place in the guest's memory for answers, and then for their length.
pub(crate) const ANSWER: u64 = 32_768;
const ANSWER_BYTES: u64 = 16_384;

/// Rights to read, and to read and write.
pub(crate) const READ: u64 = 1 << 1;
pub(crate) const WRITE: u64 = READ | 1 << 6;

/// Flags of `path_open`.
pub(crate) const CREATE: u64 = 1;
pub(crate) const EXCLUSIVE: u64 = 4;
pub(crate) const TRUNCATE: u64 = 8;

/// Error numbers that functions answer with.
pub(crate) const BADF: u64 = 8;
pub(crate) const LOOP: u64 = 32;
pub(crate) const MFILE: u64 = 33;
pub(crate) const NOENT: u64 = 44;
pub(crate) const NOTSUP: u64 = 58;
pub(crate) const PERM: u64 = 63;
pub(crate) const XDEV: u64 = 75;

/// Limits that none of these calls meets unless it hangs.
pub(crate) const CALL: CallLimits = CallLimits { fuel: 1_000_000_000, deadline: Duration::from_secs(60) };

/// Each function of WASI under its name: arguments in slots of eight bytes, then data, in the input; the answer and the
/// memory at [`ANSWER`] in the output.
static GUEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let calls = FUNCTIONS.iter().filter(|(name, _)| *name != "proc_exit").map(|(name, letters)| {
        let arguments: String = letters
            .chars()
            .enumerate()
            .map(|(at, letter)| {
                let load = if letter == 'i' { "i32.load" } else { "i64.load" };
                format!(" ({load} (i32.const {}))", at * 8)
            })
            .collect();
        format!(r#"(func (export "{name}") (call $take) (call $give (call ${name}{arguments})))"#)
    });
    importing_all(
        r#"(import "extism:host/env" "input_length" (func $input_length (result i64)))
           (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
           (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
           (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
           (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))"#,
        &format!(
            r#"(func $take (local $i i32)
                 (memory.fill (i32.const {ANSWER}) (i32.const 0) (i32.const {ANSWER_BYTES}))
                 (block $done (loop $next
                   (br_if $done (i64.ge_u (i64.extend_i32_u (local.get $i)) (call $input_length)))
                   (i32.store8 (local.get $i) (call $input_load_u8 (i64.extend_i32_u (local.get $i))))
                   (local.set $i (i32.add (local.get $i) (i32.const 1)))
                   (br $next))))
               (func $give (param $answer i32) (local $block i64) (local $i i32)
                 (local.set $block (call $alloc (i64.const {})))
                 (call $store_u64 (local.get $block) (i64.extend_i32_u (local.get $answer)))
                 (loop $next
                   (call $store_u64
                     (i64.add (local.get $block) (i64.extend_i32_u (i32.add (local.get $i) (i32.const 8))))
                     (i64.load (i32.add (local.get $i) (i32.const {ANSWER}))))
                   (local.set $i (i32.add (local.get $i) (i32.const 8)))
                   (br_if $next (i32.lt_u (local.get $i) (i32.const {ANSWER_BYTES}))))
                 (call $output_set (local.get $block) (i64.const {})))
               (func (export "trap") unreachable)
               {}"#,
            ANSWER_BYTES + 8,
            ANSWER_BYTES + 8,
            calls.collect::<String>()
        ),
    )
});

/// An instance of the guest.
pub(crate) struct Files {
    pub(crate) instance: Instance<()>,
    pub(crate) limits: CallLimits,
}

/// A directory of the test, under a name.
pub(crate) fn directory(name: &str, path: &Path, writable: bool) -> Directory {
    let dir = Dir::open_ambient_dir(path, ambient_authority()).unwrap();
    Directory { path: name.to_owned(), dir, writable }
}

impl Files {
    pub(crate) fn new(directories: impl IntoIterator<Item = Directory>) -> Self {
        Self::with(directories, InstanceLimits::standard())
    }

    pub(crate) fn with(directories: impl IntoIterator<Item = Directory>, limits: InstanceLimits) -> Self {
        let directories = Directories::new(directories).unwrap();
        let module = load(&GUEST, &HostFunctions::new()).unwrap();
        let options = InstanceOptions { limits, directories, ..InstanceOptions::standard() };
        Self { instance: module.instance((), options), limits: CALL }
    }

    /// Calls a function: what it answers, and what is at [`ANSWER`] then.
    pub(crate) async fn try_call(
        &mut self,
        name: &str,
        arguments: &[u64],
        data: &[u8],
    ) -> Result<(u64, Vec<u8>), CallError> {
        let mut input: Vec<u8> = arguments.iter().flat_map(|argument| argument.to_le_bytes()).collect();
        input.resize(128, 0);
        input.extend_from_slice(data);
        let output = self.instance.call(name, &input, &self.limits).await?;
        let (answer, memory) = output.split_at(8);
        Ok((u64::from_le_bytes(answer.try_into().unwrap()), memory.to_vec()))
    }

    pub(crate) async fn call(&mut self, name: &str, arguments: &[u64], data: &[u8]) -> (u64, Vec<u8>) {
        self.try_call(name, arguments, data).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Opens a path, following links: the descriptor, or the error.
    pub(crate) async fn open(
        &mut self,
        directory: u64,
        path: &str,
        how: u64,
        rights: u64,
    ) -> Result<u64, u64> {
        let (at, length) = (DATA, length(path));
        let arguments = [directory, 1, at, length, how, rights, rights, 0, ANSWER];
        let (answer, memory) = self.call("path_open", &arguments, path.as_bytes()).await;
        if answer == 0 { Ok(number(&memory)) } else { Err(answer) }
    }

    /// Up to 8 KiB from where the descriptor is: the bytes, or the error.
    pub(crate) async fn read(&mut self, descriptor: u64) -> Result<Vec<u8>, u64> {
        let list = [ANSWER + 8, 8192].map(four).concat();
        let (answer, memory) = self.call("fd_read", &[descriptor, DATA, 1, ANSWER], &list).await;
        if answer == 0 { Ok(memory[8..8 + size(&memory)].to_vec()) } else { Err(answer) }
    }

    /// Writes bytes where the descriptor is: what it answers.
    pub(crate) async fn write(&mut self, descriptor: u64, bytes: &[u8]) -> u64 {
        self.try_write(descriptor, bytes).await.unwrap()
    }

    pub(crate) async fn try_write(&mut self, descriptor: u64, bytes: &[u8]) -> Result<u64, CallError> {
        let list = [DATA + 8, length(bytes)].map(four).concat();
        let data = [&list, bytes].concat();
        Ok(self.try_call("fd_write", &[descriptor, DATA, 1, ANSWER], &data).await?.0)
    }

    /// Content of a file, or the error number of reading it.
    pub(crate) async fn content(&mut self, directory: u64, path: &str) -> Result<String, u64> {
        let descriptor = self.open(directory, path, 0, READ).await?;
        let bytes = self.read(descriptor).await?;
        assert_eq!(self.call("fd_close", &[descriptor], b"").await.0, 0);
        Ok(String::from_utf8(bytes).unwrap())
    }

    /// A function that takes a directory and a path, with arguments before and after those.
    pub(crate) async fn path(&mut self, name: &str, before: &[u64], path: &str, after: &[u64]) -> u64 {
        let arguments = [before, &[DATA, length(path)], after].concat();
        self.call(name, &arguments, path.as_bytes()).await.0
    }

    /// Calls `path_rename` for one path.
    pub(crate) async fn rename(&mut self, (from, old): (u64, &str), (to, new): (u64, &str)) -> u64 {
        let (at, then) = (DATA, DATA + length(old));
        let arguments = [from, at, length(old), to, then, length(new)];
        self.call("path_rename", &arguments, [old, new].concat().as_bytes()).await.0
    }

    /// Calls `path_link` for one path.
    pub(crate) async fn link(&mut self, (from, old): (u64, &str), (to, new): (u64, &str)) -> u64 {
        let (at, then) = (DATA, DATA + length(old));
        let arguments = [from, 0, at, length(old), to, then, length(new)];
        self.call("path_link", &arguments, [old, new].concat().as_bytes()).await.0
    }

    /// Calls `path_symlink` for one path.
    pub(crate) async fn symlink(&mut self, target: &str, (directory, path): (u64, &str)) -> u64 {
        let (at, then) = (DATA, DATA + length(target));
        let arguments = [at, length(target), directory, then, length(path)];
        self.call("path_symlink", &arguments, [target, path].concat().as_bytes()).await.0
    }

    /// The names in a directory, in order.
    pub(crate) async fn names(&mut self, directory: u64) -> Vec<String> {
        let arguments = [directory, ANSWER + 8, ANSWER_BYTES - 8, 0, ANSWER];
        let (answer, memory) = self.call("fd_readdir", &arguments, b"").await;
        assert_eq!(answer, 0);
        let mut entries = &memory[8..8 + size(&memory)];
        let mut names = Vec::new();
        while !entries.is_empty() {
            let length = u32::from_le_bytes(entries[16..20].try_into().unwrap()) as usize;
            names.push(String::from_utf8(entries[24..24 + length].to_vec()).unwrap());
            entries = &entries[24 + length..];
        }
        names.sort();
        names
    }
}

fn length(bytes: impl AsRef<[u8]>) -> u64 {
    bytes.as_ref().len().try_into().unwrap()
}

fn four(number: u64) -> [u8; 4] {
    u32::try_from(number).unwrap().to_le_bytes()
}

fn size(memory: &[u8]) -> usize {
    number(memory).try_into().unwrap()
}

/// The u32 at the start of what is at [`ANSWER`].
pub(crate) fn number(memory: &[u8]) -> u64 {
    u32::from_le_bytes(memory[..4].try_into().unwrap()).into()
}
