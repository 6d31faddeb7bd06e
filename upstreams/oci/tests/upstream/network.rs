//! Hosts, networks, proxies, and what is logged.

use std::io::Write;
use std::sync::{Arc, Mutex};

use model::{Meaning, Name, Upstream};
use suite::registry::{Fault, Login, Registry};
use upstream_oci::{Outcome, Plan};

use crate::stage::{blob, entry, fetch, name, open, open_as, plan, resolve};

#[tokio::test]
async fn only_configured_hosts_are_asked() {
    let registry = Registry::start();
    let upstream = open(&registry);
    assert!(upstream.knows(&registry.host()) && !upstream.knows("docker.io"));
    for (wrong, meaning) in [
        ("oci/docker.io/library/app:1", Meaning::Denied),
        ("oci/app:1", Meaning::Malformed),
        ("oci/localhost:1", Meaning::Malformed),
        ("ac/1", Meaning::Malformed),
        ("oci/a.example/../x:1", Meaning::Malformed),
    ] {
        let error = upstream.resolve(&Name::new(wrong).expect("a name"), None).await.expect_err(wrong);
        assert_eq!(error.meaning(), &meaning, "{wrong}: {error}");
    }
    assert!(registry.asked().is_empty());
}

#[tokio::test]
async fn this_machine_is_not_asked_unless_that_is_meant() {
    let registry = Registry::start();
    registry.image("app", Some("1"), "linux/amd64", &[]);
    let port = registry.host().rsplit_once(':').expect("a port").1.to_owned();
    for host in [registry.host(), format!("localhost:{port}")] {
        let mut made = Plan { upstream: vec![entry(&host)], ..Plan::default() };
        made.upstream[0].private = false;
        let upstream = made.open().expect("upstreams");
        let wanted = Name::new(format!("oci/{host}/app:1")).expect("a name");
        let error = upstream.resolve(&wanted, None).await.expect_err("refused");
        assert_eq!(error.meaning(), &Meaning::Denied, "{host}: {error}");
        assert!(error.text().contains("private = true"), "{error}");
    }
    assert!(registry.asked().is_empty());
}

#[tokio::test]
async fn who_cannot_be_reached_is_named() {
    let registry = Registry::start();
    let gone = registry.host();
    let upstream = open(&registry);
    let wanted = name(&registry, "app:1");
    drop(registry);
    let error = upstream.resolve(&wanted, None).await.expect_err("nobody is there");
    assert_eq!(error.meaning(), &Meaning::Upstream);
    assert!(error.text().contains(&gone), "{error}");
    assert!(upstream.requests().iter().any(|(host, outcome, _)| *host == gone && *outcome == Outcome::Unreachable));
    let upstream = plan("nowhere.invalid", "").open().expect("upstreams");
    let error = upstream.resolve(&Name::new("oci/nowhere.invalid/app:1").expect("a name"), None).await;
    assert!(error.expect_err("no such name").text().contains("nowhere.invalid"));
}

#[tokio::test]
async fn proxies_are_asked_for_what_is_behind_them() {
    let proxy = Registry::start();
    let content = Registry::start();
    let image = content.image("app", Some("1"), "linux/amd64", &[]);
    let body = String::from_utf8(image.manifest).expect("text");
    proxy.fail("GET http://a.example/v2/app/manifests/1", Fault::Body(body), 1);
    let mut made = Plan { upstream: vec![entry("a.example")], ..Plan::default() };
    made.upstream[0].private = false;
    made.upstream[0].plain_http = true;
    made.upstream[0].proxy = Some(proxy.url(""));
    let upstream = made.open().expect("upstreams");
    let found = upstream.resolve(&Name::new("oci/a.example/app:1").expect("a name"), None).await;
    assert!(found.is_ok_and(|found| found.is_some()));
    // Not to the proxy's own machine, though.
    proxy.fail("GET http://a.example/v2/app/manifests/1", Fault::Redirect(302, proxy.url("/secret")), 9);
    assert!(upstream.resolve(&Name::new("oci/a.example/app:1").expect("a name"), None).await.is_err());
    assert_eq!(proxy.count("GET /secret"), 0);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_shows_all_but_secrets() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let registry = Registry::start();
    let image = registry.image("app", Some("1"), "linux/amd64", &[b"layer"]);
    registry.login(Login::user("me", "hunter2"));
    registry.header("Set-Cookie", "session=hunter3");
    let (upstream, _file) = open_as(&registry, "me", "hunter2");
    assert!(resolve(&upstream, &registry, "app:1").await.is_ok());
    let rest = format!("app@{}", image.digest);
    registry.fail("GET", Fault::Redirect(307, format!("/v2/app/manifests/{}?sig=hunter4", image.digest)), 1);
    assert!(fetch(&upstream, &registry, &rest, blob(&image.manifest)).await.is_ok());
    let mut text = String::from_utf8(lines.0.lock().expect("a lock").clone()).expect("text");
    // Other crates of the connection do not know what is secret; the operator asks for our target alone.
    text = text.lines().filter(|line| line.contains(" upstream: ")).collect::<Vec<_>>().join("\n");
    for shown in
        ["> GET http://", "/v2/app/manifests/1", "< 200 OK from", "< 401", "scope=repository", "www-authenticate"]
    {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
    for secret in ["hunter", "token-1", "bWU6aHVudGVyMg"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let debug = format!("{upstream:?}");
    assert!(!debug.contains("hunter") && !debug.contains("token-1"), "{debug}");
}

#[test]
fn plans_are_checked_before_anything_is_asked() {
    let wrong = |more: &str| plan("a.example", more).open().expect_err(more).to_string();
    assert!(wrong("ca = \"/nowhere.pem\"").contains("/nowhere.pem"));
    assert!(wrong("endpoint = \"http://b.example\"").contains("plain_http"));
    assert!(wrong("platforms = [\"a/b/c/d\"]").contains("platform"));
    let mut made = Plan { upstream: vec![entry("a.example")], ..Plan::default() };
    made.upstream[0].proxy = Some("http://u:hunter2@[".into());
    let error = made.open().expect_err("no proxy").to_string();
    assert!(error.contains("proxy") && !error.contains("hunter2"), "{error}");
    assert!(wrong("[[upstream]]\nhost = \"A.example\"").contains("twice"));
    assert!(toml::from_str::<Plan>("[[upstream]]\nhots = \"a\"").is_err());
}
