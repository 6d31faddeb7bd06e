//! Hostile and unlucky clients against the real binary: the right code or a closed connection, bounded memory,
//! nothing leaked, never a wrong byte. Needs `cargo build -p entrepot`.
//!
//! Memory is RssAnon of a debug build, after or during the attack. Each bound is far above what was measured and
//! far below what the attack would cost a server that buffers what it is sent or what it sends.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::time::Duration;

use bazel_remote_apis::google::bytestream::ReadRequest;
use futures::{StreamExt, stream};
use suite::hostile::{Peer, Served, digest, message, messages, noise, signed, target, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;

const MIB: usize = 1 << 20;
/// What HTTP/2 connections begin with: the preface, and empty SETTINGS.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Asks, writes and reads, as a well-behaved client does.
async fn is_served(peer: &Peer, seed: u64) {
    let data = noise(seed, 1000);
    let digest = digest(&data);
    assert_eq!(peer.missing(vec![digest.clone()]).await, Ok(vec![digest.clone()]));
    assert_eq!(peer.put(digest.clone(), data.clone()).await, Ok(()));
    assert_eq!(peer.read(&digest, 0, 0).await, Ok(data));
}

/// Nothing crashed, nothing is damaged.
async fn is_well(served: &Served) {
    is_served(&served.peer().await, u64::MAX - 7).await;
    let said = served.fsck();
    assert!(said.contains("0 damaged"), "{said}");
    assert!(!served.log().contains("panicked"), "{}", served.log());
}

#[tokio::test]
async fn a_thousand_clients_are_served() {
    let served = Served::start("1GiB").await;
    is_served(&served.peer().await, 5000).await;
    let before = served.idle().await;
    let peers: Vec<Peer> = stream::iter(0..1000).then(|_| served.peer()).collect().await;
    stream::iter(peers.iter().zip(0..)).for_each_concurrent(1000, |(peer, seed)| is_served(peer, seed)).await;
    let memory = served.memory();
    println!("1000 clients: {memory} MiB, {} descriptors, {before} before", served.descriptors());
    // 0.3 MiB for each connection, and the server itself.
    assert!(memory < 400, "{memory} MiB");
    drop(peers);
    served.settles(before).await;
}

#[tokio::test]
async fn slow_readers_cost_little_and_stop_nobody() {
    let served = Served::start("1GiB").await;
    let data = noise(1, 64 * MIB);
    let digest = digest(&data);
    assert_eq!(served.peer().await.write(messages(&data, 0)).await, Ok(signed(data.len())));
    let before = served.idle().await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let peer = served.peer().await;
        let resource_name = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
        let request = ReadRequest { resource_name, ..Default::default() };
        let answer = peer.streams().read(request).await.expect("it begins").into_inner();
        held.push((peer, answer));
    }
    let other = served.peer().await;
    let mut memory = 0;
    for seed in 0..200 {
        is_served(&other, 100 + seed).await;
        memory = memory.max(served.memory());
    }
    assert!(other.read(&digest, 0, 0).await.as_ref() == Ok(&data), "a fast reader is served");
    memory = memory.max(served.memory());
    println!("200 slow readers: {memory} MiB, {} descriptors, {before} before", served.descriptors());
    // `limits.in_flight` is 256 MiB, and each reader may have 64 KiB beyond it; without it each had 3 MiB, and the blobs
    // would be 12,800 MiB.
    assert!(memory < 450, "{memory} MiB");
    drop((held, other));
    served.settles(before).await;
    is_well(&served).await;
}

#[tokio::test]
async fn vanished_writers_keep_what_they_sent_and_no_more() {
    // 200 uploads of 5 MiB fit 1 GiB, and each leaves 1 MiB of it.
    let mut served = Served::start("1GiB").await;
    let before = served.idle().await;
    let blobs: Vec<_> = (0..200).map(|seed| noise(seed, 5 * MIB)).collect();
    let names: Vec<_> = blobs.iter().map(|data| target(&digest(data))).collect();
    let mut writers = JoinSet::new();
    for (data, name) in blobs.iter().zip(&names) {
        let first = message(name, 0, &data[..MIB], false);
        let peer = served.peer().await;
        writers.spawn(async move { peer.streams().write(stream::iter([first]).chain(stream::pending())).await.err() });
    }
    let asking = served.peer().await;
    for name in &names {
        until("its first piece is taken", async || asking.status(name).await == Ok((signed(MIB), false))).await;
    }
    let memory = served.memory();
    println!("200 writers: {memory} MiB, {} descriptors", served.descriptors());
    // Each connection has a piece or two in flight.
    assert!(memory < 900, "{memory} MiB");
    writers.shutdown().await;
    served.settles(before + 1).await;
    let mut resting = Vec::new();
    for (name, data) in names.iter().zip(&blobs) {
        match asking.status(name).await {
            Ok(offset) => {
                assert_eq!(offset, (signed(MIB), false));
                resting.push((name, data));
            }
            Err(code) => assert_eq!(code, Code::NotFound),
        }
    }
    println!("200 vanished writers: {} rest, {} files are staged", resting.len(), served.staged());
    assert_eq!(resting.len(), 200, "a client that vanishes can go on later");
    assert_eq!(served.staged(), resting.len(), "each staging file is an upload that can be gone on with");
    // What rests counts with the bytes that are there, not with those that were announced.
    let rest = 1024 * MIB - resting.len() * MIB;
    let write = async |size: usize| {
        let name = format!("uploads/u/blobs/{}/{size}", "ab".repeat(32));
        let (peer, first) = (served.peer().await, message(&name, 0, b"x", false));
        let mut writers = JoinSet::new();
        writers.spawn(async move { peer.streams().write(stream::iter([first]).chain(stream::pending())).await });
        let mut refused = None;
        until("it is taken or refused", async || {
            refused = writers.try_join_next().map(|end| end.expect("no panic").expect_err("it has no end").code());
            refused.is_some() || asking.status(&name).await == Ok((1, false))
        })
        .await;
        refused
    };
    assert_eq!(write(rest + 1).await, Some(Code::ResourceExhausted), "what rests counts");
    assert_eq!(write(rest).await, None, "and nothing else does");
    let [(_, first), (_, second), others @ ..] = &resting[..] else { panic!("hardly any upload rests") };
    // The large one gives its room back as soon as the server sees that its client has gone.
    until("one goes on", async || asking.write(messages(first, MIB)).await == Ok(signed(5 * MIB))).await;
    assert_eq!(asking.write(messages(second, 0)).await, Ok(signed(5 * MIB)), "one begins again");
    assert!(asking.read(&digest(first), 0, 0).await.as_ref() == Ok(*first));
    served.restart().await;
    let asking = served.peer().await;
    for (name, _) in others {
        assert_eq!(asking.status(name).await, Ok((signed(MIB), false)), "what rests is durable");
    }
    // The single byte of the large upload rests too, or went with the kill.
    assert!((others.len()..=others.len() + 1).contains(&served.staged()), "{} files", served.staged());
    is_well(&served).await;
}

#[tokio::test]
async fn wrong_calls_get_the_right_code() {
    let served = Served::start("1GiB").await;
    let peer = served.peer().await;
    let data = noise(9, 300_000);
    let right = digest(&data);
    let to = target(&right);
    let other = target(&digest(b"other")).replace("/5", "/300000");
    let bad = Err(Code::InvalidArgument);
    for (what, sent) in [
        ("another digest", vec![message(&other, 0, &data, true)]),
        ("truncated", vec![message(&to, 0, &data[1..], true)]),
        ("over-long", vec![message(&to, 0, &data, false), message(&to, data.len(), b"x", true)]),
        ("after finish", vec![message(&to, 0, &data, true), message(&to, data.len(), b"", false)]),
        ("another name", vec![message(&to, 0, &data[..9], false), message(&other, 9, &data[9..], true)]),
        ("upper case", vec![message(&to.replace(&right.hash, &right.hash.to_uppercase()), 0, &data, true)]),
        ("a path", vec![message("uploads/u/blobs/../../../../etc/passwd/9", 0, b"x", true)]),
    ] {
        assert_eq!(peer.write(sent).await, bad, "{what}");
    }
    let named = |hash: &str| bazel_remote_apis::build::bazel::remote::execution::v2::Digest {
        hash: hash.into(),
        size_bytes: right.size_bytes,
    };
    assert_eq!(peer.missing(vec![named("../../../../etc/passwd")]).await, Err(Code::InvalidArgument));
    assert_eq!(peer.missing(vec![named(&right.hash.to_uppercase())]).await.map(|all| all.len()), Ok(1));
    for hash in ["../../../../etc/passwd", &right.hash.to_uppercase(), ""] {
        assert_eq!(peer.put(named(hash), data.clone()).await, Err(Code::InvalidArgument), "{hash:?}");
    }
    assert_eq!(peer.put(right.clone(), data[1..].to_vec()).await, Err(Code::InvalidArgument), "wrong size");
    assert_eq!(peer.read(&right, 0, 0).await, Err(Code::NotFound), "nothing was stored by all this");
    let many = (0..70_000_u64).map(|number| digest(&number.to_le_bytes())).collect();
    assert_eq!(peer.missing(many).await.map(|all| all.len()), Ok(70_000));
    let large = vec![0; 17 * MIB];
    let code = peer.put(digest(&large), large).await.expect_err("it is too large");
    assert!(matches!(code, Code::ResourceExhausted | Code::OutOfRange), "{code:?}");
    assert_eq!(peer.write(messages(&data, 0)).await, Ok(300_000), "and the connection goes on working");
    let memory = served.memory();
    println!("wrong calls: {memory} MiB");
    // One message of 16 MiB, 70,000 digests as text and as rows, and the server itself.
    assert!(memory < 250, "{memory} MiB");
    is_well(&served).await;
}

/// Sends bytes, again and again, until all went or the server has had enough; what it said, and whether it closed.
async fn throw(address: SocketAddr, bytes: &[u8], times: usize) -> (Vec<u8>, bool) {
    let stream = TcpStream::connect(address).await.expect("it accepts connections");
    let (mut from, mut to) = stream.into_split();
    let send = async {
        for _ in 0..times {
            if to.write_all(bytes).await.is_err() {
                break;
            }
        }
        to
    };
    let hear = async {
        let (mut said, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        // Silence for this long, after all was sent, is taken as "it waits for more".
        while let Ok(read) = timeout(Duration::from_secs(2), from.read(&mut piece)).await {
            match read {
                Ok(0) | Err(_) => return (said, true),
                Ok(read) => said.extend_from_slice(&piece[..read]),
            }
        }
        (said, false)
    };
    let (to, heard) = timeout(Duration::from_secs(20), async { tokio::join!(send, hear) }).await.expect("it ends");
    drop(to);
    heard
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("frames are small").to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header of a gRPC call in HPACK (RFC 7541): POST, http, a path, and nothing compressed.
fn call(path: &str) -> Vec<u8> {
    let len = u8::try_from(path.len()).expect("a short path");
    [&[0x83, 0x86, 0x04, len], path.as_bytes(), &[0x0f, 0x10, 16], b"application/grpc"].concat()
}

#[tokio::test]
async fn garbage_is_refused_and_harms_nobody() {
    let served = Served::start("1GiB").await;
    let address = served.address();
    let before = served.idle().await;
    let (_, closed) = throw(address, &noise(3, 100_000), 1).await;
    assert!(closed, "garbage");
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(4, 505)].concat();
    assert!(throw(address, &hello, 1).await.1, "a TLS hello");
    let path = "/google.bytestream.ByteStream/Read";
    let old = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n");
    let (said, _) = throw(address, old.as_bytes(), 1).await;
    println!("gRPC over HTTP/1.1: {:?}", String::from_utf8_lossy(&said[..said.len().min(200)]));
    assert!(said.starts_with(b"HTTP/1.1 "), "an answer");
    let bomb = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(50_000));
    let (said, closed) = throw(address, bomb.as_bytes(), 1).await;
    assert!(closed && (said.is_empty() || said.starts_with(b"HTTP/1.1 4")), "many headers");
    // 256 MiB, if it takes them all.
    let endless = throw(address, format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(MIB)).as_bytes(), 256).await;
    assert!(endless.1, "an endless header");
    let begun = [HTTP2, &frame(1, 0, 1, &call(path))].concat();
    let more = frame(9, 0, 1, &[&[0x00, 1, b'x', 0x7f, 0x80, 0x7e][..], &[b'y'; 16_000]].concat());
    let (_, closed) = throw(address, &[begun, more.repeat(2000)].concat(), 1).await;
    assert!(closed, "an endless header in HTTP/2");
    for (what, reset) in [("open", false), ("reset", true)] {
        let mut all = HTTP2.to_vec();
        for stream in 0..10_000 {
            all.extend(frame(1, 4, stream * 2 + 1, &call(path)));
            if reset {
                all.extend(frame(3, 0, stream * 2 + 1, &[0, 0, 0, 8]));
            }
        }
        let (said, closed) = throw(address, &all, 1).await;
        println!("10,000 {what} streams: {} bytes came, closed: {closed}", said.len());
        assert!(closed || said.len() > 9_000, "the streams beyond the limit are refused, or all");
        is_served(&served.peer().await, 70 + u64::from(reset)).await;
    }
    let memory = served.memory();
    println!("garbage: {memory} MiB");
    // 256 MiB were one header; none of it may stay.
    assert!(memory < 200, "{memory} MiB");
    served.settles(before).await;
    is_well(&served).await;
}

#[tokio::test]
async fn damaged_bytes_are_never_served() {
    let mut served = Served::start("1GiB").await;
    let mut peer = served.peer().await;
    let flip = |file: &File| std::os::unix::fs::FileExt::write_all_at(file, b"!damaged!", 500_000).expect("it writes");
    let cut = |file: &File| file.set_len(600_000).expect("it is cut");
    let mut seed = 300;
    // A flipped byte is found once per process; a wrong length and a lost file each time.
    for (kind, restart) in [("flip", true), ("cut", true), ("delete", true), ("cut", false), ("delete", false)] {
        for (offset, limit) in [(0, 0), (10, 100)] {
            let what = format!("{kind}, restart {restart}, from {offset}");
            seed += 1;
            let data = noise(seed, MIB);
            let digest = digest(&data);
            peer.write(messages(&data, 0)).await.expect("it is stored");
            assert!(peer.read(&digest, 0, 0).await.as_ref() == Ok(&data), "{what}");
            let path = served.file(&digest);
            let file = File::options().write(true).open(&path).expect("it opens");
            match kind {
                "flip" => flip(&file),
                "cut" => cut(&file),
                _ => fs::remove_file(&path).expect("it is removed"),
            }
            if restart {
                served.restart().await;
                peer = served.peer().await;
            }
            assert!(peer.read(&digest, offset, limit).await.is_err(), "{what}: it was served");
            assert_eq!(peer.missing(vec![digest.clone()]).await, Ok(vec![digest.clone()]), "{what}");
            assert_eq!(peer.write(messages(&data, 0)).await, Ok(signed(MIB)), "{what}: brought again");
            assert!(peer.read(&digest, 0, 0).await.as_ref() == Ok(&data), "{what}: it is healed");
        }
    }
    is_well(&served).await;
}

#[tokio::test]
async fn a_killed_write_goes_on_from_what_was_parked_or_begins_again() {
    let mut served = Served::start("1GiB").await;
    let [lost, parked] = [20, 21].map(|seed| noise(seed, 32 * MIB));
    let [lost_name, parked_name] = [&lost, &parked].map(|data| target(&digest(data)));
    let peer = served.peer().await;
    let broken: Vec<_> = messages(&parked, 0).into_iter().take(8).collect();
    assert_eq!(peer.write(broken).await, Err(Code::InvalidArgument), "no end");
    let mut writers = JoinSet::new();
    let begun = stream::iter(messages(&lost, 0).into_iter().take(8)).chain(stream::pending());
    let writer = peer.clone();
    writers.spawn(async move { writer.streams().write(begun).await.err() });
    until("it is being written", async || peer.status(&lost_name).await == Ok((signed(8 * MIB), false))).await;
    served.restart().await;
    let peer = served.peer().await;
    assert_eq!(peer.status(&lost_name).await, Err(Code::NotFound), "it was never parked");
    assert_eq!(peer.write(messages(&lost, 8 * MIB)).await, Err(Code::InvalidArgument), "nothing to go on with");
    assert_eq!(peer.status(&parked_name).await, Ok((signed(8 * MIB), false)), "it was parked durably");
    assert_eq!(served.staged(), 1, "of the other nothing is left");
    assert_eq!(peer.write(messages(&parked, 8 * MIB)).await, Ok(signed(parked.len())));
    assert_eq!(peer.write(messages(&lost, 0)).await, Ok(signed(lost.len())));
    for data in [&lost, &parked] {
        assert!(peer.read(&digest(data), 0, 0).await.as_ref() == Ok(data));
    }
    is_well(&served).await;
}
