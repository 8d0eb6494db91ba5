//! Machines that a request reaches: never one that the list does not, whatever names and addresses are made to say.

use crate::plugin::{Names, Plugin};
use crate::server::{Server, ok, redirect};

/// Host and port of a URL that leads to the canary.
fn at(host: &str, canary: &Server) -> String {
    format!("http://{host}:{}", canary.port())
}

/// [http.private] [result.denied] However it is written.
#[tokio::test]
async fn this_machine_in_all_its_spellings_is_denied() {
    let canary = Server::canary().await;
    let port = canary.port();
    let hosts = ["*", "api.example.com", "127.0.0.2", "localhost:1", "http://build.internal:8080"];
    let mut plugin = Plugin::new(&hosts);
    for scheme in ["http", "https"] {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.0.0.1.",
            "0.0.0.0",
            "0",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127\u{3002}0.0.1",
        ] {
            let found = plugin.get(&format!("{scheme}://{host}:{port}/path?query")).await;
            assert!(found.starts_with(&format!("denied http_request to {scheme}://")), "{host}: {found}");
            assert!(!found.contains("path") && !found.contains("query"), "{found}");
        }
    }
    for url in [
        format!("http://api.example.com@127.0.0.1:{port}/"),
        format!("http://api.example.com:443@127.0.0.1:{port}/"),
        format!("https://*@127.0.0.1:{port}/"),
    ] {
        assert_eq!(
            plugin.get(&url).await,
            "trap `http_request`: the URL holds a user name or a password",
            "{url}"
        );
    }
    let tricky = format!("http://127.0.0.1:{port}#@api.example.com/");
    assert_eq!(plugin.get(&tricky).await, format!("denied http_request to http://127.0.0.1:{port}"));
    let tricky = format!("http://127.0.0.1:{port}\\@api.example.com/");
    assert_eq!(plugin.get(&tricky).await, format!("denied http_request to http://127.0.0.1:{port}"));
    assert_eq!(canary.connections(), 0);
}

/// [http.private] Network by network.
#[tokio::test]
async fn networks_that_are_not_public_are_denied() {
    let mut plugin = Plugin::new(&["*"]);
    for host in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "0.1.2.3",
        "[fe80::1]",
        "[fd00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[64:ff9b::a00:1]",
        "[::ffff:a9fe:a9fe]",
        "[2001::1]",
        "[4000::]",
    ] {
        let found = plugin.get(&format!("https://{host}/")).await;
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().unwrap();
        let found_at = found.rsplit_once(" at ").and_then(|(_, at)| at.parse().ok());
        assert_eq!(found_at, Some(address), "{host}: {found}");
    }
}

/// [http.private] By entries that name them.
#[tokio::test]
async fn the_addresses_that_were_granted_are_reached() {
    let server = Server::answering(|_| ok("", "fine")).await;
    let port = server.port();
    for (entry, host) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0x7f.1"),
        ("localhost", "localhost"),
        ("localhost", "LocalHost."),
    ] {
        for entry in [entry.to_owned(), format!("{entry}:{port}"), format!("http://{entry}:{port}")] {
            let mut plugin = Plugin::new(&[&entry]);
            assert_eq!(plugin.get(&at(host, &server)).await, "output fine", "{entry} {host}");
        }
        let mut plugin = Plugin::new(&[format!("{entry}:1")]);
        assert!(plugin.get(&at(host, &server)).await.starts_with("denied"), "{entry} {host}");
    }
}

#[tokio::test]
async fn the_other_localhost_is_reached_too() {
    let server = match tokio::net::TcpListener::bind("[::1]:0").await {
        Ok(_) => Server::answering_at("[::1]:0", |_| ok("", "fine")).await,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no IPv6 here: {error}");
            println!("SKIPPED: no IPv6 here: {error}");
            return;
        }
    };
    let port = server.port();
    for (entry, host) in [("[::1]", "[::1]"), ("localhost", "localhost"), ("[::1]", "[0::1]")] {
        let mut plugin = Plugin::new(&[entry]);
        assert_eq!(plugin.get(&at(host, &server)).await, "output fine", "{entry} {host}");
    }
    assert!(server.requests()[0].contains(&format!("host: [::1]:{port}\r\n")));
    let mut plugin = Plugin::new(&["127.0.0.1", "*"]);
    assert!(plugin.get(&at("[::1]", &server)).await.starts_with("denied"));
}

/// [http.hop] A name that leads elsewhere the second time.
#[tokio::test]
async fn a_name_is_looked_up_once_and_the_answer_is_where_the_connection_goes() {
    let server = Server::answering(|_| ok("", "fine")).await;
    let port = server.port();
    let canary = Server::answering_at(&format!("127.0.0.2:{port}"), |_| ok("", "canary")).await;
    let names = Names::leading_to(&["127.0.0.1", "127.0.0.2"]);
    let mut plugin = Plugin::resolving(&[format!("http://flip.test:{port}")], &names);
    assert_eq!(plugin.get(&format!("http://flip.test:{port}/")).await, "output fine");
    assert_eq!((canary.connections(), names.asked()), (0, vec!["flip.test".to_owned()]));
    assert_eq!(plugin.get(&format!("http://flip.test:{port}/")).await, "output canary", "the test can fail");
}

/// [http.addresses] One bad address among good ones.
#[tokio::test]
async fn every_answer_is_vetted_before_anything_is_sent() {
    let canary = Server::canary().await;
    let port = canary.port();
    let plain = format!("http://build.internal:{port}");
    for (entry, scheme, answer, refused) in [
        // A public name that leads inside, alone or among others.
        ("build.internal", "https", "127.0.0.1", "127.0.0.1"),
        ("build.internal", "https", "8.8.8.8 127.0.0.1", "127.0.0.1"),
        ("build.internal", "https", "127.0.0.1 8.8.8.8", "127.0.0.1"),
        ("build.internal", "https", "::1", "::1"),
        ("build.internal", "https", "::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("build.internal", "https", "10.1.2.3", "10.1.2.3"),
        ("*", "https", "127.0.0.1", "127.0.0.1"),
        ("*.internal", "https", "169.254.169.254", "169.254.169.254"),
        // Also a name that may lead inside may not lead everywhere.
        (plain.as_str(), "http", "169.254.169.254", "169.254.169.254"),
        (plain.as_str(), "http", "127.0.0.1 169.254.169.254", "169.254.169.254"),
        (plain.as_str(), "http", "127.0.0.1 0.0.0.0", "0.0.0.0"),
        (plain.as_str(), "http", "::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        (plain.as_str(), "http", "fd00:ec2::254", "fd00:ec2::254"),
    ] {
        let names = Names::leading_to(&[answer]);
        let mut plugin = Plugin::resolving(&[entry], &names);
        let found = plugin.get(&format!("{scheme}://build.internal:{port}/")).await;
        let expected = format!("denied http_request to {scheme}://build.internal:{port} at {refused}");
        assert_eq!(found, expected, "{entry} {answer}");
        assert_eq!(names.asked().len(), 1);
    }
    assert_eq!(canary.connections(), 0);
}

/// [http.hop] By scheme, host and port.
#[tokio::test]
async fn what_the_list_does_not_allow_is_not_even_looked_up() {
    let names = Names::leading_to(&["127.0.0.1"]);
    let mut plugin = Plugin::resolving(&["api.example.com", "http://build.internal:8080"], &names);
    for url in [
        "https://secret.evil.test/",
        "http://api.example.com/",
        "http://build.internal:8081/",
        "https://localhost/",
    ] {
        assert!(plugin.get(url).await.starts_with("denied"), "{url}");
    }
    assert!(names.asked().is_empty(), "{:?}", names.asked());
}

/// [http.hop] [http.redirects] A name that leads elsewhere after a redirect.
#[tokio::test]
async fn each_hop_is_looked_up_anew_and_vetted_anew() {
    let server = Server::answering(|_| redirect("302 Found", "/again")).await;
    let port = server.port();
    let names = Names::leading_to(&["127.0.0.1", "127.0.0.1", "169.254.169.254"]);
    let mut plugin = Plugin::resolving(&[format!("http://flip.test:{port}")], &names);
    let found = plugin.get(&format!("http://flip.test:{port}/")).await;
    assert_eq!(found, format!("denied http_request to http://flip.test:{port} at 169.254.169.254"));
    assert_eq!((names.asked().len(), server.connections()), (3, 2));
}

#[tokio::test]
async fn names_without_addresses_and_ports_without_servers_are_failures() {
    let names = Names::leading_to(&[""]);
    let mut plugin = Plugin::resolving(&["nowhere.test"], &names);
    assert_eq!(plugin.get("https://nowhere.test/").await, "failed: `nowhere.test` has no address");
    let names = Names::leading_to(&[]);
    let mut plugin = Plugin::resolving(&["nowhere.test"], &names);
    assert_eq!(
        plugin.get("https://nowhere.test/").await,
        "failed: `nowhere.test` cannot be looked up: no such name"
    );

    let port = Server::canary().await.port();
    let mut plugin = Plugin::new(&["127.0.0.1"]);
    let found = plugin.get(&format!("http://127.0.0.1:{port}/path")).await;
    let expected = format!("failed: cannot connect to http://127.0.0.1:{port}: ");
    assert!(found.starts_with(&expected) || found == "output the canary", "{found}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_followed_by_the_next() {
    let server = Server::answering(|_| ok("", "fine")).await;
    let port = server.port();
    let names = Names::leading_to(&["127.0.0.3 127.0.0.1"]);
    let mut plugin = Plugin::resolving(&[format!("http://two.test:{port}")], &names);
    assert_eq!(plugin.get(&format!("http://two.test:{port}/")).await, "output fine");
}
