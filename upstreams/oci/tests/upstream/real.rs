//! Debian's docker-registry as an upstream: for anybody, with a password, behind TLS with an authority of its own.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{Method, header};
use model::{Name, Upstream};
use reqwest::Client;
use suite::registry::{Image, Registry};
use upstream_oci::Plan;

use crate::stage::{all, blob, bytes, plan};

const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A docker-registry that ends with its value.
struct Real {
    process: Child,
    host: String,
    directory: tempfile::TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(directory: &Path, line: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(directory).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Real {
    /// Starts one; `None`, and a line that says so, where a program is missing.
    fn start(password: bool, tls: bool) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = |program: &str| {
            println!("not run: a pull from docker-registry, because {program} is not installed");
        };
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
        let mut text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n",
            directory.path().join("data").display()
        );
        let _ = write!(text, "http:\n  addr: 127.0.0.1:{port}\n");
        if tls {
            let made = run(
                directory.path(),
                "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=authority -days 2 \
                 && openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=localhost \
                 && printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > ext \
                 && openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out tls.crt -days 2 -extfile ext",
            );
            if !made {
                missing("openssl");
                return None;
            }
            let place = |name: &str| directory.path().join(name).display().to_string();
            let _ = write!(text, "  tls:\n    certificate: {}\n    key: {}\n", place("tls.crt"), place("tls.key"));
        }
        if password {
            if !run(directory.path(), "htpasswd -Bbn me secret > passwords") {
                missing("htpasswd");
                return None;
            }
            let passwords = directory.path().join("passwords");
            let _ = write!(text, "auth:\n  htpasswd:\n    realm: Some Realm\n    path: {}\n", passwords.display());
        }
        let config = directory.path().join("config.yml");
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            missing("docker-registry");
            return None;
        };
        Some(Self { process, host: format!("127.0.0.1:{port}"), directory })
    }

    fn client(&self, tls: bool) -> Client {
        let mut builder = Client::builder().no_proxy();
        if tls {
            let pem = std::fs::read(self.directory.path().join("ca.crt")).expect("an authority");
            builder = builder.tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("a certificate")]);
        }
        builder.build().expect("a client")
    }

    /// Pushes an image, as soon as it answers.
    async fn push(&self, scheme: &str, image: &Image) {
        let client = self.client(scheme == "https");
        let base = format!("{scheme}://{}", self.host);
        let ask = |method: Method, url: String| client.request(method, url).basic_auth("me", Some("secret"));
        let end = Instant::now() + Duration::from_secs(30);
        while ask(Method::GET, format!("{base}/v2/")).send().await.is_err() {
            assert!(Instant::now() < end, "docker-registry does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for bytes in image.layers.iter().chain([&image.config]) {
            let begun =
                ask(Method::POST, format!("{base}/v2/team/app/blobs/uploads/")).send().await.expect("an answer");
            let location = begun.headers()[header::LOCATION].to_str().expect("text").to_owned();
            let location = if location.starts_with('/') { format!("{base}{location}") } else { location };
            let url = format!("{location}&digest={}", suite::registry::digest(bytes));
            let put = ask(Method::PUT, url).body(bytes.clone()).send().await.expect("an answer");
            assert_eq!(put.status(), 201);
        }
        let url = format!("{base}/v2/team/app/manifests/1");
        let put = ask(Method::PUT, url).header(header::CONTENT_TYPE, TYPE).body(image.manifest.clone());
        assert_eq!(put.send().await.expect("an answer").status(), 201);
    }

    /// Pulls what was pushed, all of it.
    async fn pull(&self, plan: Plan, image: &Image) -> model::Result<()> {
        let upstream = plan.open()?;
        let name = |rest: &str| Name::new(format!("oci/{}/team/app{rest}", self.host)).expect("a name");
        let found = upstream.resolve(&name(":1"), None).await?.expect("there");
        let model::Found::Points(found) = found else { panic!("nothing was known") };
        assert_eq!(found.bytes.as_deref(), Some(image.manifest.as_slice()));
        let same = upstream.resolve(&name(":1"), Some(&found.pointer)).await?;
        assert!(matches!(same, Some(model::Found::Same)));
        for bytes in image.layers.iter().chain([&image.config]) {
            let (_, pointer) =
                found.beside.iter().find(|(_, pointer)| pointer.blob == blob(bytes)).expect("it is named");
            let named = name(&format!("!sha256:{}", pointer.blob.digest));
            let resolved = upstream.resolve(&named, None).await?;
            assert!(matches!(resolved, Some(model::Found::Points(found)) if found.pointer.blob == pointer.blob));
            let body = upstream.fetch(&named, pointer.blob).await?.expect("there");
            assert_eq!(&all(body).await?, bytes);
        }
        assert!(upstream.resolve(&name(":gone"), None).await?.is_none());
        Ok(())
    }
}

fn image() -> Image {
    Registry::start().image("team/app", None, "linux/amd64", &[&bytes(5 << 20), b"small"])
}

#[tokio::test]
async fn anybody_pulls_from_docker_registry() {
    let Some(real) = Real::start(false, false) else { return };
    let image = image();
    real.push("http", &image).await;
    real.pull(plan(&real.host, ""), &image).await.expect("pulled");
}

#[tokio::test]
async fn a_user_pulls_from_docker_registry() {
    let Some(real) = Real::start(true, false) else { return };
    let image = image();
    real.push("http", &image).await;
    let file = real.directory.path().join("password");
    std::fs::write(&file, "secret\n").expect("written");
    let more = format!("[[upstream.credentials]]\nuser = \"me\"\npassword_file = \"{}\"", file.display());
    real.pull(plan(&real.host, &more), &image).await.expect("pulled");
    assert!(real.pull(plan(&real.host, ""), &image).await.is_err());
}

#[tokio::test]
async fn tls_with_an_authority_of_its_own() {
    let Some(real) = Real::start(false, true) else { return };
    let image = image();
    real.push("https", &image).await;
    let endpoint = format!("endpoint = \"https://{}\"", real.host);
    let more = format!("{endpoint}\nca = \"{}\"", real.directory.path().join("ca.crt").display());
    real.pull(plan(&real.host, &more), &image).await.expect("pulled");
    let error = real.pull(plan(&real.host, &endpoint), &image).await.expect_err("not trusted");
    assert!(error.text().contains("`ca`"), "{error}");
}
