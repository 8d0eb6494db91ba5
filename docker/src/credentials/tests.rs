//! Credentials in each form in which Docker's client keeps them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::lab;

fn settings(home: &Path, text: &str) {
    std::fs::create_dir_all(home.join(".docker")).expect("a folder");
    std::fs::write(home.join(".docker/config.json"), text).expect("written");
}

fn user(user: &str, password: &str, server: &str) -> Option<DockerCredentials> {
    Some(DockerCredentials {
        username: Some(user.into()),
        password: Some(password.into()),
        serveraddress: Some(server.into()),
        ..DockerCredentials::default()
    })
}

#[tokio::test]
async fn what_is_in_the_file_is_found_under_each_name_of_the_registry() {
    let home = tempfile::tempdir().expect("a folder");
    let env = lab::engine_env(&[], home.path());
    assert_eq!(of("docker.io", &env).await.expect("no file"), None);
    // me:pass:word, with and without padding, and with Docker's old zeros.
    settings(
        home.path(),
        r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6cGFzczp3b3Jk"},
            "https://a.example/v2/": {"auth": "bWU6cA"},
            "b.example:5000": {"username": "me", "password": "p"},
            "c.example": {"auth": "bWU6cAAA", "identitytoken": "t"},
            "d.example": {},
            "e.example": {"auth": "geheim!"}
        }, "more": [1]}"#,
    );
    assert_eq!(of("docker.io", &env).await.expect("read"), user("me", "pass:word", HUB));
    assert_eq!(of("a.example", &env).await.expect("read"), user("me", "p", "a.example"));
    assert_eq!(of("b.example:5000", &env).await.expect("read"), user("me", "p", "b.example:5000"));
    assert_eq!(of("b.example", &env).await.expect("read"), None, "another port, another registry");
    let with_token = of("c.example", &env).await.expect("read").expect("something");
    assert_eq!((with_token.password.as_deref(), with_token.identitytoken.as_deref()), (Some("p"), Some("t")));
    assert_eq!(of("d.example", &env).await.expect("read"), None);
    let error = of("e.example", &env).await.expect_err("malformed").to_string();
    assert_eq!(error, "what Docker's settings have for the registry `e.example` is malformed");
    settings(home.path(), r#"{"auths": {"f.example": {"auth": ["geheim"]}}}"#);
    let error = of("f.example", &env).await.expect_err("malformed").to_string();
    assert!(error.contains("line 1") && !error.contains("geheim"), "{error}");
}

#[tokio::test]
async fn helpers_are_asked_and_what_they_say_is_not_repeated() {
    let home = tempfile::tempdir().expect("a folder");
    let helper = |name: &str, script: &str| {
        let path = home.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\nread -r server\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    };
    helper("own", r#"echo "{\"ServerURL\":\"$server\",\"Username\":\"$1\",\"Secret\":\"$server\"}""#);
    helper("token", r#"echo '{"Username":"<token>","Secret":"t"}'"#);
    helper("empty", "echo credentials not found in native keychain; exit 1");
    helper("broken", "echo geheim; echo geheim >&2; exit 3");
    helper("nonsense", "echo geheim");
    settings(
        home.path(),
        r#"{"auths": {"a.example": {}}, "credsStore": "own", "credHelpers": {
            "b.example": "token", "c.example": "empty", "d.example": "broken", "e.example": "nonsense",
            "f.example": "none", "g.example": "../own", "h.example": ""
        }}"#,
    );
    let path = format!("{}:/bin:/usr/bin", home.path().display());
    let env = lab::engine_env(&[("PATH", &path)], home.path());
    assert_eq!(of("a.example", &env).await.expect("asked"), user("get", "a.example", "a.example"));
    assert_eq!(of("h.example", &env).await.expect("asked"), user("get", "h.example", "h.example"));
    assert_eq!(of("docker.io", &env).await.expect("asked"), user("get", HUB, HUB));
    let token = of("b.example", &env).await.expect("asked").expect("something");
    assert_eq!((token.username, token.identitytoken.as_deref()), (None, Some("t")));
    assert_eq!(of("c.example", &env).await.expect("asked"), None);
    for (registry, reason) in [
        ("d.example", "has failed (exit status: 3)"),
        ("e.example", "has answered nonsense"),
        ("f.example", "cannot be started"),
        ("g.example", "is no name of a program"),
    ] {
        let error = of(registry, &env).await.expect_err("nothing").to_string();
        assert!(error.contains(reason) && error.contains(registry), "{error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}
