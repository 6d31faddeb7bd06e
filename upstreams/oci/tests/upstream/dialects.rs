//! Where credentials come from, and what clouds make of them. Each mock checks what it gets.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use model::{Name, Upstream};
use sha2::{Digest, Sha256};
use suite::registry::{Asked, Fault, Login, Registry};
use upstream_oci::Registries;

use crate::stage::{open_as, plan, resolve};

fn one(login: Login) -> Registry {
    let registry = Registry::start();
    registry.image("team/app", Some("1"), "linux/amd64", &[b"layer"]);
    registry.login(login);
    registry
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<_>>();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature that AWS would compute for what came.
fn signature(asked: &Asked, secret: &str) -> String {
    let said = asked.header("authorization").expect("an authorization");
    let part = |name: &str| said.split(&format!("{name}=")).nth(1).expect("a part").split(',').next().expect("a value");
    let scope = part("Credential").split_once('/').expect("a scope").1;
    let signed = part("SignedHeaders");
    let lines: String =
        signed.split(';').map(|name| format!("{name}:{}\n", asked.header(name).expect("a header"))).collect();
    let body = hex(&Sha256::digest(asked.body.as_bytes()));
    let canonical = format!("{}\n{}\n\n{lines}\n{signed}\n{body}", asked.method, asked.path);
    let date = asked.header("x-amz-date").expect("a date");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    hex(&hmac(&key, text.as_bytes()))
}

async fn pull(upstream: &Registries, host: &str) -> model::Result<bool> {
    let name = Name::new(format!("oci/{host}/team/app:1")).expect("a name");
    Ok(upstream.resolve(&name, None).await?.is_some())
}

#[tokio::test]
async fn amazon_gets_a_signed_request_once() {
    let registry = one(Login::Basic("AWS".into(), "twelve hours".into()));
    let api = Registry::start();
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs() + 43_200;
    let token = BASE64_STANDARD.encode("AWS:twelve hours");
    let answer = format!(
        r#"{{"authorizationData":[{{"authorizationToken":"{token}","expiresAt":{end}.5,"proxyEndpoint":"x"}}]}}"#
    );
    api.fail("POST /", Fault::Body(answer), 1);
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").expect("written");
    let more = format!(
        "endpoint = \"{}\"\n[[upstream.credentials]]\ndialect = \"ecr\"\nuser = \"AKIDEXAMPLE\"\n\
         password_file = \"{}\"\napi = \"{}\"",
        registry.url(""),
        secret.path().display(),
        api.url("/")
    );
    let upstream = plan(host, &more).open().expect("upstreams");
    assert!(pull(&upstream, host).await.expect("an answer") && pull(&upstream, host).await.expect("an answer"));
    let asked = api.asked();
    assert_eq!(asked.len(), 1);
    let said = asked[0].header("authorization").expect("an authorization");
    assert!(said.contains("Credential=AKIDEXAMPLE/") && said.contains("/eu-west-1/ecr/aws4_request"), "{said}");
    assert!(["host", "x-amz-date", "x-amz-target", "content-type"].iter().all(|name| said.contains(name)), "{said}");
    let right = signature(&asked[0], "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    assert!(said.ends_with(&format!("Signature={right}")), "{said}");
    assert_eq!(asked[0].header("x-amz-target"), Some("AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"));
    // A key that is refused is told as such.
    api.fail("POST /", Fault::Status(400, vec![], r#"{"__type":"UnrecognizedClientException"}"#.into()), 1);
    let again = plan(host, &more).open().expect("upstreams");
    let error = pull(&again, host).await.expect_err("refused");
    assert!(error.text().contains("access key"), "{error}");
}

#[tokio::test]
async fn azure_exchanges_tokens() {
    let Login::Bearer { challenge, expires_in, .. } = Login::anybody() else { panic!("a bearer") };
    let user = Some(("nobody".to_owned(), "nothing".to_owned()));
    let identity = Some("refresh".to_owned());
    let key = "access_token";
    let registry = one(Login::Bearer { challenge, user, identity, expires_in, key, post_only: true });
    registry.fail("POST /oauth2/exchange", Fault::Body(r#"{"refresh_token":"refresh"}"#.into()), 1);
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "entra").expect("written");
    let more = format!(
        "[[upstream.credentials]]\ndialect = \"acr\"\ntenant = \"ours\"\npassword_file = \"{}\"",
        token.path().display()
    );
    let upstream = plan(&registry.host(), &more).open().expect("upstreams");
    assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok_and(|found| found.is_some()));
    let asked = registry.asked();
    let fields = |line: &str| {
        let one = asked.iter().find(|asked| asked.line().starts_with(line)).expect(line);
        one.fields().into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    let exchange = fields("POST /oauth2/exchange");
    assert_eq!((exchange["grant_type"].as_str(), exchange["access_token"].as_str()), ("access_token", "entra"));
    assert_eq!((exchange["service"].as_str(), exchange["tenant"].as_str()), ("127.0.0.1", "ours"));
    let bought = fields("POST /token");
    assert_eq!((bought["grant_type"].as_str(), bought["refresh_token"].as_str()), ("refresh_token", "refresh"));
    assert_eq!((bought["scope"].as_str(), bought["service"].as_str()), ("repository:team/app:pull", "registry.test"));
}

#[tokio::test]
async fn harbor_gitlab_and_azure_admins_are_users() {
    for (user, dialect) in
        [("robot$team+pull", "harbor-robot"), ("gitlab+deploy-token-1", "gitlab-deploy-token"), ("admin", "acr")]
    {
        for login in [Login::user(user, "p$w"), Login::Basic(user.into(), "p$w".into())] {
            let registry = one(login);
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), "p$w\n").expect("written");
            let more = format!(
                "[[upstream.credentials]]\ndialect = \"{dialect}\"\nuser = \"{user}\"\npassword_file = \"{}\"",
                file.path().display()
            );
            let upstream = plan(&registry.host(), &more).open().expect("upstreams");
            assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok_and(|found| found.is_some()), "{user}");
        }
    }
    let registry = one(Login::user("me", "old"));
    let (upstream, file) = open_as(&registry, "me", "old");
    assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok());
    // A password that was changed on both sides is read again when the old one is refused.
    registry.login(Login::user("me", "new"));
    registry.revoke();
    std::fs::write(file.path(), "new").expect("written");
    assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok_and(|found| found.is_some()));
}

#[tokio::test]
async fn files_of_docker_are_read() {
    let registry = one(Login::user("me", "secret"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, registry.host(), BASE64_STANDARD.encode("me:secret"));
    std::fs::write(file.path(), text).expect("written");
    let more = format!("[[upstream.credentials]]\ndocker_config = \"{}\"", file.path().display());
    let upstream = plan(&registry.host(), &more).open().expect("upstreams");
    assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok_and(|found| found.is_some()));
}

/// Runs the next test with a PATH in which there are helpers.
#[test]
fn programs_are_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, script) in [
        (
            "good",
            "read host; [ \"$1\" = get ] || exit 3; printf '{\"ServerURL\":\"%s\",\"Username\":\"me\",\"Secret\":\"secret\"}' \"$host\"",
        ),
        ("none", "echo credentials not found in native keychain; exit 1"),
        ("bad", "echo no json"),
        ("loud", "exec cat /dev/zero"),
        ("fails", "exit 7"),
    ] {
        let path = directory.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "dialects::programs_in_path", "--ignored", "--nocapture"]).env("PATH", path);
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[tokio::test]
#[ignore = "programs_are_asked runs it with its helpers in PATH"]
async fn programs_in_path() {
    let registry = one(Login::user("me", "secret"));
    for (name, wanted) in
        [("good", ""), ("none", "(401"), ("bad", "JSON"), ("loud", "too much"), ("fails", "7"), ("gone", "PATH")]
    {
        let upstream = plan(&registry.host(), &format!("[[upstream.credentials]]\nhelper = \"{name}\""));
        let found = resolve(&upstream.open().expect("upstreams"), &registry, "team/app:1").await;
        match (wanted, found) {
            ("", found) => assert!(found.is_ok_and(|found| found.is_some()), "{name}"),
            (wanted, found) => {
                let error = found.expect_err(name);
                assert!(error.to_string().contains(wanted), "{name}: {error}");
            }
        }
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!(r#"{{"credHelpers":{{"{}":"good"}}}}"#, registry.host())).expect("written");
    let more = format!("[[upstream.credentials]]\ndocker_config = \"{}\"", file.path().display());
    let upstream = plan(&registry.host(), &more).open().expect("upstreams");
    assert!(resolve(&upstream, &registry, "team/app:1").await.is_ok_and(|found| found.is_some()));
}
