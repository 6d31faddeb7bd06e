//! kill -9 in the middle: after the restart each tag answers, and what was acknowledged is whole.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use suite::clients::{Api, Hub, free_port, until};
use suite::layout::{Layout, MANIFEST};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::races::{about, listed, sizeable, two};

/// How often each is killed.
const KILLS: usize = 5;

struct Crashing {
    hub: Hub,
    port: u16,
    root: tempfile::TempDir,
}

impl Crashing {
    fn new() -> Self {
        let (root, port) = (tempdir().expect("a directory"), free_port());
        Self { hub: Hub::serve_at(port, root.path(), ""), port, root }
    }

    fn api(&self) -> Api {
        // Connections of a killed server are of no use to the next one.
        Api::new(&self.hub.url())
    }

    /// Kills it once so much was acknowledged, waits until all clients have noticed, and starts it again.
    async fn kill_after(&mut self, acknowledged: &Arc<AtomicUsize>, count: usize, clients: JoinSet<()>) {
        let (seen, limit) = (Arc::clone(acknowledged), acknowledged.load(Ordering::Relaxed) + count);
        let wait = move || until("work is done", Duration::from_secs(120), || seen.load(Ordering::Relaxed) >= limit);
        tokio::task::spawn_blocking(wait).await.expect("a wait");
        self.hub.kill();
        clients.join_all().await;
        let (port, root): (u16, &Path) = (self.port, self.root.path());
        self.hub = tokio::task::block_in_place(|| Hub::serve_at(port, root, ""));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tag_that_was_moving_is_whole_after_kill_9() {
    let mut crashing = Crashing::new();
    let both = two(&crashing.api(), "moving").await;
    let count = Arc::new(AtomicUsize::new(0));
    for kill in 0..KILLS {
        // The last that was acknowledged, and the last that was tried: it may have happened, too.
        let last = Arc::new(Mutex::new((String::new(), String::new())));
        let (api, both, pushed, state) = (crashing.api(), both.clone(), Arc::clone(&count), Arc::clone(&last));
        let mut clients = JoinSet::new();
        clients.spawn(async move {
            for step in 0.. {
                let (digest, bytes) = &both[step % 2];
                state.lock().expect("a lock").1.clone_from(digest);
                if api.push_manifest("moving", "latest", MANIFEST, bytes.clone()).await.is_err() {
                    break;
                }
                state.lock().expect("a lock").0.clone_from(digest);
                pushed.fetch_add(1, Ordering::Relaxed);
            }
        });
        crashing.kill_after(&count, 5 + kill, clients).await;
        let found = crashing.api().pull("moving", "latest").await.expect("the tag answers, and all of it is there");
        let (acknowledged, tried) = last.lock().expect("a lock").clone();
        assert!(found == acknowledged || found == tried, "{found} is neither {acknowledged} nor {tried}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn referrers_that_were_acknowledged_are_listed_after_kill_9() {
    let mut crashing = Crashing::new();
    let subject = Layout::small("subject");
    crashing.api().push("about", Some("1"), &subject).await.expect("a push");
    let (count, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::<String>::new())));
    for kill in 0..KILLS {
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let (api, subject) = (crashing.api(), subject.root());
            let (count, done) = (Arc::clone(&count), Arc::clone(&done));
            clients.spawn(async move {
                for number in 0.. {
                    let layout = about(&subject, (kill * 8 + client) * 100_000 + number);
                    if api.push("about", None, &layout).await.is_err() {
                        break;
                    }
                    done.lock().expect("a lock").push(layout.digest());
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        crashing.kill_after(&count, 10 + kill, clients).await;
        let api = crashing.api();
        let found = listed(&api, "about", &subject.digest()).await;
        let acknowledged = done.lock().expect("a lock").clone();
        for digest in &acknowledged {
            assert!(found.contains(digest), "{digest} was acknowledged");
        }
        // What is listed is there, acknowledged or not.
        for digest in &found {
            assert_eq!(api.pull("about", digest).await.expect("it is whole"), *digest);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_that_were_acknowledged_are_whole_after_kill_9() {
    let mut crashing = Crashing::new();
    let (count, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::<(String, String)>::new())));
    for kill in 0..KILLS {
        let mut clients = JoinSet::new();
        for client in 0..12 {
            let (api, count, done) = (crashing.api(), Arc::clone(&count), Arc::clone(&done));
            clients.spawn(async move {
                for number in 0.. {
                    // Twelve push one image at a time, each under a tag of its own, and all share a layer or two.
                    let image = sizeable(&format!("{kill} {number}"));
                    let tag = format!("{kill}-{number}-{client}");
                    if api.push("image", Some(&tag), &image).await.is_err() {
                        break;
                    }
                    done.lock().expect("a lock").push((tag, image.digest()));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        crashing.kill_after(&count, 6 + kill * 3, clients).await;
        let api = crashing.api();
        let acknowledged = done.lock().expect("a lock").clone();
        for (tag, digest) in &acknowledged {
            assert_eq!(api.pull("image", tag).await.expect("it is whole"), *digest, "{tag}");
        }
        // A tag that is listed is whole, acknowledged or not.
        let (_, list) = api.get("image/tags/list?n=10000").await.expect("tags");
        let list: serde_json::Value = serde_json::from_slice(&list).expect("JSON");
        for tag in list["tags"].as_array().expect("tags") {
            api.pull("image", tag.as_str().expect("a tag")).await.expect("it is whole");
        }
    }
}
