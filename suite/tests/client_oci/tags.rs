//! Versions of images: tags that never move, the history of those that do, and the way back.

use std::path::Path;

use serde_json::Value;
use suite::clients::{Api, Hub, as_root, command, installed};
use suite::layout::Layout;
use tempfile::tempdir;

use crate::stage::{Access, Stage};

const RULES: &str = "[[registry.rules]]\ntags = [\"#.#.#\"]\nimmutable = true\n";

/// An operator's command on the data directory of a hub, running or not.
fn operator(root: &Path, line: &str) -> Result<String, String> {
    let mut command = command();
    command.args(line.split_whitespace()).arg("--data").arg(root.join("data"));
    let done = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

fn hub(root: &Path) -> Hub {
    Hub::configured(root, &format!("{RULES}[[listen]]\naddress = \"127.0.0.1:PORT\"\n"))
}

#[tokio::test]
async fn versions_never_move_and_what_moves_goes_back() {
    let root = tempdir().expect("a directory");
    let mut hub = hub(root.path());
    let api = Api::new(&hub.url());
    let (one, two) = (Layout::small("one"), Layout::small("two"));
    for (version, image) in [("1.0.0", &one), ("1.0.1", &two)] {
        for tag in [version, "1.0", "1", "latest"] {
            api.push("ci/runner", Some(tag), image).await.expect("a push");
        }
    }
    let refused = api.push("ci/runner", Some("1.0.0"), &two).await.expect_err("it never moves");
    assert!(refused.contains("409") && refused.contains("1.0.0 never moves"), "{refused}");
    api.push("ci/runner", Some("1.0.0"), &one).await.expect("the same again is no move");

    let history = api.get("ci/runner/_entrepot/history/latest").await.expect("an answer").1;
    let history: Value = serde_json::from_slice(&history).expect("JSON");
    let digests: Vec<&str> =
        history["history"].as_array().expect("a list").iter().filter_map(|one| one["digest"].as_str()).collect();
    assert_eq!(digests, [two.digest(), one.digest()]);

    let listed = operator(root.path(), "tag list ci/runner").expect("a list");
    let tags: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(tags, ["1", "1.0", "1.0.0", "1.0.1", "latest"]);
    assert_eq!(listed.matches(&two.digest()).count(), 4, "{listed}");

    // With the hub running, and without it.
    let said = operator(root.path(), "tag rollback ci/runner latest").expect("a rollback");
    assert!(said.contains(&one.digest()) && said.contains("no longer at"), "{said}");
    assert_eq!(api.pull("ci/runner", "latest").await.expect("a pull"), one.digest());
    hub.stop();
    let said = operator(root.path(), &format!("tag rollback ci/runner latest --to {}", two.digest()));
    assert!(said.expect("a rollback").contains(&two.digest()));
    let history = operator(root.path(), "tag history ci/runner latest").expect("a history");
    let entries: Vec<&str> = history.lines().collect();
    assert_eq!(entries.len(), 4, "{history}");
    assert!(entries[0].contains(&two.digest()) && entries[0].ends_with("by admin"), "{history}");
    assert!(entries[3].contains(&one.digest()) && entries[3].ends_with("by anonymous"), "{history}");

    let wrong = |line: &str, words: &str| {
        let said = operator(root.path(), line).expect_err("an error");
        assert!(said.contains(words), "{line}: {said}");
    };
    wrong("tag list ci/nothing", "there is no repository ci/nothing");
    wrong("tag list CI", "no repository");
    wrong("tag history ci/runner 2.0", "nothing is remembered");
    wrong(&format!("tag rollback ci/runner latest --to sha256:{}", "6".repeat(64)), "has not pointed at");
    wrong("tag rollback ci/runner 1.0.0", "has not pointed at anything else");
    wrong("tag rollback ci/runner latest --to 1.0.0", "--to");
}

/// What was deleted comes back whole, as long as it is remembered.
#[tokio::test]
async fn a_deleted_tag_comes_back() {
    let root = tempdir().expect("a directory");
    let hub = hub(root.path());
    let api = Api::new(&hub.url());
    let image = Layout::small("deleted");
    api.push("app", Some("latest"), &image).await.expect("a push");
    for reference in ["latest".to_owned(), image.digest()] {
        let path = format!("app/manifests/{reference}");
        let answer = api.ask(reqwest::Method::DELETE, &path).send().await.expect("an answer");
        assert_eq!(answer.status(), 202);
    }
    assert_eq!(api.get("app/manifests/latest").await.expect("an answer").0, 404);
    operator(root.path(), "tag rollback app latest").expect("a rollback");
    assert_eq!(api.pull("app", "latest").await.expect("a pull"), image.digest());
    assert_eq!(api.pull("app", &image.digest()).await.expect("a pull"), image.digest());
}

/// A client is told in words that a version is taken.
#[test]
fn skopeo_says_why_a_version_does_not_move() {
    if !(installed(&["skopeo", "openssl", "htpasswd", "nginx"]) && as_root()) {
        return;
    }
    let stage = Stage::with(Access::Open, RULES);
    let copy = |image: &Layout| {
        let from = format!("oci:{}:1", image.path().display());
        stage.station.run(&format!("skopeo copy {from} docker://{}/app:1.2.3", stage.plain()))
    };
    copy(&Layout::small("first")).ok();
    copy(&Layout::small("second")).fails().says("the tag 1.2.3 never moves");
}
