//! Pushes that are cut off by `kill -9` of the hub.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use kernel::{Caller, Grant, Hub, Rights, Settings};
use suite::clients::installed;

use crate::stage::{build, try_ostree};

const LIVES: u64 = 25;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_leaves_the_old_or_the_new_state_of_each_ref() {
    if !installed(&["ostree"]) {
        return;
    }
    let place = tempfile::tempdir().expect("a directory");
    let source = place.path().join("tree");
    fs::create_dir(&source).expect("a directory");
    for file in 0..50 {
        fs::write(source.join(file.to_string()), file.to_string()).expect("a file");
    }
    fs::write(source.join("large"), "large ".repeat(400_000)).expect("a file");
    let built = build(place.path(), &source);
    let data = place.path().join("data");
    fs::create_dir(&data).expect("a directory");
    let mut acknowledged = BTreeSet::new();
    for life in 0..LIVES {
        let mut child = Command::new(env!("CARGO_BIN_EXE_receiver"))
            .arg(&data)
            .arg((life * 100_000).to_string())
            .args([built.repository.as_os_str(), built.commit.as_ref()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        // Some pushes later; the others are anywhere.
        for _ in 0..=life % 4 {
            line.clear();
            out.read_line(&mut line).expect("a line");
            acknowledged.insert(line.trim().parse::<u64>().expect("a number"));
        }
        child.kill().expect("it lives");
        child.wait().expect("it ended");
        for line in out.lines().map_while(Result::ok) {
            // The last line may be cut.
            if let Ok(number) = line.parse::<u64>()
                && number >= life * 100_000
            {
                acknowledged.insert(number);
            }
        }
    }
    let catalog = catalogs::Plan::new(data.join("catalog.db")).open().expect("a catalog");
    let store = stores::Disk::open(&data).expect("a store");
    let hub = Hub::open(Arc::new(catalog), Arc::new(store), ostree::kinds(), Settings::default()).await.expect("a hub");
    let all = Caller::known("test", vec![Grant::everywhere(Rights::ALL)]);
    let space = hub.enter(&all, "main").expect("it is there");
    let mut found = BTreeSet::new();
    let mut after = None;
    loop {
        let page = space.list("ostree/artifacts/ref/", after.as_deref(), 1000).await.expect("names");
        let Some((last, _)) = page.last() else { break };
        after = Some(last.as_str().to_owned());
        for (name, row) in page {
            assert_eq!(row.pointer.blob.digest.to_string(), built.commit);
            found.insert(name.as_str().trim_start_matches("ostree/artifacts/ref/p/").to_owned());
        }
    }
    let strong: BTreeSet<_> = found.iter().filter_map(|name| name.strip_suffix("/strong")).collect();
    let weak: BTreeSet<_> = found.iter().filter_map(|name| name.strip_suffix("/weak")).collect();
    assert_eq!(strong, weak, "both refs of a push, or none");
    let lost: Vec<_> = acknowledged.iter().filter(|number| !strong.contains(&*number.to_string())).collect();
    assert!(lost.is_empty() && acknowledged.len() as u64 >= LIVES, "{lost:?}");
    println!("{LIVES} kills: {} pushes acknowledged, {} there", acknowledged.len(), strong.len());
    let out = place.path().join("out");
    let repository =
        ostree::Repository { path: "/artifacts".into(), namespace: "main".into(), name: "artifacts".into() };
    let done = ostree::export(&hub, &space, &repository, &out, &mut |_| {}).await.expect("it goes");
    assert_eq!((done.refs, done.refused), (found.len(), vec![]));
    let (fine, said) = try_ostree(&["fsck", &format!("--repo={}", out.display())]);
    assert!(fine, "{said}");
}
