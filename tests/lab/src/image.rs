//! Images that need no network: made of the machine's own busybox, or of a single file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::engine::Engine;

/// Busybox with all its programs; commands run as root.
pub const BUSYBOX: &str = "hm-test/busybox:1";

/// The same, and commands run as the user 1000.
pub const ORDINARY_USER: &str = "hm-test/user:1";

/// An image with a file and no program at all.
pub const NO_SHELL: &str = "hm-test/bare:1";

/// Packs a directory with one on top, and hands both to an engine as an image.
const IMPORT: &str = r#"
    cp -a "$2/." "$3"; test ! -d "$3/tmp" || chmod 1777 "$3/tmp" "$3/home/user"
    tar -C "$3" --owner=0 --group=0 -cf - . | {
      to=$1; name=$4; shift 4
      docker -H "$to" import "$@" - "$name"
    }
"#;

/// Makes those images that an engine does not have yet.
pub(crate) fn make_all(engine: &Engine) {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, changes) in [(BUSYBOX, &[][..]), (ORDINARY_USER, &["USER user"])] {
        if !engine.has(name) {
            import(&engine.host, folder.path(), name, changes, true).expect("an image");
        }
    }
    if !engine.has(NO_SHELL) {
        fs::write(folder.path().join("file"), "not a program\n").expect("a file");
        import(&engine.host, folder.path(), NO_SHELL, &[], false).expect("an image");
    }
}

/// Makes an image of busybox under this name, in the engine at this `DOCKER_HOST`.
///
/// # Errors
/// The words of the engine, or of one of the programs that pack the image.
pub fn import_busybox(host: &str, name: &str) -> Result<(), String> {
    let nothing = tempfile::tempdir().expect("a directory");
    import(host, nothing.path(), name, &[], true)
}

/// Makes an image of what is in a directory, on top of busybox if that is wanted, with these changes in the words of a
/// `Dockerfile`.
///
/// # Errors
/// The words of the engine, or of one of the programs that pack the image.
pub fn import(host: &str, folder: &Path, name: &str, changes: &[&str], busybox: bool) -> Result<(), String> {
    let root = tempfile::tempdir().expect("a directory");
    if busybox {
        lay_out(root.path());
    }
    let mut command = Command::new("sh");
    command.args(["-ec", IMPORT, "sh", host]).arg(folder).arg(root.path()).arg(name);
    command.args(["--change", "ENV PATH=/usr/local/bin:/bin"]);
    command.args(changes.iter().flat_map(|change| ["--change", change]));
    let output = command.output().expect("sh");
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Puts busybox and what belongs to it into a directory.
fn lay_out(root: &Path) {
    let at = |name: &str| root.join(name);
    for folder in ["bin", "etc", "root", "tmp", "home/user"] {
        fs::create_dir_all(at(folder)).expect("a directory");
    }
    fs::copy("/bin/busybox", at("bin/busybox")).expect("busybox, of Debian's busybox-static");
    let list = Command::new("/bin/busybox").arg("--list").output().expect("busybox").stdout;
    for program in String::from_utf8(list).expect("names").lines().filter(|name| *name != "busybox") {
        symlink("busybox", at("bin").join(program)).expect("a link");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
    fs::write(at("etc/passwd"), users).expect("a file");
    fs::write(at("etc/group"), "root:x:0:\nuser:x:1000:\n").expect("a file");
    // What the image has there must be seen in a workspace that is made in it.
    fs::write(at("etc/made-by"), "hm's tests\n").expect("a file");
}
