//! The list of allowed hosts: what each entry grants, and what it does not.

use hm_abi::{AllowedHosts, Permit};
use url::Url;

/// Verdict of a list on a URL, in a word.
fn verdict(entries: &str, url: &str) -> String {
    let hosts = AllowedHosts::parse(entries.split_whitespace()).unwrap();
    match hosts.check(&Url::parse(url).unwrap()) {
        Ok(Permit::Public) => "public".to_owned(),
        Ok(Permit::Private) => "private".to_owned(),
        Ok(Permit::Loopback) => "loopback".to_owned(),
        Ok(Permit::Only(address)) => address.to_string(),
        Err(_) => "no".to_owned(),
    }
}

/// [http.list] Entry by entry.
#[test]
fn what_entries_grant() {
    // Entries, the verdict, and URLs it is for.
    let table: &[(&str, &str, &[&str])] = &[
        ("", "no", &["https://example.com/", "http://localhost/", "http://127.0.0.1/"]),
        (
            "api.example.com",
            "public",
            &[
                "https://api.example.com/",
                "https://api.example.com:8443/x?y",
                "https://API.Example.COM/",
                "https://api.example.com./",
                "https://api.exampl%65.com/",
                "https://user@api.example.com/",
            ],
        ),
        (
            "api.example.com",
            "no",
            &[
                "http://api.example.com/",
                "https://example.com/",
                "https://x.api.example.com/",
                "https://api.example.com.evil.test/",
                "https://api.example.com@evil.test/",
                "https://evil.test/api.example.com",
                "https://evil.test#@api.example.com/",
                "https://evil.test\\@api.example.com/",
                "https://apixexample.com/",
                "ftp://api.example.com/",
                "wss://api.example.com/",
                "file://api.example.com/etc/passwd",
                "data:text/plain,api.example.com",
            ],
        ),
        ("api.example.com:8443", "public", &["https://api.example.com:8443/"]),
        (
            "api.example.com:8443",
            "no",
            &["https://api.example.com/", "https://api.example.com:443/", "http://api.example.com:8443/"],
        ),
        ("api.example.com:443", "public", &["https://api.example.com/", "https://api.example.com:443/"]),
        ("*.example.com", "public", &["https://a.example.com/", "https://a.b.example.com:1/"]),
        (
            "*.example.com",
            "no",
            &[
                "https://example.com/",
                "https://.example.com/",
                "https://notexample.com/",
                "https://a.example.com.evil.test/",
                "http://a.example.com/",
            ],
        ),
        ("*.example.com:8443", "public", &["https://a.example.com:8443/"]),
        ("*.example.com:8443", "no", &["https://a.example.com/"]),
        (
            "*",
            "public",
            &["https://example.com/", "https://1.1.1.1:1/", "https://10.0.0.1/", "https://localhost/"],
        ),
        ("*", "no", &["http://example.com/", "http://localhost/", "http://127.0.0.1/", "http://[::1]/"]),
        ("*:8443", "public", &["https://example.com:8443/"]),
        ("*:8443", "no", &["https://example.com/"]),
        (
            "localhost",
            "loopback",
            &["http://localhost/", "https://localhost/", "http://LOCALHOST:8080/", "http://localhost./"],
        ),
        (
            "localhost",
            "no",
            &["http://127.0.0.1/", "http://[::1]/", "http://x.localhost/", "http://localhost.evil.test/"],
        ),
        ("localhost:8080", "loopback", &["http://localhost:8080/", "https://localhost:8080/"]),
        ("localhost:8080", "no", &["http://localhost/", "https://localhost/", "http://localhost:8081/"]),
        ("* localhost", "loopback", &["https://localhost/", "http://localhost/"]),
        (
            "127.0.0.1",
            "127.0.0.1",
            &[
                "http://127.0.0.1/",
                "https://127.0.0.1:1/",
                "http://2130706433/",
                "http://0x7f000001/",
                "http://0x7f.1/",
                "http://0177.0.0.1/",
                "http://127.1/",
                "http://127.0.0.1./",
                "http://%31%32%37.0.0.1/",
                "http://１２７.0.0.1/",
            ],
        ),
        (
            "127.0.0.1",
            "no",
            &[
                "http://127.0.0.2/",
                "http://localhost/",
                "http://[::1]/",
                "http://[::ffff:127.0.0.1]/",
                "http://[::127.0.0.1]/",
                "http://0.0.0.0/",
                "http://127.0.0.1.evil.test/",
                "http://evil.test@127.0.0.2/",
            ],
        ),
        ("[::1]", "::1", &["http://[::1]/", "https://[::1]:8443/", "http://[0:0:0:0:0:0:0:1]/"]),
        ("[::1]", "no", &["http://127.0.0.1/", "http://[::2]/", "http://[::ffff:0:1]/", "http://localhost/"]),
        ("[::1]:80", "::1", &["http://[::1]/"]),
        ("[::1]:80", "no", &["http://[::1]:81/", "https://[::1]/"]),
        ("127.0.0.2", "127.0.0.2", &["https://127.0.0.2/"]),
        ("127.0.0.2", "no", &["http://127.0.0.2/", "https://127.0.0.1/"]),
        ("10.0.0.7 *", "10.0.0.7", &["https://10.0.0.7/", "https://10.0.0.7:8443/"]),
        ("10.0.0.7", "no", &["http://10.0.0.7/", "https://10.0.0.8/"]),
        ("[fd00::7]:8443", "fd00::7", &["https://[fd00::7]:8443/", "https://[FD00:0::0007]:8443/"]),
        (
            "http://build.internal:8080",
            "private",
            &["http://build.internal:8080/x", "http://BUILD.internal:8080/"],
        ),
        (
            "http://build.internal:8080",
            "no",
            &[
                "https://build.internal:8080/",
                "http://build.internal/",
                "http://build.internal:8081/",
                "http://x.build.internal:8080/",
            ],
        ),
        ("http://build.internal", "private", &["http://build.internal/", "http://build.internal:80/"]),
        ("http://build.internal", "no", &["http://build.internal:8080/", "https://build.internal/"]),
        ("http://localhost:8080", "loopback", &["http://localhost:8080/"]),
        ("http://localhost:8080", "no", &["https://localhost:8080/", "http://localhost/"]),
        ("http://10.0.0.7", "10.0.0.7", &["http://10.0.0.7/"]),
        ("http://169.254.169.254", "169.254.169.254", &["http://169.254.169.254/", "http://0xa9fea9fe/"]),
        (
            "bücher.example",
            "public",
            &["https://bücher.example/", "https://xn--bcher-kva.example/", "https://BÜCHER.example/"],
        ),
        ("xn--bcher-kva.example", "public", &["https://bücher.example/"]),
        ("API.Example.com", "public", &["https://api.example.com/"]),
        // A Cyrillic letter is another name.
        ("paypal.com", "no", &["https://p\u{430}ypal.com/"]),
        (
            "example.com",
            "public",
            &["https://ｅxample.com/", "https://exa\u{ad}mple.com/", "https://example\u{3002}com/"],
        ),
    ];
    let mut wrong = Vec::new();
    for (entries, expected, urls) in table {
        for url in *urls {
            let found = verdict(entries, url);
            if found != *expected {
                wrong.push(format!("[{entries}] {url}: expected {expected}, found {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// [http.list] What is refused as an entry.
#[test]
fn what_is_no_entry() {
    let wrong: Vec<_> = [
        "",
        " ",
        ".",
        "*.",
        "*.*",
        "a*.example.com",
        "*example.com",
        "example.*",
        "example.com.",
        "[::1",
        "::1",
        "[::1]x",
        "::1:80",
        "[127.0.0.1]",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:+80",
        "example.com:80:80",
        "example.com/",
        "example.com/path",
        "user@example.com",
        "exam ple.com",
        "example.com#x",
        "ex%61mple.com",
        "https://example.com",
        "ftp://example.com",
        "http://",
        "http://*",
        "http://*.example.com",
        "http://example.com/",
        "http://u@example.com",
        "http://http://example.com",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "256.0.0.1",
        "*.0.0.1",
        "*.[::1]",
        "unix:/run/x.sock",
        "dir:docs",
        "dir+rw:out",
        "[a-z].example.com",
        "?.example.com",
    ]
    .into_iter()
    .filter(|entry| match AllowedHosts::parse(["example.com", entry]) {
        Ok(_) => true,
        Err(error) => error.entry != *entry || !error.to_string().contains(&format!("{entry:?}")),
    })
    .collect();
    assert!(wrong.is_empty(), "taken: {wrong:?}");
}

#[test]
fn the_entries_that_are_hosts() {
    for entry in ["example.com", "localhost:80", "*", "http://unix:80", "dirs:80", "unixes"] {
        assert!(AllowedHosts::is_host(entry), "{entry}");
    }
    for entry in ["unix:/run/x.sock", "dir:docs", "dir+rw:out"] {
        assert!(!AllowedHosts::is_host(entry), "{entry}");
    }
}

#[test]
fn a_refusal_names_the_origin_and_no_more() {
    let hosts = AllowedHosts::parse(["example.com"]).unwrap();
    let refused = |url: &str| hosts.check(&Url::parse(url).unwrap()).unwrap_err().origin;
    assert_eq!(refused("https://name:secret@evil.test:444/secret?secret#secret"), "https://evil.test:444");
    assert_eq!(refused("http://example.com:80/secret"), "http://example.com");
    assert_eq!(refused("data:text/plain,secret"), "data:");
    assert_eq!(refused("file:///secret"), "file:");
}
