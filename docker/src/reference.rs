//! Names of images, read as Docker's own client reads them.

use crate::names::OF_RUN;

/// A name with everything that may be left out of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The registry: `docker.io`, or a host with its port.
    pub(crate) registry: String,
    /// Name within the registry.
    pub(crate) repository: String,
    /// A tag or, as it says more, a digest.
    pub(crate) version: String,
}

/// A name that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{image}` is no name of an image: {reason}")]
pub struct ReferenceError {
    image: String,
    reason: &'static str,
}

impl Reference {
    /// Reads a name: `alpine`, `alpine:3.20`, `ghcr.io/owner/name@sha256:…`, `localhost:5000/name`.
    ///
    /// # Errors
    /// The text names no image.
    pub(crate) fn parse(image: &str) -> Result<Self, ReferenceError> {
        Self::read(image)
            .map_err(|reason| ReferenceError { image: image.chars().take(300).collect(), reason })
    }

    fn read(image: &str) -> Result<Self, &'static str> {
        if image.is_empty() {
            return Err("it is empty");
        }
        if image.contains(char::is_whitespace) {
            return Err("there is a blank in it");
        }
        let (named, digest) = match image.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (image, None),
        };
        // The first part is a host if it cannot be anything else.
        let (registry, path) = match named.split_once('/') {
            Some((host, path))
                if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() =>
            {
                (host, path)
            }
            _ => ("docker.io", named),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let own = registry == "docker.io" && !path.contains('/');
        let repository = if own { format!("library/{path}") } else { path.to_owned() };
        if !is_host(registry) {
            return Err("what is before the first `/` is no host");
        }
        if repository.contains(char::is_uppercase) {
            return Err("only a registry and a tag can have capital letters");
        }
        if !repository.split('/').all(is_component) || repository.len() > 255 {
            return Err(
                "between the `/` there are small letters and digits, with `.`, `_` or `-` between them",
            );
        }
        if own && path.len() == 64 && path.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("it is the id of an image, and registries know names only");
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("a tag has letters, digits, `_`, `.` and `-`, and at most 128 of them");
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err("a digest is `sha256:` and 64 digits of lower-case hexadecimal");
        }
        let version = digest.or(tag).unwrap_or("latest").to_owned();
        Ok(Self { registry: registry.to_owned(), repository, version })
    }

    /// Without tag or digest.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Name in full, with the tag or digest.
    pub(crate) fn whole(&self) -> String {
        let between = if self.version.contains(':') { '@' } else { ':' };
        format!("{}{between}{}", self.name(), self.version)
    }
}

/// True if a text names an image, as a registry does or by its id. Nothing else gets into the path of a request.
pub(crate) fn is_name(text: &str) -> bool {
    check_image(text).is_ok()
}

/// Checks that a text can name an image.
///
/// # Errors
/// The text names no image.
pub fn check_image(text: &str) -> Result<(), ReferenceError> {
    if is_digest(text) { Ok(()) } else { Reference::parse(text).map(drop) }
}

/// The name of an image without where it could come from, which Podman adds.
pub(crate) fn plain(name: &str) -> &str {
    let places = ["localhost/", "docker.io/library/"];
    places.iter().find_map(|place| name.strip_prefix(place)).unwrap_or(name)
}

/// True if an image is called this by an engine that says so. Podman says where images of this machine are from.
pub(crate) fn is_same(asked: &str, own: &str) -> bool {
    let whole = |name: &str| Reference::parse(name).map(|name| name.whole()).ok();
    let asked = whole(asked);
    let is_ours = |name: &str| [OF_RUN, "hm-cache"].contains(&name.split([':', '@']).next().unwrap_or(name));
    asked.is_some() && !is_ours(plain(own)) && [own, plain(own)].into_iter().any(|own| whole(own) == asked)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // The end of an address of IPv6.
        Some((_, port)) if port.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let named = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            !label.is_empty() && plain && !label.starts_with('-') && !label.ends_with('-')
        }),
    };
    named && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|byte| word(*byte)) && bytes.last().is_some_and(|byte| word(*byte));
    ends && bytes.split(|byte| word(*byte)).all(|between| {
        matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = text.bytes().next().is_some_and(word);
    first && text.len() <= 128 && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_left_out_is_what_docker_takes() {
        let digested = format!("ghcr.io/a/b:1@{DIGEST}");
        for (image, registry, repository, version) in [
            ("alpine", "docker.io", "library/alpine", "latest"),
            ("alpine:3.20", "docker.io", "library/alpine", "3.20"),
            ("me/tool:v1", "docker.io", "me/tool", "v1"),
            ("index.docker.io/alpine", "docker.io", "library/alpine", "latest"),
            ("docker.io/me/tool", "docker.io", "me/tool", "latest"),
            ("localhost/tool", "localhost", "tool", "latest"),
            ("localhost:5000/a/b_c/d--e:x", "localhost:5000", "a/b_c/d--e", "x"),
            ("[::1]:5000/tool:x", "[::1]:5000", "tool", "x"),
            ("REGISTRY/tool", "REGISTRY", "tool", "latest"),
            (&digested, "ghcr.io", "a/b", DIGEST),
        ] {
            let read = Reference::parse(image).expect(image);
            let (registry, repository, version) = (registry.into(), repository.into(), version.into());
            assert_eq!(read, Reference { registry, repository, version }, "{image}");
        }
        assert_eq!(Reference::parse("alpine").expect("a name").whole(), "docker.io/library/alpine:latest");
        assert_eq!(Reference::parse(&digested).expect("a name").whole(), format!("ghcr.io/a/b@{DIGEST}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let id = "0123456789abcdef".repeat(4);
        for image in [
            "",
            ":tag",
            "a b",
            "a:b\t",
            "Alpine",
            "host.io/Alpine",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a..b",
            "a___b",
            "host:port/a",
            "-x.y/a",
            "a:",
            "a:-x",
            "a@sha256:00",
            "a@b@c",
            "a?fromSrc=-",
            "http://host/a",
            "a\nb",
            &id,
            &format!("a:{}", "x".repeat(129)),
        ] {
            assert!(Reference::parse(image).is_err(), "{image:?}");
        }
    }
}
