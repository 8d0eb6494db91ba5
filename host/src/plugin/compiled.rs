//! Keeps compiled modules on disk, since compiling one takes longer than a whole small build. The cache is only ever a
//! shortcut: whatever is wrong with it, the module is compiled again.
//!
//! A file is `MAC (32 bytes) || artefact`, named by the digest of the original module and the engine's fingerprint. The
//! MAC is HMAC-SHA-256 over name and artefact with a key that only the user can read, kept outside the cache directory:
//! a file that was planted or damaged does not run.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hm_abi::{Code, Engine, ModuleLimits};
use hm_disk::{create_once, make_directory, read_regular, replace_file_unsynced};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::precompiled::{self, MAX_ARTEFACT};

type HmacSha256 = Hmac<Sha256>;

const MAC_LEN: usize = 32;
const KEY_LEN: usize = 32;

/// A directory of compiled modules and the key that authenticates them.
#[derive(Debug)]
pub(crate) struct ModuleCache {
    dir: PathBuf,
    key: Vec<u8>,
}

impl ModuleCache {
    /// Opens the cache in `dir`, with the key in the file `key`. Both are made if they are not there.
    ///
    /// # Errors
    /// The system says no; either belongs to another user, or could be changed by one.
    pub(crate) fn open(dir: &Path, key: &Path) -> io::Result<Self> {
        private_dir(dir)?;
        let key_dir = key.parent().ok_or_else(|| io::Error::other("the key needs a directory"))?;
        fs::create_dir_all(key_dir)?;
        Ok(Self { dir: dir.into(), key: read_or_make_key(key)? })
    }

    /// The code of the module with this digest, if it is here.
    pub(super) fn get(&self, engine: &Engine, digest: &str, limits: &ModuleLimits) -> Option<Code> {
        let artefact = self.read(&name(engine, digest))?;
        precompiled::load(engine, &artefact, limits).ok()
    }

    /// Keeps what the module with this digest was compiled to.
    pub(super) fn put(&self, engine: &Engine, digest: &str, artefact: &[u8]) {
        // Without room or permission the next start compiles again; nothing else depends on it.
        let _ = self.write(&name(engine, digest), artefact);
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut file = read_regular(&self.dir.join(name), MAX_ARTEFACT).ok()?;
        let (mac, artefact) = file.split_at_checked(MAC_LEN)?;
        self.mac(name, artefact)?.verify_slice(mac).ok()?;
        file.drain(..MAC_LEN);
        Some(file)
    }

    fn write(&self, name: &str, artefact: &[u8]) -> io::Result<()> {
        let mac = self.mac(name, artefact).ok_or_else(|| io::Error::other("the key cannot be used"))?;
        // No wait for the disk: of what a crash leaves, the MAC is wrong.
        let written = replace_file_unsynced(&self.dir.join(name), &[&mac.finalize().into_bytes(), artefact]);
        written.map_err(|error| error.source)
    }

    fn mac(&self, name: &str, artefact: &[u8]) -> Option<HmacSha256> {
        let mut mac = HmacSha256::new_from_slice(&self.key).ok()?;
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(artefact);
        Some(mac)
    }
}

/// The name of a file: what the module was, and what it was compiled for.
fn name(engine: &Engine, digest: &str) -> String {
    format!("{digest}-{}", engine.fingerprint())
}

/// Makes a directory that only the user can enter, or checks that it is one.
fn private_dir(dir: &Path) -> io::Result<()> {
    make_directory(dir).map_err(|error| error.source)?;
    // Asked of the name itself: a link would be a directory of whoever made the link.
    private(&fs::symlink_metadata(dir)?, dir)
}

fn private(metadata: &fs::Metadata, path: &Path) -> io::Result<()> {
    let owner = rustix::process::geteuid().as_raw();
    if metadata.uid() != owner || metadata.mode() & 0o077 != 0 || metadata.is_symlink() {
        return Err(io::Error::other(format!(
            "{} must belong to the user alone (mode 0700 or 0600)",
            path.display()
        )));
    }
    Ok(())
}

fn read_or_make_key(path: &Path) -> io::Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        private(&fs::symlink_metadata(path)?, path)?;
        let key = read_regular(path, KEY_LEN)?;
        if key.len() == KEY_LEN {
            Ok(key)
        } else {
            Err(io::Error::other(format!("{} is not a key", path.display())))
        }
    };
    match read() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
            // Two processes may get here at once: the first key stays, and both read that one.
            create_once(path, &key).map_err(|error| error.source)?;
            read()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use hm_abi::{HostFunctions, Module};

    use super::*;

    fn module(cache: &ModuleCache, engine: &Engine, answer: i32) -> Module<()> {
        let wasm =
            wat::parse_str(format!(r#"(module (func (export "f") (result i32) (i32.const {answer})))"#))
                .expect("WAT");
        let (digest, limits) = (hm_disk::sha256_hex(&wasm), ModuleLimits::standard());
        let code = cache.get(engine, &digest, &limits).unwrap_or_else(|| {
            let code = Code::compile(engine, &wasm, &limits).expect("a module");
            cache.put(engine, &digest, &code.serialize().expect("an artefact"));
            code
        });
        Module::new(engine, &code, &[], &HostFunctions::new()).expect("no imports")
    }

    async fn code(module: Module<()>) -> i32 {
        let mut instance = module.instance((), hm_abi::InstanceOptions::standard());
        match instance.call("f", b"", &crate::plugin::MANIFEST_CALL).await {
            Ok(_) => 0,
            Err(hm_abi::CallError::Guest { code, .. }) => code,
            Err(e) => panic!("{e}"),
        }
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(dir).expect("directory").map(|e| e.expect("entry").path()).collect();
        files.sort();
        files
    }

    #[tokio::test]
    async fn a_planted_or_damaged_file_does_not_run() {
        let dir = tempfile::tempdir().expect("directory");
        let (cache_dir, key) = (dir.path().join("modules"), dir.path().join("state/key"));
        let engine = Engine::new().expect("engine");
        let cache = ModuleCache::open(&cache_dir, &key).expect("cache");
        assert_eq!(code(module(&cache, &engine, 1)).await, 1);
        let [first] = &files(&cache_dir)[..] else { panic!("one file") };
        assert_eq!(code(module(&cache, &engine, 1)).await, 1);

        // Another module's artefact under this name: genuine code, but not for this name.
        assert_eq!(code(module(&cache, &engine, 2)).await, 2);
        let other = files(&cache_dir).into_iter().find(|f| f != first).expect("a second file");
        fs::copy(&other, first).expect("plant");
        assert!(cache.read(first.file_name().and_then(|n| n.to_str()).expect("name")).is_none());
        assert_eq!(code(module(&cache, &engine, 1)).await, 1);

        // One flipped bit, anywhere.
        let mut bytes = fs::read(first).expect("file");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(first, bytes).expect("damage");
        assert!(cache.read(first.file_name().and_then(|n| n.to_str()).expect("name")).is_none());

        // Another key: what was written with the old one is not trusted.
        fs::remove_file(&key).expect("key");
        let stranger = ModuleCache::open(&cache_dir, &key).expect("cache");
        assert!(stranger.read(other.file_name().and_then(|n| n.to_str()).expect("name")).is_none());
    }

    #[test]
    fn directories_and_keys_of_others_are_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let (cache_dir, key) = (dir.path().join("modules"), dir.path().join("key"));
        ModuleCache::open(&cache_dir, &key).expect("cache");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("mode");
        assert!(ModuleCache::open(&cache_dir, &key).is_err());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("mode");
        fs::set_permissions(&cache_dir, fs::Permissions::from_mode(0o755)).expect("mode");
        assert!(ModuleCache::open(&cache_dir, &key).is_err());
    }
}
