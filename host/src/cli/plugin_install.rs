//! `hm plugin install`, `trust` and `remove`: lets plugins in and throws them out. What a plugin wants is shown, and
//! agreed to, first.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use super::args::{ConsentArgs, InstallArgs, RemoveArgs, TrustArgs};
use hm_disk::{read_regular, remove_if_there, sha256_hex};

use super::error::CliError;
use super::plugin_loading::{drain_diagnostics, isolated_loader};
use super::plugin_text::{difference, introduction};
use super::refusal::Refusal;
use super::terminal_output::{print, to_stderr};
use crate::pipeline::find_project;
use crate::plugin::{
    LoadError, Location, LockEntry, MAX_FILE, Origin, PluginSetError, PluginStore, Plugins, Trust,
    check_by_name, check_for_installing, file_name, is_digest,
};
use crate::sys::System;

/// Longest answer to a question.
const ANSWER: u64 = 100;

/// Installs a plugin for the user.
pub(super) async fn install(args: InstallArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let consent = Consent::read(&args.consent)?;
    let location = Location::parse(&args.from)?;
    let trust = Trust::read(&system.config, None)?;
    let wasm = location.fetch().await?;
    consent.check_pin(&location.shown(), &wasm)?;

    let place = |name: &str| Origin::User(PluginStore::path(&system.config, name));
    let origin = recorded(&location, &system);
    let (mut new, words) = inspect(&system, &trust, &origin, &wasm, &consent, place).await?;
    print(&words)?;
    let former = trust.lock.installed(&new.name);
    // A name is anybody's to take. What was granted to one plugin passes on to another only where that comes from the
    // same place.
    let same_place = former.is_some_and(|former| former.origin == new.origin);
    if let Some(former) = former.filter(|_| same_place) {
        new.by_name.extend(former.by_name.iter().cloned());
    }
    let agreed = match former {
        Some(former) if former.sha256 == new.sha256 && former.grants() == new.grants() => true,
        Some(former) => {
            let (words, wider) = difference(former, &new);
            let LockEntry { name, version, sha256, .. } = former;
            print(&format!("It takes the place of {name} {version}, sha256 {sha256}.\n{words}"))?;
            if !same_place {
                print(&format!("It comes from elsewhere: {}, and not {}.\n", new.origin, former.origin))?;
            }
            (same_place && !wider)
                || consent.confirm(&format!("Install {} {} and grant this?", new.name, new.version))?
        }
        None => consent.confirm(&format!("Install {} {} and grant this?", new.name, new.version))?,
    };
    if !agreed {
        return Err(Refusal::Declined.into());
    }
    let name = new.name.clone();
    let path = PluginStore::open(&system.config)?.install(new, &wasm, former)?;
    print(&format!("installed {name}: {}\n", path.display()))
}

/// Lets plugins of the project in, or takes that back.
pub(super) async fn trust(args: TrustArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    if args.revoke {
        return revoke(&args, &system);
    }
    let consent = Consent::read(&args.consent)?;
    let project =
        find_project(&system.current_dir, system.user)?.unwrap_or_else(|| system.current_dir.clone());
    let trust = Trust::read(&system.config, Some(&project))?;
    let files = project_files(&trust);
    let chosen: Vec<&PathBuf> = if args.names.is_empty() {
        files.iter().collect()
    } else {
        args.names.iter().map(|name| named(name, &files)).collect::<Result<_, _>>()?
    };
    if consent.pin.is_some() && chosen.len() != 1 {
        return Err(CliError::Usage("--pin is for one plugin; name it".into()));
    }
    if chosen.is_empty() {
        return print("this project has no plugins\n");
    }
    for path in chosen {
        trust_one(path, &consent, &trust, &system).await?;
    }
    Ok(0)
}

async fn trust_one(path: &Path, consent: &Consent, trust: &Trust, system: &System) -> Result<(), CliError> {
    let location = Location::File(path.into());
    let wasm = location.fetch().await?;
    consent.check_pin(&location.shown(), &wasm)?;
    let digest = sha256_hex(&wasm);
    trust.check_pins(&Origin::Project(path.into()), &file_name(path), &digest)?;
    let former = trust.lock.of(&digest);
    if let Some(former) = former.filter(|former| former.trusted)
        && consent.by_name.is_subset(&former.by_name)
    {
        print(&format!("{} {} is trusted already\n", former.name, former.version))?;
        return Ok(());
    }
    let place = |_: &str| Origin::Project(path.into());
    let (mut new, words) = inspect(system, trust, &location.shown(), &wasm, consent, place).await?;
    print(&words)?;
    if let Some(former) = former {
        new.by_name.extend(former.by_name.iter().cloned());
    }
    if let Some(before) = trust.lock.named(&new.name).find(|e| e.trusted && e.origin == new.origin) {
        let LockEntry { name, version, sha256, .. } = before;
        let words = difference(before, &new).0;
        print(&format!(
            "{name} {version}, sha256 {sha256}, is trusted already and stays so, too; hm plugin trust {name} --revoke takes all back.\n{words}"
        ))?;
    }
    if !consent.confirm(&format!("Trust {} {} in every project and grant this?", new.name, new.version))? {
        return Err(Refusal::Declined.into());
    }
    let name = new.name.clone();
    PluginStore::open(&system.config)?.trust(new)?;
    print(&format!("trusted {name}: {}\n", path.display()))?;
    Ok(())
}

fn revoke(args: &TrustArgs, system: &System) -> Result<u8, CliError> {
    if args.names.is_empty() {
        return Err(CliError::Usage("--revoke needs the name of a plugin".into()));
    }
    // Also where the file has another name than the plugin; and without a project.
    let project = find_project(&system.current_dir, system.user).unwrap_or_default();
    let trust = Trust::read(&system.config, project.as_deref())?;
    let files = project_files(&trust);
    for name in &args.names {
        let file = files.iter().find(|path| file_name(path) == *name);
        let bytes = file.and_then(|path| read_regular(path, MAX_FILE).ok());
        let digest = bytes.map(|bytes| sha256_hex(&bytes));
        let revoked = PluginStore::open(&system.config)?.revoke(name, digest.as_deref())?;
        if revoked == 0 {
            return Err(Refusal::NotTrusted { name: name.clone() }.into());
        }
        print(&format!("{name} is not trusted any more\n"))?;
    }
    Ok(0)
}

/// Removes a plugin of the user.
pub(super) async fn remove(args: RemoveArgs) -> Result<u8, CliError> {
    let system = System::read()?;
    let trust = Trust::read(&system.config, None)?;
    let Removable { path, name, others } = removable(&args.name, &trust, &system).await?;
    PluginStore::open(&system.config)?.remove(&name, &path)?;
    print(&format!("removed {name}: {}\n", path.display()))?;
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(|path| path.display().to_string()).collect();
        return print(&format!("there is still: {}\n", others.join(", ")));
    }
    let values = kv_file(&system.config, &name);
    if args.purge {
        let stored = values.exists();
        for file in [&values, &values.with_extension("lock")] {
            remove_if_there(file).map_err(|error| CliError::Write(error.source))?;
        }
        if stored {
            print(&format!("removed what it had stored: {}\n", values.display()))?;
        }
    } else if values.exists() {
        print(&format!("what it has stored stays: {}; --purge removes it\n", values.display()))?;
    }
    print(&format!("what it may have in the keyring stays, under hm/{name}/\n"))
}

/// Plugin file that is to be removed.
struct Removable {
    path: PathBuf,
    /// The plugin's name; that of the file, if other files are of the same plugin's name.
    name: String,
    /// Other files of the same plugin's name.
    others: Vec<PathBuf>,
}

/// The file of a plugin of the user, whether or not it can be loaded. It is meant by the name of the plugin or of the
/// file; with `.wasm`, which is in no plugin's name, by that of the file alone.
async fn removable(typed: &str, trust: &Trust, system: &System) -> Result<Removable, CliError> {
    let (stem, by_file) = typed.strip_suffix(".wasm").map_or((typed, false), |stem| (stem, true));
    let (loader, listener) = isolated_loader(system)?;
    let plugins = Plugins::load(&loader, trust).await;
    let loaded = plugins.loaded.iter().map(|plugin| {
        (plugin.name.to_string(), Some(plugin.digest.clone()), plugin.origin == Origin::BuiltIn)
    });
    let unloaded = plugins
        .unloaded
        .iter()
        .map(|unloaded| (unloaded.name.clone(), unloaded.digest.clone(), unloaded.origin == Origin::BuiltIn));
    let known: Vec<(String, Option<String>, bool)> = loaded.chain(unloaded).collect();
    // The listener ends when nobody is left who could say anything.
    drop((plugins, loader));
    drain_diagnostics(listener).await;

    // By its bytes, since those that are there twice are loaded once.
    let files =
        trust.files().into_iter().filter_map(|origin| origin.path().map(Path::to_owned)).map(|path| {
            let digest = read_regular(&path, MAX_FILE).ok().map(|bytes| sha256_hex(&bytes));
            let named =
                digest.and_then(|digest| known.iter().find(|(_, of, _)| of.as_ref() == Some(&digest)));
            (named.map_or_else(|| file_name(&path), |(name, ..)| name.clone()), path)
        });
    let files: Vec<(String, PathBuf)> = files.collect();
    let mut meant = files.iter().filter(|(name, path)| file_name(path) == stem || (!by_file && name == stem));
    let (name, path) = match (meant.next(), meant.next()) {
        (Some(one), None) => one.clone(),
        (Some(one), Some(other)) => {
            let files = [one, other].into_iter().chain(meant).map(|(_, path)| path.clone()).collect();
            return Err(Refusal::Several { name: typed.into(), files }.into());
        }
        // Its file has gone already.
        _ if trust.lock.installed(stem).is_some() => (stem.into(), PluginStore::path(&system.config, stem)),
        _ if known.iter().any(|(name, _, built_in)| name == stem && *built_in) => {
            return Err(Refusal::BuiltIn { name: stem.into() }.into());
        }
        _ => {
            let trusted = trust.lock.named(stem).any(|entry| entry.trusted);
            return Err(Refusal::NotInstalled { name: stem.into(), trusted }.into());
        }
    };
    let others = files.into_iter().filter(|(of, other)| *of == name && *other != path);
    let others: Vec<PathBuf> = others.map(|(_, other)| other).collect();
    let name = if others.is_empty() { name } else { file_name(&path) };
    Ok(Removable { path, name, others })
}

/// File of the values that a plugin stores.
pub(super) fn kv_file(config: &Path, name: &str) -> PathBuf {
    config.join("state").join(format!("{name}.kv"))
}

/// The user's consent to a plugin, as far as it was typed.
struct Consent {
    pin: Option<String>,
    yes: bool,
    by_name: BTreeSet<String>,
}

impl Consent {
    fn read(args: &ConsentArgs) -> Result<Self, CliError> {
        let pin = args.pin.as_ref().map(|pin| pin.to_ascii_lowercase());
        if pin.as_ref().is_some_and(|pin| !is_digest(pin)) {
            return Err(CliError::Usage("--pin takes a SHA-256: 64 hexadecimal digits".into()));
        }
        for name in &args.grant {
            check_by_name(name).map_err(|reason| CliError::Usage(format!("--grant: {reason}")))?;
        }
        Ok(Self { pin, yes: args.yes, by_name: args.grant.iter().cloned().collect() })
    }

    fn check_pin(&self, from: &str, wasm: &[u8]) -> Result<(), CliError> {
        let found = sha256_hex(wasm);
        match &self.pin {
            Some(pin) if *pin != found => {
                Err(Refusal::Pin { from: from.into(), found, pin: pin.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    /// True if the user agrees, who can be asked at a terminal only.
    fn confirm(&self, question: &str) -> Result<bool, CliError> {
        if self.yes {
            return Ok(true);
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(Refusal::NoTerminal.into());
        }
        to_stderr(&format!("{question} [y/N] "));
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        let read = stdin.lock().take(ANSWER).read_line(&mut answer);
        read.map_err(|source| CliError::Input { from: "the terminal".into(), source })?;
        if !answer.ends_with('\n') {
            // Ctrl-D ends no line.
            to_stderr("\n");
        }
        Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
    }
}

/// Reads what a plugin says of itself, in an instance with no grants, and checks whether it could be let in: the entry
/// that it would get, and what there is to tell about it.
async fn inspect(
    system: &System,
    trust: &Trust,
    from: &str,
    wasm: &[u8],
    consent: &Consent,
    place: impl Fn(&str) -> Origin,
) -> Result<(LockEntry, String), CliError> {
    let (loader, listener) = isolated_loader(system)?;
    let candidate = loader.inspect(from, wasm).await?;
    let manifest = candidate.manifest.clone();
    let refused = |reason| LoadError::Manifest { plugin: from.into(), reason };
    check_for_installing(&manifest).map_err(refused)?;
    let mut new = LockEntry::new(&manifest, candidate.digest.clone(), from.into());
    new.by_name = consent.by_name.difference(&new.functions).cloned().collect();
    let words = introduction(&manifest, &new, &candidate.undeclared());

    let (origin, setting) = (place(&new.name), trust.settings.of(&new.name));
    trust.check_pins(&origin, &new.name, &new.sha256)?;
    let disabled = setting.disabled_by.is_some();
    let plugin = loader.grant(candidate, origin, Some(new.grants()), setting)?;
    let plugins = Plugins::load(&loader, trust).await;
    let conflict = plugins.conflict_with(plugin).filter(|_| !disabled);
    drop((plugins, loader));
    drain_diagnostics(listener).await;
    match conflict {
        Some(conflict) => Err(PluginSetError::Conflict(conflict).into()),
        None => Ok((new, words)),
    }
}

/// Origin of a plugin, as the lock file says it.
fn recorded(location: &Location, system: &System) -> String {
    match location {
        Location::File(path) => {
            let typed = || system.current_dir.join(path);
            std::fs::canonicalize(typed()).unwrap_or_else(|_| typed()).display().to_string()
        }
        Location::Url(_) => location.shown(),
    }
}

/// The files of the project's plugins.
fn project_files(trust: &Trust) -> Vec<PathBuf> {
    let project = trust.files().into_iter().filter_map(|origin| match origin {
        Origin::Project(path) => Some(path),
        _ => None,
    });
    project.collect()
}

fn named<'a>(name: &str, files: &'a [PathBuf]) -> Result<&'a PathBuf, CliError> {
    files.iter().find(|path| file_name(path) == name).ok_or_else(|| {
        let known = files.iter().map(|path| file_name(path)).collect();
        Refusal::NotOfProject { name: name.into(), known }.into()
    })
}
