//! Who we say that we are, and to whom.

use model::{Meaning, Upstream};
use suite::registry::{Fault, Login, Registry, digest};

use crate::stage::{blob, bytes, fetch, name, open, open_as, plan, resolve};

fn one(login: Login) -> (Registry, Vec<u8>, String) {
    let registry = Registry::start();
    let layer = bytes(3 << 20);
    registry.image("team/app", Some("1"), "linux/amd64", &[&layer]);
    registry.login(login);
    let rest = format!("team/app!{}", digest(&layer));
    (registry, layer, rest)
}

/// The login of [`Login::user`] with another challenge.
fn challenge(text: &str) -> Login {
    match Login::user("me", "secret:with colon") {
        Login::Bearer { user, identity, expires_in, key, post_only, .. } => {
            Login::Bearer { challenge: text.into(), user, identity, expires_in, key, post_only }
        }
        other => other,
    }
}

#[tokio::test]
async fn anybody_gets_a_token_once() {
    let (registry, layer, rest) = one(Login::anybody());
    let upstream = open(&registry);
    let (a, b, c) = tokio::join!(
        resolve(&upstream, &registry, "team/app:1"),
        resolve(&upstream, &registry, "team/app:1"),
        fetch(&upstream, &registry, &rest, blob(&layer))
    );
    assert!(a.is_ok_and(|found| found.is_some()) && b.is_ok_and(|found| found.is_some()));
    assert_eq!(c.expect("bytes"), layer);
    assert_eq!(registry.count("GET /token"), 1, "one token, however many want it");
    let asked = registry.asked();
    let token = asked.iter().find(|asked| asked.path.starts_with("/token")).expect("a token");
    let fields = [("service", "registry.test"), ("scope", "repository:team/app:pull")];
    assert_eq!(token.fields(), fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(token.header("authorization"), None);
}

#[tokio::test]
async fn every_spelling_of_a_challenge_is_understood() {
    for text in [
        r#"Bearer realm="{realm}",service="registry.test",scope="*""#,
        r#"bearer service="registry.test", realm="{realm}?account=x""#,
        r#"BEARER Realm={realm} , Service=registry.test"#,
        r#"Basic realm="x", Bearer realm="{realm}""#,
        r#"Negotiate, Bearer realm="{realm}",error="invalid_token",Basic realm="y""#,
    ] {
        let (registry, layer, rest) = one(challenge(text));
        let (upstream, _file) = open_as(&registry, "me", "secret:with colon");
        assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer, "{text}");
        assert_eq!(registry.count("GET /token"), 1, "{text}");
    }
}

#[tokio::test]
async fn basic_is_spoken_too() {
    let (registry, layer, rest) = one(Login::Basic("me".into(), "secret".into()));
    let (upstream, _file) = open_as(&registry, "me", "secret");
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
    let error = resolve(&open(&registry), &registry, "team/app:1").await.expect_err("nobody");
    assert_eq!(error.meaning(), &Meaning::Denied);
    let (wrong, _file) = open_as(&registry, "me", "wrong");
    let before = registry.asked().len();
    let error = resolve(&wrong, &registry, "team/app:1").await.expect_err("wrong");
    assert!(error.text().contains("credentials") && !error.to_string().contains("wrong answer"), "{error}");
    assert!(registry.asked().len() - before <= 2, "a wrong password is not tried again and again");
}

#[tokio::test]
async fn wrong_users_are_told_and_not_repeated() {
    let (registry, ..) = one(Login::user("me", "secret"));
    let (upstream, _file) = open_as(&registry, "me", "wrong");
    let error = resolve(&upstream, &registry, "team/app:1").await.expect_err("wrong");
    assert_eq!(error.meaning(), &Meaning::Denied, "{error}");
    assert!(!format!("{error:?}").contains("wrong:"));
    assert_eq!(registry.count("GET /token"), 1);
    let strange = r#"Negotiate"#;
    let (registry, ..) = one(challenge(strange));
    let error = resolve(&open(&registry), &registry, "team/app:1").await.expect_err("strange");
    assert!(error.text().contains("negotiate"), "{error}");
}

#[tokio::test]
async fn a_token_that_ends_in_mid_pull_is_replaced() {
    let (registry, layer, rest) = one(Login::user("me", "secret"));
    let (upstream, _file) = open_as(&registry, "me", "secret");
    registry.fail("GET /v2/team/app/blobs/", Fault::Break(0), 0);
    assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok());
    for _ in 0..3 {
        registry.revoke();
        assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
    }
    assert_eq!(registry.count("GET /token"), 4);
    // In the middle of a body.
    use futures::StreamExt;
    registry.fail("GET /v2/team/app/blobs/", Fault::Stop(1000), 1);
    let body = upstream.fetch(&name(&registry, &rest), blob(&layer)).await.expect("an answer").expect("there");
    let model::Body::Stream { mut chunks, .. } = body else { panic!("a stream") };
    let mut found = chunks.next().await.expect("a piece").expect("bytes").to_vec();
    registry.revoke();
    while let Some(piece) = chunks.next().await {
        found.extend(piece.expect("bytes"));
    }
    assert_eq!(found, layer);
}

#[tokio::test]
async fn tokens_end_when_they_say() {
    let short = |expires_in| match Login::user("me", "secret") {
        Login::Bearer { challenge, user, identity, key, post_only, .. } => {
            Login::Bearer { challenge, user, identity, expires_in, key, post_only }
        }
        other => other,
    };
    for (expires_in, tokens) in [(Some(1), 2), (Some(3600), 1), (None, 1)] {
        let (registry, ..) = one(short(expires_in));
        let (upstream, _file) = open_as(&registry, "me", "secret");
        assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok());
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok());
        assert_eq!(registry.count("GET /token"), tokens, "{expires_in:?}");
    }
}

#[tokio::test]
async fn token_endpoints_are_as_strange_as_registries() {
    let login = |key, post_only, identity: Option<&str>| match Login::user("me", "secret") {
        Login::Bearer { challenge, user, expires_in, .. } => {
            Login::Bearer { challenge, user, identity: identity.map(Into::into), expires_in, key, post_only }
        }
        other => other,
    };
    for (key, post_only) in [("access_token", false), ("token", true), ("access_token", true)] {
        let (registry, layer, rest) = one(login(key, post_only, None));
        let (upstream, _file) = open_as(&registry, "me", "secret");
        assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
        assert_eq!(registry.count("POST /token"), usize::from(post_only));
    }
    let (registry, ..) = one(login("token", false, None));
    let (upstream, _file) = open_as(&registry, "me", "secret");
    for fault in [
        Fault::Body("no json".into()),
        Fault::Body("{}".into()),
        Fault::Body(r#"{"token":"a\nb"}"#.into()),
        Fault::EndlessBody,
        Fault::EndlessHead,
        Fault::Silent,
        Fault::Stop(3),
        Fault::Status(404, vec![], String::new()),
        Fault::Redirect(302, registry.url("/token")),
    ] {
        registry.fail("GET /token", fault.clone(), 99);
        registry.fail("POST /token", fault.clone(), 99);
        let began = std::time::Instant::now();
        let error = resolve(&upstream, &registry, "team/app:1").await.expect_err(&format!("{fault:?}"));
        assert_eq!(error.meaning(), &Meaning::Upstream, "{fault:?}: {error}");
        assert!(began.elapsed() < std::time::Duration::from_secs(12), "{fault:?}");
        registry.heal();
    }
    registry.fail("GET /token", Fault::Status(429, vec![], String::new()), 1);
    let error = resolve(&upstream, &registry, "team/app:1").await.expect_err("limited");
    assert!(matches!(error.meaning(), Meaning::Busy(_)));
    assert!(
        resolve(&upstream, &registry, "team/app:1").await.is_ok_and(|found| found.is_some()),
        "nothing bad is kept"
    );
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let (registry, layer, rest) = one(Login::user("me", "secret"));
    let storage = Registry::start();
    let stored = storage.blob("x", &layer);
    let (upstream, _file) = open_as(&registry, "me", "secret");
    let get = "GET /v2/team/app/blobs/";
    assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok());
    registry.fail(get, Fault::Redirect(307, storage.url(&format!("/v2/x/blobs/{stored}?sig=1"))), 1);
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
    // One that asks for them gets nothing either, and neither does one that puts them into its URL.
    storage.login(Login::user("me", "secret"));
    registry.fail(get, Fault::Redirect(307, storage.url(&format!("/v2/x/blobs/{stored}"))), 1);
    assert!(fetch(&upstream, &registry, &rest, blob(&layer)).await.is_err());
    let inside = format!("http://user:pass@{}/v2/x/blobs/{stored}", storage.host());
    registry.fail(get, Fault::Redirect(307, inside), 1);
    assert!(fetch(&upstream, &registry, &rest, blob(&layer)).await.is_err());
    let asked = storage.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.header("authorization").is_none()), "{asked:?}");
    assert_eq!(storage.count("GET /token"), 0);
    // A token endpoint that leads elsewhere leads nowhere with them.
    registry.revoke();
    registry.fail("GET /token", Fault::Redirect(307, storage.url("/token")), 9);
    let _ = fetch(&upstream, &registry, &rest, blob(&layer)).await;
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn realms_that_lead_astray_are_refused() {
    for realm in [
        "http://tokens.example/t",
        "ftp://a/",
        "http://10.0.0.1/t",
        "https://169.254.169.254/t",
        "",
        "http://u:p@127.0.0.1/",
    ] {
        let (registry, ..) = one(challenge(&format!("Bearer realm=\"{realm}\"")));
        let (upstream, _file) = open_as(&registry, "me", "secret");
        let error = resolve(&upstream, &registry, "team/app:1").await.expect_err(realm);
        assert!(matches!(error.meaning(), Meaning::Upstream | Meaning::Denied), "{realm}: {error}");
        assert!(registry.asked().len() == 1, "{realm}");
    }
}

#[tokio::test]
async fn the_longest_prefix_says_who_we_are() {
    let (registry, layer, rest) = one(Login::Basic("team".into(), "t".into()));
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, name).expect("written");
        path.display().to_string()
    };
    let (a, t, x) = (file("a"), file("t"), file("x"));
    let more = format!(
        "[[upstream.credentials]]\nuser = \"all\"\npassword_file = \"{a}\"\n\
         [[upstream.credentials]]\nprefix = \"team\"\nuser = \"team\"\npassword_file = \"{t}\"\n\
         [[upstream.credentials]]\nprefix = \"team/app2\"\nuser = \"x\"\npassword_file = \"{x}\"\n"
    );
    let upstream = plan(&registry.host(), &more).open().expect("upstreams");
    assert_eq!(fetch(&upstream, &registry, &rest, blob(&layer)).await.expect("bytes"), layer);
}
