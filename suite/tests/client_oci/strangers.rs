//! Who may not read a repository cannot tell it from one that is not there.

use reqwest::{Method, StatusCode};
use suite::clients::{Api, Hub};
use suite::layout::Layout;
use tempfile::tempdir;

const CONFIGURATION: &str = r#"
[registry]
default_upstream = ""
[[listen]]
name = "inside"
address = "127.0.0.1:PORT"
[[listen]]
name = "outside"
address = "127.0.0.1:OUTSIDE"
anonymous = ["read:main:oci/public", "write:main:oci/public"]
"#;

/// What an answer says, without the names that the caller brought itself.
async fn told(api: &Api, method: Method, path: &str, secret: &str) -> (StatusCode, Vec<(String, String)>, String) {
    let answer = api.ask(method, path).send().await.expect("an answer");
    let status = answer.status();
    let mut headers: Vec<(String, String)> = answer
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date" && *name != "x-request-id")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().replace(secret, "NAME")))
        .collect();
    headers.retain(|(name, _)| name != "content-length" && name != "location" && name != "docker-upload-uuid");
    headers.sort();
    (status, headers, answer.text().await.expect("a body").replace(secret, "NAME"))
}

#[tokio::test]
async fn a_hidden_repository_is_an_unknown_one() {
    let root = tempdir().expect("a directory");
    let outside = suite::clients::free_port();
    let hub = Hub::configured(root.path(), &CONFIGURATION.replace("OUTSIDE", &outside.to_string()));
    let (inside, stranger) = (Api::new(&hub.url()), Api::new(&format!("http://localhost:{outside}")));
    let (secret, public) = (Layout::small("secret"), Layout::small("public"));
    inside.push("secret/app", Some("1"), &secret).await.expect("a push");
    inside.push("public/app", Some("1"), &public).await.expect("a push");
    let manifest = std::fs::read(secret.file(&secret.root())).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let (digest, layer) = (secret.digest(), manifest["layers"][0]["digest"].as_str().expect("a layer").to_owned());
    let reads = [
        "manifests/1".to_owned(),
        format!("manifests/{digest}"),
        format!("blobs/{layer}"),
        "tags/list".into(),
        format!("referrers/{digest}"),
        "_entrepot/history/1".into(),
    ];
    for path in &reads {
        for method in [Method::GET, Method::HEAD] {
            let known = told(&stranger, method.clone(), &format!("secret/app/{path}"), "secret/app").await;
            let unknown = told(&stranger, method.clone(), &format!("hidden/app/{path}"), "hidden/app").await;
            assert_eq!(known, unknown, "{method} {path}");
            assert!(!known.2.contains(&digest[7..]) || path.contains(&digest), "{known:?}");
        }
    }
    for method in [Method::DELETE, Method::PUT] {
        let known = told(&stranger, method.clone(), "secret/app/manifests/1", "secret/app").await;
        let unknown = told(&stranger, method.clone(), "hidden/app/manifests/1", "hidden/app").await;
        assert_eq!(known, unknown, "{method}");
    }
    // A mount from what it may not read has to be sent, as from what is not there.
    for from in ["secret/app", "hidden/app"] {
        let path = format!("public/app/blobs/uploads/?mount={layer}&from={from}");
        let answer = stranger.ask(Method::POST, &path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{from}");
    }
    let path = format!("public/app/blobs/uploads/?mount={layer}");
    assert_eq!(stranger.ask(Method::POST, &path).send().await.expect("an answer").status(), StatusCode::ACCEPTED);
    // A manifest that names what is elsewhere is incomplete, whoever has it.
    let bytes = std::fs::read(secret.file(&secret.root())).expect("a manifest");
    let media = suite::layout::MANIFEST;
    let refused = stranger.push_manifest("public/app", "2", media, bytes).await.expect_err("it is incomplete");
    assert!(refused.contains("MANIFEST_BLOB_UNKNOWN"), "{refused}");
    let catalog: serde_json::Value =
        serde_json::from_slice(&stranger.get("_catalog").await.expect("a list").1).expect("JSON");
    assert_eq!(catalog["repositories"], serde_json::json!(["public/app"]));
    assert_eq!(stranger.pull("public/app", "1").await.expect("a pull"), public.digest());
}
