//! Bad input: each line of the specification's table, and that nothing of it is left.

use std::fs;

use ostree::Ended;
use suite::bst1::{Client, DONE, Entry, INFO, PUT_OBJECTS, Pushed, STATUS, objects, read_message};
use suite::clients::installed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stage::{Built, CLIENT, Mirror, Stage, build};

/// Sends bytes and the end; what came back, and how the receiver ended.
async fn raw(stage: &Stage, bytes: &[u8]) -> (Vec<u8>, Ended) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (input, output) = tokio::io::split(far);
    let receiving = ostree::receive(stage.pusher(), "artifacts", stage.options(), input, output);
    let (mut input, mut output) = tokio::io::split(near);
    let sending = async move {
        drop(output.write_all(bytes).await);
        drop(output.shutdown().await);
    };
    let ((), ended) = tokio::join!(sending, receiving);
    let mut answer = Vec::new();
    input.read_to_end(&mut answer).await.expect("the end");
    (answer, ended)
}

fn commit() -> (tempfile::TempDir, Built) {
    let place = tempfile::tempdir().expect("a directory");
    let source = place.path().join("tree");
    fs::create_dir_all(source.join("files/below")).expect("a directory");
    fs::write(source.join("files/text"), "some text").expect("a file");
    fs::write(source.join("files/below/large"), "large ".repeat(500_000)).expect("a file");
    let built = build(place.path(), &source);
    (place, built)
}

/// The repository is as it was: these refs, and whoever pulls one of them gets all of it.
async fn is_well(stage: &Stage, refs: &[&str]) {
    let names = stage.pusher().list("ostree/", None, 1000).await.expect("names");
    let names: Vec<_> =
        names.iter().map(|(name, _)| name.as_str().trim_start_matches("ostree/artifacts/ref/")).collect();
    assert_eq!(names, refs);
    let mirror = Mirror::of(&stage.url(), &[]).await;
    for name in refs {
        mirror.pull(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_session_ends_it_with_a_line_and_status_1() {
    let stage = Stage::new().await;
    let hello = CLIENT.info(0, &[]);
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("the end at once", vec![]),
        ("another version", [&[b'l', 2][..], &hello[2..]].concat()),
        ("another byte order", [&b"x"[..], &hello[1..]].concat()),
        ("an unknown type", [&[b'l', 1, 5][..], &hello[3..]].concat()),
        ("a short header", hello[..3].to_vec()),
        ("a short payload", hello[..20].to_vec()),
        ("not info first", CLIENT.message(DONE, &[])),
        ("no refs", CLIENT.message(INFO, &[])),
        ("garbage", CLIENT.message(INFO, b"garbage, garbage")),
    ];
    cases.push(("a status first", CLIENT.message(STATUS, &[])));
    for (what, bytes) in cases {
        let (answer, ended) = raw(&stage, &bytes).await;
        assert_eq!((answer, ended.status), (vec![], 1), "{what}");
        let said = ended.said.expect("a line");
        assert!(!said.is_empty() && !said.contains('\n'), "{what}: {said}");
    }
    // Update, then the end; update, then done.
    let update = CLIENT.update(&[("p/e/key", &"1".repeat(64))]);
    let (answer, ended) = raw(&stage, &[&CLIENT.info(1, &[])[..], &update].concat()).await;
    assert_eq!(ended.status, 1);
    assert!(!answer.is_empty());
    let (_, ended) = raw(&stage, &[&CLIENT.info(1, &[])[..], &update, &CLIENT.message(DONE, &[])].concat()).await;
    assert_eq!((ended.status, ended.said), (0, None));
    is_well(&stage, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_info_is_answered() {
    let stage = Stage::new().await;
    let names: Vec<String> = (0..500).map(|number| format!("project/element-{number:04}/key")).collect();
    let zeros = "0".repeat(64);
    let refs: Vec<_> = names.iter().map(|name| (&**name, &*zeros)).collect();
    let (answer, ended) = raw(&stage, &[CLIENT.info(1, &refs), CLIENT.message(DONE, &[])].concat()).await;
    assert_eq!(ended.status, 0);
    assert!(read_message(&mut &answer[..]).await.is_ok_and(|message| message.is_some_and(|message| message.0 == INFO)));
}

#[tokio::test(flavor = "multi_thread")]
async fn refs_that_cannot_be_are_refused_with_a_text() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (_place, built) = commit();
    stage.publish(&built, &["a/b"]).await;
    let refused = async |refs: &[&str]| {
        let refs: Vec<_> = refs.iter().map(|name| (*name, &*built.commit)).collect();
        let (pushed, ended) = stage.push(CLIENT, &refs, &objects(&built.repository)).await;
        assert_eq!(ended.status, 1);
        match pushed {
            Pushed::Refused(text) => text,
            other => panic!("{refs:?}: {other:?}"),
        }
    };
    for bad in ["../x", "a b", "p/-x/y", "p/.x/y", "", "x//y", "x/", &"0".repeat(64), "new\n"] {
        let text = refused(&["good/one", bad]).await;
        assert!(text.contains("no name for a ref"), "{bad:?}: {text}");
    }
    for (refs, text) in [(&["a/b/c"][..], "a/b"), (&["a"], "a/b"), (&["x", "x/y"], "x/y")] {
        let said = refused(refs).await;
        assert!(said.contains("would be a directory") && said.contains(text), "{said}");
    }
    is_well(&stage, &["a/b"]).await;
    // Who may not write is told so, and who has no room.
    let reader = kernel::Caller::known("ssh:reader", vec![kernel::Grant::everywhere(kernel::Rights::PULL)]);
    let reader = stage.hub.enter(&reader, "main").expect("it is there");
    let (pushed, _) = stage.push_as(reader, CLIENT, &[("x/y", &*built.commit)], &objects(&built.repository)).await;
    assert!(matches!(&pushed, Pushed::Refused(text) if text.contains("may not write")), "{pushed:?}");
    let full = Stage::with(None, 0).await;
    let (pushed, _) = full.push(CLIENT, &[("x/y", &*built.commit)], &objects(&built.repository)).await;
    assert!(matches!(&pushed, Pushed::Refused(text) if text.contains("may hold")), "{pushed:?}");
}

/// Pushes a changed list of objects over one that is there, and gives back what was said.
async fn refused(stage: &Stage, built: &Built, change: impl FnOnce(&mut Vec<Entry>)) -> String {
    let mut entries = objects(&built.repository);
    change(&mut entries);
    let (pushed, ended) =
        stage.push(CLIENT, &[("p/new/one", &*built.commit), ("p/new/two", &*built.commit)], &entries).await;
    assert_eq!((pushed, ended.status), (Pushed::Cut, 1), "{:?}", ended.said);
    ended.said.expect("a line")
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_missing_or_altered_are_refused() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (_place, built) = commit();
    for extension in [".commit", ".dirtree", ".dirmeta", ".filez"] {
        let stage = Stage::new().await;
        let said = refused(&stage, &built, |entries| {
            let at = entries.iter().position(|entry| entry.name.ends_with(extension)).expect("one");
            entries.remove(at);
        })
        .await;
        assert!(said.contains("is missing") && said.contains(extension), "{said}");
        is_well(&stage, &[]).await;
    }
    let (_other, good) = {
        let place = tempfile::tempdir().expect("a directory");
        fs::create_dir(place.path().join("tree")).expect("a directory");
        fs::write(place.path().join("tree/x"), "x").expect("a file");
        let built = build(place.path(), &place.path().join("tree"));
        (place, built)
    };
    stage.publish(&good, &["p/good"]).await;
    for extension in [".commit", ".dirtree", ".dirmeta", ".filez"] {
        let count = objects(&built.repository).iter().filter(|entry| entry.name.ends_with(extension)).count();
        for which in 0..count {
            for end in [true, false] {
                refused(&stage, &built, |entries| {
                    let mut altered = entries.iter_mut().filter(|entry| entry.name.ends_with(extension));
                    let bytes = &mut altered.nth(which).expect("one").bytes;
                    let at = if end { bytes.len() - 1 } else { bytes.len() / 2 };
                    bytes[at] ^= 1;
                })
                .await;
            }
            refused(&stage, &built, |entries| {
                let mut altered = entries.iter_mut().filter(|entry| entry.name.ends_with(extension));
                altered.nth(which).expect("one").bytes.push(0);
            })
            .await;
        }
    }
    is_well(&stage, &["p/good"]).await;
    // All of it in order, and it goes.
    stage.publish(&built, &["p/new/one", "p/new/two"]).await;
    is_well(&stage, &["p/good", "p/new/one", "p/new/two"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_no_objects_are_refused() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (_place, built) = commit();
    let hex = "1".repeat(64);
    let names = [
        "hello.txt",
        "/etc/passwd",
        "../../../etc/passwd",
        &format!("../{hex}.filez"),
        &format!("{hex}.unknown"),
        &format!("objects/11/{}.filez", &hex[2..]),
        &format!("{hex}.file"),
        "",
    ];
    for name in names {
        refused(&stage, &built, |entries| entries.insert(0, Entry::file(name, b"bytes".to_vec()))).await;
    }
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'S'] {
        let name = format!("{hex}.filez");
        let said = refused(&stage, &built, |entries| entries.insert(0, Entry { name, bytes: vec![], kind })).await;
        assert!(said.contains("not a plain file"), "{said}");
    }
    is_well(&stage, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_stops_anywhere_leaves_nothing() {
    if !installed(&["ostree"]) {
        return;
    }
    let stage = Stage::new().await;
    let (_place, built) = commit();
    let mut tar = Vec::new();
    CLIENT.tar(&mut tar, &objects(&built.repository)).await.expect("a vector");
    let begin =
        [CLIENT.info(1, &[]), CLIENT.update(&[("p/e/key", &built.commit)]), CLIENT.message(PUT_OBJECTS, &[])].concat();
    let whole = [&begin[..], &tar, &CLIENT.message(DONE, &[])].concat();
    let step = whole.len() / 40 + 1;
    for cut in (begin.len()..whole.len()).step_by(step).chain([whole.len() - 1, whole.len() - 5]) {
        let (_, ended) = raw(&stage, &whole[..cut]).await;
        assert_eq!(ended.status, 1, "cut at {cut} of {}", whole.len());
    }
    is_well(&stage, &[]).await;
    let (_, ended) = raw(&stage, &whole).await;
    assert_eq!(ended.status, 0, "{:?}", ended.said);
    is_well(&stage, &["p/e/key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_streams_of_objects_end_and_never_hang() {
    let stage = Stage::new().await;
    // No entries; no refs. Both are answered with done.
    let nothing: &[Entry] = &[];
    let none = Client { tells: false, ..CLIENT };
    let mut tar = Vec::new();
    none.tar(&mut tar, nothing).await.expect("a vector");
    let session = |update: &[(&str, &str)], tar: &[u8]| {
        [
            &CLIENT.info(1, &[])[..],
            &CLIENT.update(update),
            &CLIENT.message(PUT_OBJECTS, &[]),
            tar,
            &CLIENT.message(DONE, &[]),
        ]
        .concat()
    };
    let (_, ended) = raw(&stage, &session(&[], &tar)).await;
    assert_eq!(ended.status, 0, "{:?}", ended.said);
    // What is no tar is listened to until the client stops.
    let (_, ended) = raw(&stage, &session(&[], &[b'x'; 50_000])).await;
    assert_eq!(ended.status, 1);
    // Two blocks of zeros without the padding swallow the done, as ever.
    let (_, ended) = raw(&stage, &session(&[], &[0; 1024])).await;
    assert_eq!(ended.status, 1);
    is_well(&stage, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_not_waited_for_for_ever() {
    let stage = Stage::new().await;
    let options = ostree::ReceiveOptions { idle: std::time::Duration::from_millis(100), ..stage.options() };
    let (near, far) = tokio::io::duplex(1000);
    let (input, output) = tokio::io::split(far);
    let ended = ostree::receive(stage.pusher(), "artifacts", options, input, output).await;
    assert_eq!(ended.status, 1);
    drop(near);
}
