//! Access of an instance besides its host functions: from the entries of `allowed_hosts` that are in force to
//! directories of WASI and an HTTP client. The rules of either are `hm_abi`'s; sockets are a host function's.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use hm_abi::{
    AllowedHosts, AllowedHostsClient, Directories, Directory, HostError, HttpClient, HttpFuture, HttpLimits,
    HttpRequest, TlsRoots,
};
use hm_disk::open_below;
use hm_plugin_protocol::Level;
use rustix::fs::{Mode, OFlags, mkdirat};
use rustix::io::Errno;
use url::Url;
use uuid::Uuid;

use super::audit::{Audit, AuditLine, AuditedCall};
use super::policy::AccessEntry;
use super::{PluginState, Role, RoleKind};

/// Words of the ABI before the place to which a request was denied.
const REQUEST_TO: &str = "http_request to ";

/// Access of one instance.
#[derive(Debug, Default)]
pub(crate) struct GrantedAccess {
    /// Directories of the project.
    pub(crate) directories: Directories,
    /// HTTP, where any host is in force.
    pub(crate) http: Option<Arc<dyn HttpClient>>,
}

impl GrantedAccess {
    /// Access of the instance with this state, each entry of which goes into the audit. What is granted and cannot be
    /// had is left out, with a warning: the plugin then finds nothing there.
    #[must_use]
    pub(crate) fn of(state: &PluginState) -> Self {
        if matches!(state.role, Role::Manifest) {
            return Self::default();
        }
        let granted: Vec<(&str, AccessEntry)> =
            state.policy.access_entries().filter(|(_, opened)| *opened != AccessEntry::Unknown).collect();
        if let Some(audit) = &state.context.audit {
            let (role, step) = (state.role.kind(), state.role.step_id());
            for (entry, _) in &granted {
                audit.write(&AuditLine::new(&state.plugin, role, step, entry, "granted"));
            }
        }
        Self { directories: directories(state, &granted), http: http(state, &granted) }
    }
}

fn warn(state: &PluginState, text: &str) {
    state.diagnostics.try_send(Level::Warn, &state.plugin, text);
}

/// The directories of the project that are granted. One that may only be read and is not there is no directory; one
/// that may be written is made.
fn directories(state: &PluginState, granted: &[(&str, AccessEntry)]) -> Directories {
    let mut found = Vec::new();
    for (entry, opened) in granted {
        let AccessEntry::Directory { path, writable } = opened else { continue };
        // The same directory under the same name twice would be one that may be written and one that may not.
        let also_writable = granted.iter().any(
            |(_, other)| matches!(other, AccessEntry::Directory { path: same, writable: true } if same == path),
        );
        if also_writable && !writable {
            continue;
        }
        let name = format!("/{}", path.display());
        // Two entries may name one directory.
        if found.iter().any(|known: &Directory| known.path == name) {
            continue;
        }
        let Some(project) = &state.context.project else { continue };
        match open(project, path, *writable) {
            Ok(dir) => {
                found.push(Directory { path: name, dir, writable: *writable });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn(state, &format!("{entry} cannot be opened: {error}")),
        }
    }
    Directories::new(found).unwrap_or_else(|error| {
        warn(state, &format!("its directories cannot be opened: {error}"));
        Directories::default()
    })
}

/// Opens a directory below the project. No part of its path may be a link: one within the project could still make
/// another directory, such as git's, of the one that was granted.
fn open(project: &Path, path: &Path, make: bool) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut dir = File::open(project)?;
    for part in path {
        if make
            && let Err(error) = mkdirat(&dir, part, Mode::from(0o777))
            && error != Errno::EXIST
        {
            return Err(error.into());
        }
        dir = open_below(&dir, Path::new(part), flags)?.into();
    }
    Ok(Dir::from_std_file(dir))
}

/// The client for the hosts that are granted. Without any there is none, unless requests are to be written down.
fn http(state: &PluginState, granted: &[(&str, AccessEntry)]) -> Option<Arc<dyn HttpClient>> {
    let hosts =
        granted.iter().filter(|(_, opened)| matches!(opened, AccessEntry::Host(_))).map(|(entry, _)| entry);
    // Each has been read as a host before.
    let hosts = AllowedHosts::parse(hosts).unwrap_or_default();
    let audit = state.context.audit.clone();
    let nowhere = hosts == AllowedHosts::default();
    if nowhere && audit.is_none() {
        return None;
    }
    let roots = if nowhere { TlsRoots::only([]) } else { state.context.authorities.get() };
    let roots = roots.or_else(|error| {
        // Without authorities there is no HTTPS, but what is allowed without it goes on.
        warn(state, &format!("HTTPS is not to be had: {error}"));
        TlsRoots::only([])
    });
    let client = match roots {
        Ok(roots) => AllowedHostsClient::new(hosts.clone(), roots),
        Err(error) => {
            warn(state, &format!("HTTP is not to be had: {error}"));
            return None;
        }
    };
    let Some(audit) = audit else { return Some(Arc::new(client)) };
    let (plugin, role, step) = (state.plugin.clone(), state.role.kind(), state.role.step_id());
    Some(Arc::new(AuditedClient { client, hosts, audit, plugin, role, step }))
}

/// A client whose requests are written down: where to, and what became of them.
struct AuditedClient {
    client: AllowedHostsClient,
    hosts: AllowedHosts,
    audit: Audit,
    plugin: Arc<str>,
    role: RoleKind,
    step: Option<Uuid>,
}

impl AuditedClient {
    fn line<'a>(&'a self, to: &'a str, decision: &'a str) -> AuditLine<'a> {
        let line = AuditLine::new(&self.plugin, self.role, self.step, "http_request", decision);
        AuditLine { to: Some(to), ..line }
    }
}

impl HttpClient for AuditedClient {
    fn send<'a>(&'a self, request: HttpRequest, limits: &'a HttpLimits) -> HttpFuture<'a> {
        Box::pin(async move {
            let url = Url::parse(&request.url).ok();
            let to = url.as_ref().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
            let allowed = url.is_some_and(|url| self.hosts.check(&url).is_ok());
            let decision = if allowed { "allowed" } else { "denied: the host is not one of its own" };
            let line = AuditLine { bytes_in: request.body.len(), ..self.line(&to, decision) };
            let audited = AuditedCall::begin(self.audit.clone(), line);
            let result = self.client.send(request, limits).await;
            let (outcome, bytes) = match &result {
                _ if !allowed => (None, 0),
                Ok(response) => (Some("ok"), response.body.len()),
                Err(HostError::Denied { .. }) => (Some("denied"), 0),
                Err(_) => (Some("failed"), 0),
            };
            audited.end(outcome, bytes);
            // A redirect, or an address behind an allowed name.
            if let (true, Err(HostError::Denied { capability })) = (allowed, &result)
                && let Some(place) = capability.strip_prefix(REQUEST_TO)
            {
                self.audit.write(&self.line(place, "denied: an allowed host leads there"));
            }
            result
        })
    }
}
