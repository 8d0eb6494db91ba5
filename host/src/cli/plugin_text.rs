//! Words about a plugin for whoever decides about it: what it provides, asks for and may do. Nothing is decided here.

use std::collections::BTreeSet;
use std::fmt::Write;

use hm_plugin_protocol::PluginManifest;

use crate::host_functions::{AccessEntry, HostFn, RequiredGrant};
use crate::plugin::{LockEntry, provided};

/// Most characters of a description.
const DESCRIPTION: usize = 300;

/// All that somebody who lets a plugin in should know: what it is, what it provides, what it asks for, what it will be
/// denied.
pub(super) fn introduction(manifest: &PluginManifest, new: &LockEntry, undeclared: &[String]) -> String {
    let mut text = format!("{} {}\n", new.name, new.version);
    let provides: Vec<&str> = new.provides.iter().map(String::as_str).collect();
    for (label, value) in [
        ("about", line(&manifest.description)),
        ("from", plain(&new.origin)),
        ("sha256", new.sha256.clone()),
        ("provides", if provides.is_empty() { "nothing".into() } else { provides.join(", ") }),
    ] {
        let _ = writeln!(text, "  {label:<10} {value}");
    }
    let denied: BTreeSet<String> =
        undeclared.iter().filter(|name| !new.by_name.contains(*name)).cloned().collect();
    list(&mut text, "It asks to", &new.functions, function);
    list(&mut text, "It asks to reach", &new.reach, reach);
    list(&mut text, "It does not ask for this, and you grant it by name", &new.by_name, function);
    let heading =
        "It imports this without asking for it, so that using it ends in a denial (--grant allows it)";
    list(&mut text, heading, &denied, function);
    if new.functions.is_empty() && new.reach.is_empty() {
        text.push_str("It asks for nothing.\n");
    }
    text
}

/// Words for the things that a new version wants beyond an old one or no more; and true if it wants more.
pub(super) fn difference(old: &LockEntry, new: &LockEntry) -> (String, bool) {
    let mut text = String::new();
    let mut wider = false;
    let mut compare =
        |what: &str, old: &BTreeSet<String>, new: &BTreeSet<String>, shown: fn(&str) -> String| {
            let (more, less) = (new - old, old - new);
            // What needs no grant is no reason to ask anybody.
            wider |= more.iter().any(|name| !is_harmless(name));
            list(&mut text, &format!("What it {what} now, and did not before"), &more, shown);
            list(&mut text, &format!("What it {what} no more"), &less, shown);
        };
    compare("provides", &old.provides, &new.provides, str::to_owned);
    compare("asks to", &old.functions, &new.functions, function);
    compare("asks to reach", &old.reach, &new.reach, reach);
    compare("may do by name", &old.by_name, &new.by_name, function);
    if !wider {
        text.push_str("It asks for nothing more that would need a grant.\n");
    }
    (text, wider)
}

fn list(text: &mut String, heading: &str, items: &BTreeSet<String>, shown: fn(&str) -> String) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(text, "{heading}:");
    for item in items {
        let _ = writeln!(text, "  - {}", shown(item));
    }
}

fn is_harmless(name: &str) -> bool {
    HostFn::named(name).is_some_and(|function| function.rules.grant == RequiredGrant::None)
}

/// A host function, or what else can be granted by name.
pub(super) fn function(name: &str) -> String {
    match (HostFn::named(name), name.strip_prefix("keyring:")) {
        (Some(function), _) => format!("{} ({name})", function.rules.description),
        (None, Some(service)) => {
            format!("use what other programs keep in the keyring under {} ({})", plain(service), plain(name))
        }
        (None, None) => format!("{}, which this hm does not have", plain(name)),
    }
}

/// An entry of `allowed_hosts`.
pub(super) fn reach(entry: &str) -> String {
    format!("{}: {}", plain(entry), meaning(entry))
}

/// Meaning of an entry of `allowed_hosts`.
pub(super) fn meaning(entry: &str) -> String {
    match AccessEntry::parse(entry) {
        AccessEntry::Socket(_) => "connections to that socket of this machine".into(),
        AccessEntry::Directory { path, writable } => {
            let path = plain(&path.display().to_string());
            let what = if writable { "read and change" } else { "read" };
            format!("{what} what is in the folder {path} of the project")
        }
        AccessEntry::Host(host) if host.starts_with("http://") => "plain HTTP to exactly that".into(),
        AccessEntry::Host(host) if host == "*" || host.starts_with("*:") => {
            "HTTPS to any public address".into()
        }
        AccessEntry::Host(host) if host.starts_with('*') => "HTTPS to any name below that".into(),
        AccessEntry::Host(host) if is_loopback(&host) => "HTTP and HTTPS to this machine".into(),
        AccessEntry::Host(_) => "HTTPS to exactly that".into(),
        AccessEntry::Unknown => "nothing that this hm understands".into(),
    }
}

fn is_loopback(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|loopback| {
        let rest = host.get(..loopback.len()).filter(|start| start.eq_ignore_ascii_case(loopback));
        rest.is_some() && matches!(host.as_bytes().get(loopback.len()), None | Some(b':'))
    })
}

/// A name of somebody else's choice, in which nothing passes for what it is not: letters of other alphabets look like
/// ours.
pub(super) fn plain(text: &str) -> String {
    let escaped = |c: char| {
        if c == ' ' || c.is_ascii_graphic() { c.to_string() } else { c.escape_unicode().to_string() }
    };
    text.chars().map(escaped).collect()
}

/// A text of somebody else on one line, not all of it if it is long.
pub(super) fn line(text: &str) -> String {
    let mut line: String =
        text.chars().take(DESCRIPTION).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

/// Things that a manifest provides, for people.
pub(super) fn provides(manifest: &PluginManifest) -> Vec<String> {
    manifest.capabilities.iter().map(provided).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_kind_of_reach_has_a_meaning() {
        for (entry, expected) in [
            ("api.example.com", "api.example.com: HTTPS to exactly that"),
            ("*.example.com", "*.example.com: HTTPS to any name below that"),
            ("*", "*: HTTPS to any public address"),
            ("Localhost:80", "Localhost:80: HTTP and HTTPS to this machine"),
            ("localhost.example.com", "localhost.example.com: HTTPS to exactly that"),
            ("[::1]", "[::1]: HTTP and HTTPS to this machine"),
            ("http://build.internal:8080", "http://build.internal:8080: plain HTTP to exactly that"),
            ("unix:/run/docker.sock", "unix:/run/docker.sock: connections to that socket of this machine"),
            ("dir:docs", "dir:docs: read what is in the folder docs of the project"),
            ("dir+rw:out", "dir+rw:out: read and change what is in the folder out of the project"),
            ("dir:..", "dir:..: nothing that this hm understands"),
            ("\u{430}pi.example.com", "\\u{430}pi.example.com: HTTPS to exactly that"),
        ] {
            assert_eq!(reach(entry), expected);
        }
    }

    #[test]
    fn only_what_needs_a_grant_is_more() {
        let old =
            LockEntry { functions: set(&["hm_log"]), reach: set(&["a.example"]), ..LockEntry::default() };
        let wider = |change: fn(&mut LockEntry)| {
            let mut new = old.clone();
            change(&mut new);
            difference(&old, &new).1
        };
        assert!(!wider(|_| ()));
        assert!(!wider(|new| new.functions = set(&["hm_log", "hm_should_cancel"])));
        assert!(!wider(|new| new.reach.clear()));
        assert!(wider(|new| new.functions = set(&["hm_sandbox_exec"])));
        assert!(wider(|new| new.reach = set(&["b.example"])));
        assert!(wider(|new| new.provides = set(&["command x"])));
        assert!(wider(|new| new.by_name = set(&["keyring:x"])));
        let (words, _) = difference(&old, &LockEntry { reach: set(&["b.example"]), ..old.clone() });
        assert!(
            words.contains(
                "What it asks to reach now, and did not before:\n  - b.example: HTTPS to exactly that\n"
            ),
            "{words}"
        );
        assert!(words.contains("What it asks to reach no more:\n  - a.example: "), "{words}");
    }
}
