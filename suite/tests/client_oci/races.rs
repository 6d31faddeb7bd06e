//! Many at once: a tag that moves while it is read, referrers, pushes of one image.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use serde_json::Value;
use suite::clients::{Api, Hub};
use suite::layout::{Layer, Layout, MANIFEST};
use tempfile::tempdir;

/// Moves of the tag.
const MOVES: usize = 200;
/// Readers meanwhile.
const READERS: usize = 8;
/// Referrers of one manifest, pushed at once.
const REFERRERS: usize = 40;
/// Pushes of one image, at once.
const PUSHES: usize = 12;

/// Images under one tag in turn, whose blobs are there already.
pub(crate) async fn two(api: &Api, repository: &str) -> [(String, Vec<u8>); 2] {
    let mut both = Vec::new();
    for word in ["old", "new"] {
        let image = Layout::small(word);
        api.push(repository, None, &image).await.expect("a push");
        both.push((image.digest(), std::fs::read(image.file(&image.root())).expect("a manifest")));
    }
    both.try_into().expect("two")
}

/// A manifest that is about another, and of which there is only one.
pub(crate) fn about(subject: &Value, number: usize) -> Layout {
    let layout = Layout::new();
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = layout.packed("text/plain", format!("note {number}").as_bytes(), <[u8]>::to_vec);
    let mut manifest = layout.manifest(&config, &[layer]);
    manifest["subject"] = subject.clone();
    manifest["artifactType"] = "application/vnd.example.note".into();
    let root = layout.document(MANIFEST, &manifest);
    layout.tagged(&root)
}

/// The digests that are listed as being about one.
pub(crate) async fn listed(api: &Api, repository: &str, subject: &str) -> Vec<String> {
    let (status, found) = api.get(&format!("{repository}/referrers/{subject}")).await.expect("an answer");
    assert_eq!(status, 200);
    let found: Value = serde_json::from_slice(&found).expect("JSON");
    let list = found["manifests"].as_array().expect("a list");
    list.iter().map(|one| one["digest"].as_str().expect("a digest").to_owned()).collect()
}

/// An image of some layers, each of many pieces.
pub(crate) fn sizeable(word: &str) -> Layout {
    let layout = Layout::new();
    let layer = |number: usize| layout.layer("file", 0o644, format!("{word} {number}").repeat(40_000).as_bytes());
    let layers: Vec<Layer> = (0..4).map(layer).collect();
    let root = layout.image(&layers, &["/file"]);
    layout.tagged(&root)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tag_that_moves_is_always_the_old_or_the_new_one() {
    let root = tempdir().expect("a directory");
    let hub = Hub::serve(root.path(), "");
    let api = Api::new(&hub.url());
    let both = two(&api, "moving").await;
    api.push_manifest("moving", "latest", MANIFEST, both[0].1.clone()).await.expect("a push");
    let done = Arc::new(AtomicBool::new(false));
    let readers = (0..READERS).map(|reader| {
        let (api, both, done) = (api.clone(), both.clone(), Arc::clone(&done));
        #[expect(clippy::disallowed_methods, reason = "it is waited for")]
        tokio::spawn(async move {
            let (mut reads, mut seen) = (0, [0, 0]);
            while !done.load(Ordering::Relaxed) || reads == 0 {
                let digest = if reader % 2 == 0 {
                    api.manifest("moving", "latest").await.expect("never an error").0
                } else {
                    let answer = api.ask(reqwest::Method::HEAD, "moving/manifests/latest").send().await;
                    let answer = answer.expect("never an error");
                    assert_eq!(answer.status(), 200);
                    answer.headers()["docker-content-digest"].to_str().expect("a digest").to_owned()
                };
                let which = both.iter().position(|(known, _)| *known == digest).expect("the old or the new one");
                seen[which] += 1;
                reads += 1;
            }
            seen
        })
    });
    let readers: Vec<_> = readers.collect();
    for step in 1..=MOVES {
        api.push_manifest("moving", "latest", MANIFEST, both[step % 2].1.clone()).await.expect("a push");
        let now = api.manifest("moving", "latest").await.expect("a manifest").0;
        assert_eq!(now, both[step % 2].0, "who moved it sees it there");
    }
    done.store(true, Ordering::Relaxed);
    let mut seen = [0, 0];
    for reader in join_all(readers).await {
        let one = reader.expect("a reader");
        seen = [seen[0] + one[0], seen[1] + one[1]];
    }
    assert!(seen.iter().all(|count| *count > 0), "both were seen: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forty_referrers_at_once_are_all_listed() {
    let root = tempdir().expect("a directory");
    let hub = Hub::serve(root.path(), "");
    let api = Api::new(&hub.url());
    let subject = Layout::small("subject");
    api.push("about", Some("1"), &subject).await.expect("a push");
    let layouts: Vec<Layout> = (0..REFERRERS).map(|number| about(&subject.root(), number)).collect();
    for pushed in join_all(layouts.iter().map(|layout| api.push("about", None, layout))).await {
        pushed.expect("a push");
    }
    let mut wanted: Vec<String> = layouts.iter().map(Layout::digest).collect();
    let mut found = listed(&api, "about", &subject.digest()).await;
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twelve_pushes_of_one_image_all_succeed() {
    let root = tempdir().expect("a directory");
    let hub = Hub::serve(root.path(), "");
    let api = Api::new(&hub.url());
    let image = sizeable("twelve");
    // Half of them under one tag of one repository, half each in a repository of its own.
    let repositories: Vec<String> =
        (0..PUSHES).map(|push| if push % 2 == 0 { "one".into() } else { format!("own/{push}") }).collect();
    let pushes = repositories.iter().map(|repository| api.push(repository, Some("1"), &image));
    for pushed in join_all(pushes).await {
        pushed.expect("a push");
    }
    for repository in repositories {
        assert_eq!(api.pull(&repository, "1").await.expect("a pull"), image.digest());
    }
}
