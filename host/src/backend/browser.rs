//! Opens a page in the person's own browser, with the programs that their system names for it. Which pages may be
//! opened is the sandbox's business, which lies above.
//!
//! The programs are started directly and get the address as one argument, so that no shell reads it. They are not
//! waited for on our terminal, which a browser for text would take over.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use url::Url;

/// A program that has not failed after this time has opened the page.
const SETTLED: Duration = Duration::from_secs(3);

/// Programs that open a page. The default opens none.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    /// Programs with their arguments, in which `%s` stands for the address.
    openers: Vec<Vec<String>>,
}

impl Browser {
    /// The browser of whoever has this environment: those of `$BROWSER`, separated by colons, else the desktop's.
    #[must_use]
    pub fn of_system(env: &BTreeMap<String, String>) -> Self {
        let named = env.get("BROWSER").map(String::as_str).unwrap_or_default();
        let mut openers: Vec<Vec<String>> = named
            .split(':')
            .map(|command| command.split_ascii_whitespace().map(str::to_owned).collect())
            .filter(|command: &Vec<String>| !command.is_empty())
            .collect();
        let desktop =
            ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env.get(*name).is_some_and(|v| !v.is_empty()));
        if openers.is_empty() && desktop {
            openers.push(vec!["xdg-open".into()]);
        }
        Self { openers }
    }

    /// Opens a page; whether that worked, as far as can be told.
    pub async fn open(&self, url: &Url) -> bool {
        self.open_within(url, SETTLED).await
    }

    async fn open_within(&self, url: &Url, settled: Duration) -> bool {
        for opener in &self.openers {
            if start(opener, url, settled).await {
                return true;
            }
        }
        false
    }
}

async fn start(opener: &[String], url: &Url, settled: Duration) -> bool {
    let Some((program, arguments)) = opener.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|argument| argument.replace("%s", url.as_str())));
    if !arguments.iter().any(|argument| argument.contains("%s")) {
        command.arg(url.as_str());
    }
    // Ctrl-C is for us, and not for the browser.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let Ok(mut child) = command.spawn() else { return false };
    match tokio::time::timeout(settled, child.wait()).await {
        Ok(ended) => ended.is_ok_and(|status| status.success()),
        // The browser itself, which stays.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn script(path: &Path, text: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("executable");
    }

    fn browser(variables: &[(&str, &str)]) -> Browser {
        Browser::of_system(&variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn the_environment_says_what_opens_pages() {
        assert!(browser(&[]).openers.is_empty());
        assert!(browser(&[("BROWSER", ":"), ("DISPLAY", "")]).openers.is_empty());
        assert_eq!(browser(&[("DISPLAY", ":0")]).openers, [["xdg-open"]]);
        assert_eq!(
            browser(&[("BROWSER", "a:b --new %s"), ("DISPLAY", ":0")]).openers,
            [vec!["a"], vec!["b", "--new", "%s"]]
        );
    }

    #[tokio::test]
    async fn the_address_is_one_argument_and_the_next_program_is_tried() {
        let dir = tempfile::tempdir().expect("a directory");
        let (fails, opens) = (dir.path().join("fails"), dir.path().join("opens"));
        script(&fails, "exit 3");
        script(&opens, "printf '%s\\n' \"$@\" > \"$0.args\"");
        let args = || std::fs::read_to_string(dir.path().join("opens.args")).expect("arguments");
        let url = Url::parse("https://a.example/;reboot?a=$(id)&b='\"%s` `").expect("a URL");
        let (fails, opens) = (fails.display(), opens.display());

        assert!(browser(&[("BROWSER", &format!("/nowhere:{fails}:{opens}"))]).open(&url).await);
        assert_eq!(args(), format!("{url}\n"));
        assert!(browser(&[("BROWSER", &format!("{opens} --app=%s -n"))]).open(&url).await);
        assert_eq!(args(), format!("--app={url}\n-n\n"));
        assert!(!browser(&[("BROWSER", &format!("/nowhere:{fails}"))]).open(&url).await);
        assert!(!Browser::default().open(&url).await);
    }

    #[tokio::test]
    async fn a_browser_that_stays_is_open() {
        let dir = tempfile::tempdir().expect("a directory");
        let stays = dir.path().join("stays");
        script(&stays, "exec sleep 20");
        let url = Url::parse("https://a.example/").expect("a URL");
        let browser = browser(&[("BROWSER", &stays.display().to_string())]);
        assert!(browser.open_within(&url, Duration::from_millis(300)).await);
    }
}
