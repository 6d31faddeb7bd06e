//! Who asks.

use std::sync::Arc;

use kernel::{Grant, Rights};
use server::{Access, Htpasswd, Proxies};

use crate::certificates::run;
use crate::stage::{Setting, Stage};

/// Users alice and bob, tokens, and readers without a name.
fn access(directory: &std::path::Path) -> (Access, Arc<Htpasswd>) {
    run(directory, "htpasswd -Bbc users alice wonder");
    run(directory, "htpasswd -BbC 4 users bob builder");
    let users = Arc::new(Htpasswd::open(directory.join("users")).expect("it reads"));
    let access = Access {
        anonymous: [Grant::everywhere(Rights::READ)].into(),
        users: Some(Arc::clone(&users)),
        user_grants: [Grant::everywhere(Rights::PUSH)].into(),
        tokens: true,
        ..Access::default()
    };
    (access, users)
}

#[tokio::test]
async fn passwords_and_tokens_make_callers() {
    let directory = tempfile::tempdir().expect("a directory");
    let stage = Stage::new(Setting { access: access(directory.path()).0, ..Setting::default() });
    for (arguments, wanted) in [
        (&[][..], "anonymous [read]"),
        (&["-u", "alice:wonder"], "user:alice [read,write,digest]"),
        // The second time it is remembered.
        (&["-u", "alice:wonder"], "user:alice [read,write,digest]"),
        (&["-u", "bob:builder"], "user:bob [read,write,digest]"),
        (&["-H", "Authorization: Bearer sesame"], "token:7 [read,write,delete,digest,admin]"),
        (&["-u", "alice:sesame"], "token:7 [read,write,delete,digest,admin]"),
        // Nobody, which is not the same as a wrong password.
        (&["-H", "Authorization: Basic Og=="], "anonymous [read]"),
        (&["-u", "anything:sesame"], "token:7 [read,write,delete,digest,admin]"),
    ] {
        let said = stage.curl(arguments, "http", "/test/who").await;
        assert!(said.starts_with(wanted), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_never_anonymous() {
    let directory = tempfile::tempdir().expect("a directory");
    let stage = Stage::new(Setting { access: access(directory.path()).0, ..Setting::default() });
    for arguments in [
        ["-u", "alice:wander"],
        ["-u", "carol:wonder"],
        ["-u", "alice:"],
        ["-H", "Authorization: Bearer simsim"],
        ["-H", "Authorization: Basic %%%"],
        ["-H", "Authorization: Negotiate abc"],
        ["-H", "Authorization: x"],
    ] {
        let said = stage.curl(&["-D-", arguments[0], arguments[1]], "http", "/test/who").await;
        assert!(said.starts_with("HTTP/1.1 401"), "{arguments:?}: {said}");
        assert!(said.contains("www-authenticate: Basic realm=\"entrepot\"\r\n"), "{said}");
        let grpc = ["-D-", "--http2-prior-knowledge", "-H", "content-type: application/grpc", "-d", ""];
        let said = stage.curl(&[&grpc[..], &arguments].concat(), "http", "/test/who").await;
        assert!(said.starts_with("HTTP/2 200") && said.contains("grpc-status: 16\r\n"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn where_nobody_can_log_in_credentials_mean_nothing() {
    let stage = Stage::new(Setting::default());
    assert!(stage.curl(&["-u", "alice:wonder"], "http", "/test/who").await.starts_with("anonymous []"));
}

#[tokio::test]
async fn a_changed_password_file_takes_effect_and_a_broken_one_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (access, users) = access(directory.path());
    let stage = Stage::new(Setting { access, ..Setting::default() });
    let status =
        async |user: &str| stage.curl(&["-u", user, "-o/dev/null", "-w%{http_code}"], "http", "/test/who").await;
    assert_eq!(status("alice:wonder").await, "200");
    run(directory.path(), "htpasswd -Bb users alice looking-glass");
    users.refresh();
    assert_eq!(status("alice:wonder").await, "401", "remembering it would be wrong now");
    assert_eq!(status("alice:looking-glass").await, "200");
    run(directory.path(), "htpasswd -mb users bob md5");
    users.refresh();
    assert_eq!(status("bob:builder").await, "200");
    let error = Htpasswd::open(directory.path().join("users")).expect_err("it has an MD5 hash");
    assert!(error.text().contains("line 2 of") && error.text().contains("\"bob\""), "{error}");
}

#[tokio::test]
async fn headers_of_proxies_count_only_from_proxies() {
    let headers = [
        "-HX-Forwarded-For: 192.0.2.9",
        "-HX-Forwarded-Proto: https",
        "-HX-SSL-Client-Verify: SUCCESS",
        "-HX-SSL-Client-S-DN: CN=client",
    ];
    let stranger = Stage::new(Setting::default());
    let said = stranger.curl(&headers, "http", "/test/who").await;
    assert!(said.starts_with("anonymous [] from 127.0.0.1 https=false"), "{said}");

    let from = vec!["127.0.0.0/8".parse().expect("a network")];
    let access = Access {
        certificate: [Grant::everywhere(Rights::PUSH)].into(),
        proxies: Proxies { from, certificate: true, ..Proxies::default() },
        ..Access::default()
    };
    let proxied = Stage::new(Setting { access, ..Setting::default() });
    let said = proxied.curl(&headers, "http", "/test/who").await;
    assert!(said.starts_with("cert:client [read,write,digest] from 192.0.2.9 https=true"), "{said}");
    let said = proxied.curl(&["-HX-SSL-Client-Verify: FAILED", headers[3]], "http", "/test/who").await;
    assert!(said.starts_with("anonymous"), "{said}");
}
