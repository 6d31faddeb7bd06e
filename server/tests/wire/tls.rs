//! TLS: every form of key, certificates of clients as BuildStream users make them, and files that change.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kernel::{Grant, Rights};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use server::{Access, Material, Pem, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::{Pair, run};
use crate::stage::{Setting, Stage, until};

fn material(certificate: &Path, key: Option<&Path>, clients: Option<&Path>) -> Material {
    let file = |path: &Path| Pem::File(path.to_owned());
    Material { certificate: file(certificate), key: key.map(file), clients: clients.map(file) }
}

fn stage(material: Material) -> (Stage, Arc<Tls>) {
    let tls = Arc::new(Tls::open(material).expect("it loads"));
    let access = Access { certificate: [Grant::everywhere(Rights::PUSH)].into(), ..Access::default() };
    (Stage::new(Setting { tls: Some(Arc::clone(&tls)), access, ..Setting::default() }), tls)
}

/// curl's arguments for a client with this pair.
fn with<'a>(server: &'a str, pair: Option<&'a Pair>) -> Vec<&'a str> {
    let mut arguments = vec!["--cacert", server];
    if let Some(pair) = pair {
        let path = |path: &'a Path| path.to_str().expect("a plain path");
        arguments.extend(["--cert", path(&pair.certificate), "--key", path(&pair.key)]);
    }
    arguments
}

#[test]
fn every_form_of_key_loads() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let make = |name: &str, key: &str| {
        run(path, &format!("openssl genpkey {key} -out {name}.key"));
        run(path, &format!("openssl req -new -x509 -key {name}.key -batch -subj /CN=localhost -out {name}.crt"));
    };
    make("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
    make("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384");
    make("ed25519", "-algorithm ED25519");
    run(path, "openssl rsa -in rsa.key -traditional -out pkcs1.key");
    run(path, "openssl ecparam -name prime256v1 -genkey -out sec1.key");
    run(path, "openssl req -new -x509 -key sec1.key -batch -subj /CN=localhost -out sec1.crt");
    let read = |name: &str| fs::read_to_string(path.join(name)).expect("it was made");
    assert!(read("sec1.key").starts_with("-----BEGIN EC PARAMETERS-----"));
    assert!(read("pkcs1.key").starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    assert!(read("rsa.key").starts_with("-----BEGIN PRIVATE KEY-----"));

    let load = |certificate: &str, key: Option<&str>| {
        let key = key.map(|key| path.join(key));
        Tls::open(material(&path.join(certificate), key.as_deref(), None)).map(drop)
    };
    for (certificate, key) in [
        ("rsa.crt", "rsa.key"),
        ("rsa.crt", "pkcs1.key"),
        ("p384.crt", "p384.key"),
        ("sec1.crt", "sec1.key"),
        ("ed25519.crt", "ed25519.key"),
    ] {
        load(certificate, Some(key)).expect(key);
    }
    let (key, certificate) = (read("sec1.key"), read("sec1.crt"));
    for (name, text) in [
        ("key first", format!("{key}{certificate}")),
        ("certificate first", format!("{certificate}{key}")),
        ("no newline between", format!("{}{key}", certificate.trim_end())),
        ("Windows", format!("{key}{certificate}").replace('\n', "\r\n")),
        ("text before", format!("Bag Attributes\n  name: caf\u{e9}\nsubject=CN = x\n{certificate}\nmore: text\n{key}")),
        ("own certificate last", format!("{}{certificate}{key}", read("rsa.crt"))),
    ] {
        fs::write(path.join("both.pem"), text).expect("it is written");
        load("both.pem", None).expect(name);
        load("both.pem", Some("both.pem")).expect(name);
    }
}

#[test]
fn what_cannot_be_used_is_named_and_explained() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let (one, _) = (Pair::quick(path, "one", "localhost"), Pair::quick(path, "two", "localhost"));
    run(path, "openssl pkcs8 -topk8 -in one.key -passout pass:x -out encrypted.key");
    run(path, "openssl ec -in one.key -aes128 -passout pass:x -out old.key");
    let torn = fs::read_to_string(&one.certificate).expect("it was made").replace("-----END", "");
    fs::write(path.join("torn.crt"), torn).expect("it is written");
    for (certificate, key, wanted) in [
        ("one.crt", "two.key", "does not belong to the certificate"),
        ("one.crt", "encrypted.key", "encrypted with a passphrase"),
        ("one.crt", "old.key", "encrypted with a passphrase"),
        ("one.crt", "one.crt", "no private key in"),
        ("one.key", "one.key", "no certificate in"),
        ("torn.crt", "one.key", "damaged PEM text"),
        ("none.crt", "one.key", "cannot read"),
    ] {
        let tls = Tls::open(material(&path.join(certificate), Some(&path.join(key)), None));
        let error = tls.expect_err(wanted);
        let named = error.text().contains(certificate) || error.text().contains(key);
        assert!(error.text().contains(wanted) && named, "{error}");
    }
}

#[tokio::test]
async fn https_speaks_http1_and_http2() {
    let directory = tempfile::tempdir().expect("a directory");
    let pair = Pair::quick(directory.path(), "server", "localhost");
    let (stage, _) = stage(material(&pair.certificate, Some(&pair.key), None));
    let server = pair.certificate.to_str().expect("a plain path");
    for (version, wanted) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for tls in ["1.2", "1.3"] {
            let tls = format!("--tlsv{tls}");
            let arguments = [&with(server, None)[..], &[version, &tls, "-w", "%{stderr}%{http_version}"]].concat();
            let done = stage.try_curl(&arguments, "https", "/test/who").await;
            assert_eq!(String::from_utf8_lossy(&done.stderr), wanted);
            assert!(String::from_utf8_lossy(&done.stdout).starts_with("anonymous [] from 127.0.0.1 https=true"));
        }
    }
    assert!(!stage.try_curl(&[], "http", "/test/who").await.status.success(), "plain text is not understood");
}

#[tokio::test]
async fn the_guides_own_certificates_work() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let (server, client) = (Pair::server_of_the_guide(path), Pair::client_of_the_guide(path));
    run(path, "cp client.crt authorized.crt");
    let (stage, _) = stage(material(&server.certificate, Some(&server.key), Some(&path.join("authorized.crt"))));
    let resolve = format!("artifacts.com:{0}:127.0.0.1:{0}", stage.address.port());
    let resolve = ["--connect-to", resolve.as_str()];
    let trusted = server.certificate.to_str().expect("a plain path");
    for tls in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        // curl takes the URL of the stage last; the guide's host comes first and is the one that counts.
        let url = format!("https://artifacts.com:{}/test/who", stage.address.port());
        let arguments = [&with(trusted, Some(&client))[..], &resolve, tls, &[&url, "--next", "--insecure"]].concat();
        let done = stage.try_curl(&arguments, "http", "/").await;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(said.starts_with("cert:client [read,write,digest]"), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// A client whose certificate and key need not fit, as only an attacker has.
async fn forged(stage: &Stage, certificate: &Pair, key: &Pair, server: &Pair) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let leaf = CertificateDer::from_pem_file(&certificate.certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&key.key).expect("a key");
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("a usable key");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&server.certificate).expect("a certificate")).expect("it is one");
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![leaf], key))));
    let stream = TcpStream::connect(stage.address).await?;
    let name = "localhost".try_into().expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET /test/who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn only_listed_certificates_with_their_key_get_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    // rustls as a client wants a name in the certificate, not only a subject.
    run(
        path,
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -x509 -nodes -batch -subj /CN=localhost \
               -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
               -out server.crt -keyout server.key"
            .replace("               ", "")
            .as_str(),
    );
    let server = Pair { certificate: path.join("server.crt"), key: path.join("server.key") };
    let client = Pair::quick(path, "client", "client");
    let twin = Pair::quick(path, "twin", "client");
    let (listed, authorized) = (fs::read(&client.certificate).expect("it was made"), path.join("authorized.crt"));
    fs::write(&authorized, listed).expect("it is written");
    let (stage, _) = stage(material(&server.certificate, Some(&server.key), Some(&authorized)));
    let trusted = server.certificate.to_str().expect("a plain path");

    let said = forged(&stage, &client, &client, &server).await.expect("it is the right one");
    assert!(said.contains("cert:client"), "{said}");
    assert!(forged(&stage, &client, &twin, &server).await.is_err(), "the key is another one");
    assert!(forged(&stage, &twin, &twin, &server).await.is_err(), "only the subject is the same");
    for tls in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        for (pair, wanted) in [(Some(&client), true), (Some(&twin), false), (None, false)] {
            let arguments = [&with(trusted, pair)[..], tls].concat();
            let done = stage.try_curl(&arguments, "https", "/test/who").await;
            assert_eq!(done.status.success(), wanted, "{pair:?} {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

#[tokio::test]
async fn an_authority_vouches_for_others_and_a_plain_certificate_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let server = Pair::quick(path, "server", "localhost");
    let authority = Pair::quick(path, "authority", "authority");
    let member = Pair::signed(path, "member", "authority");
    let friend = Pair::signed(path, "friend", "member");
    let authorized = path.join("authorized.crt");
    let list = |pairs: &[&Pair]| {
        let texts = pairs.iter().map(|pair| fs::read_to_string(&pair.certificate).expect("it was made"));
        fs::write(&authorized, texts.collect::<String>()).expect("it is written");
    };
    let trusted = server.certificate.to_str().expect("a plain path");
    list(&[&authority]);
    let (stage, tls) = stage(material(&server.certificate, Some(&server.key), Some(&authorized)));
    let said = stage.curl(&with(trusted, Some(&member)), "https", "/test/who").await;
    assert!(said.starts_with("cert:member"), "{said}");
    list(&[&member]);
    assert!(tls.refresh());
    stage.curl(&with(trusted, Some(&member)), "https", "/test/who").await;
    assert!(!stage.try_curl(&with(trusted, Some(&friend)), "https", "/test/who").await.status.success());
}

#[tokio::test]
async fn a_list_that_changes_takes_effect_and_keeps_open_connections() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let server = Pair::quick(path, "server", "localhost");
    let (first, second) = (Pair::quick(path, "first", "first"), Pair::quick(path, "second", "second"));
    let authorized = path.join("authorized.crt");
    fs::write(&authorized, "").expect("it is written");
    let (stage, tls) = stage(material(&server.certificate, Some(&server.key), Some(&authorized)));
    let trusted = server.certificate.to_str().expect("a plain path");
    let (of_first, of_second) = (with(trusted, Some(&first)), with(trusted, Some(&second)));
    let may = async |arguments: &[&str]| stage.try_curl(arguments, "https", "/test/who").await.status.success();
    assert!(!may(&of_first).await, "an empty list authorises nobody");

    // Without any call to refresh: the listener itself looks.
    fs::copy(&first.certificate, &authorized).expect("it is written");
    until("the listed one gets in", async || may(&of_first).await).await;
    let slow = async {
        let said = stage.curl(&of_first, "https", "/test/slow").await;
        assert_eq!(said, "finished", "an open connection goes on");
    };
    let changes = async {
        stage.begun.notified().await;
        let (one, two) = (fs::read(&first.certificate).expect("a"), fs::read(&second.certificate).expect("b"));
        fs::write(&authorized, [one.clone(), two.clone()].concat()).expect("it is written");
        until("the added one gets in", async || may(&of_second).await).await;
        // A torn file keeps what was there; then the first one is removed.
        fs::write(&authorized, &two[..two.len() / 2]).expect("it is written");
        assert!(!tls.refresh());
        assert!(may(&of_first).await && may(&of_second).await);
        fs::write(&authorized, two).expect("it is written");
        until("the removed one is refused", async || !may(&of_first).await).await;
        assert!(may(&of_second).await);
        stage.finish.notify_one();
    };
    tokio::join!(slow, changes);
}

#[tokio::test]
async fn a_new_server_certificate_is_used_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let (server, next) = (Pair::quick(path, "server", "localhost"), Pair::quick(path, "next", "localhost"));
    let (stage, tls) = stage(material(&server.certificate, Some(&server.key), None));
    let (old, new) = (path.join("old.crt"), next.certificate.clone());
    fs::copy(&server.certificate, &old).expect("it is copied");
    let trusts = async |file: &Path| {
        let arguments = with(file.to_str().expect("a plain path"), None);
        stage.try_curl(&arguments, "https", "/test/who").await.status.success()
    };
    // Between the two copies certificate and key do not fit, whoever looks.
    fs::copy(&next.certificate, &server.certificate).expect("it is copied");
    tls.refresh();
    assert!(trusts(&old).await && !trusts(&new).await);
    fs::copy(&next.key, &server.key).expect("it is copied");
    until("the new one is used", async || trusts(&new).await).await;
    assert!(!trusts(&old).await);
    let text = |path: &Path| Pem::Text { name: "guest".into(), text: fs::read_to_string(path).expect("it was made") };
    let handed = |key: &Path| Material { certificate: text(&old), key: Some(text(key)), clients: None };
    assert!(tls.replace(handed(&next.key)).is_err());
    assert!(trusts(&new).await);
}
