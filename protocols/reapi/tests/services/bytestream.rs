//! ByteStream.

use bazel_remote_apis::google::bytestream::{QueryWriteStatusRequest, ReadRequest, WriteRequest};
use futures::stream;
use tonic::Code;

use crate::rig::{Rig, digest, noise, settings};

async fn read(rig: &Rig, name: &str, read_offset: i64, read_limit: i64) -> Result<Vec<Vec<u8>>, Code> {
    let request = ReadRequest { resource_name: name.into(), read_offset, read_limit };
    let mut messages = rig.bytestream().read(request).await.map_err(|status| status.code())?.into_inner();
    let mut data = Vec::new();
    while let Some(message) = messages.message().await.map_err(|status| status.code())? {
        data.push(message.data);
    }
    Ok(data)
}

fn message(name: &str, write_offset: i64, data: &[u8], finish_write: bool) -> WriteRequest {
    WriteRequest { resource_name: name.into(), write_offset, finish_write, data: data.to_vec() }
}

async fn write(rig: &Rig, messages: Vec<WriteRequest>) -> Result<i64, Code> {
    let answer = rig.bytestream().write(stream::iter(messages)).await;
    answer.map(|answer| answer.into_inner().committed_size).map_err(|status| status.code())
}

async fn status(rig: &Rig, name: &str) -> Result<(i64, bool), Code> {
    let request = QueryWriteStatusRequest { resource_name: name.into() };
    let answer = rig.bytestream().query_write_status(request).await.map_err(|status| status.code())?.into_inner();
    Ok((answer.committed_size, answer.complete))
}

fn names(data: &[u8]) -> (String, String) {
    let digest = digest(data);
    let tail = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
    (tail.clone(), format!("uploads/0f6ff80b-45ae-4a23-8a5a-b02ae4a7ab3f/{tail}"))
}

const BAD: Result<i64, Code> = Err(Code::InvalidArgument);

#[tokio::test]
async fn what_was_written_is_read() {
    let rig = Rig::new().await;
    for len in [1, 1000, 100_000, 3_000_000, 6_000_000] {
        let data = noise(len);
        let (from, to) = names(&data);
        let mut messages: Vec<_> = data
            .chunks(2 << 20)
            .enumerate()
            .map(|(n, chunk)| message(if n == 0 { &to } else { "" }, (n * (2 << 20)) as i64, chunk, false))
            .collect();
        messages.last_mut().unwrap().finish_write = true;
        assert_eq!(write(&rig, messages).await, Ok(len as i64));
        let read = read(&rig, &from, 0, 0).await.unwrap();
        assert!(read.iter().all(|data| data.len() <= 2 << 20));
        assert!(read.concat() == data);
    }
}

#[tokio::test]
async fn reads() {
    let rig = Rig::new().await;
    let hash = rig.put(b"0123456789").await.hash;
    let name = format!("blobs/{hash}/10");
    let empty = format!("blobs/{}/0", digest(b"").hash);
    let one = |data: &[u8]| Ok(vec![data.to_vec()]);
    assert_eq!(read(&rig, &name, 0, 0).await, one(b"0123456789"));
    assert_eq!(read(&rig, &name, 3, 4).await, one(b"3456"));
    assert_eq!(read(&rig, &name, 8, 100).await, one(b"89"), "a limit beyond the end");
    assert_eq!(read(&rig, &name, 10, 0).await, one(b""));
    assert_eq!(read(&rig, &empty, 0, 0).await, one(b""));
    assert_eq!(read(&rig, &name, 11, 0).await, Err(Code::OutOfRange));
    assert_eq!(read(&rig, &name, -1, 0).await, Err(Code::OutOfRange));
    assert_eq!(read(&rig, &name, 0, -1).await, Err(Code::InvalidArgument));
    for (bad, code) in [
        (format!("blobs/{hash}/9"), Code::NotFound),
        (format!("blobs/{}/3", digest(b"abc").hash), Code::NotFound),
        ("blobs/abc/10".into(), Code::NotFound),
        (format!("team/a/blobs/{hash}/10"), Code::NotFound),
        (format!("blobs/{hash}"), Code::InvalidArgument),
        (format!("blobs/{hash}/"), Code::InvalidArgument),
        (format!("blobs/{hash}/x"), Code::InvalidArgument),
        (format!("blobs/{hash}/-1"), Code::InvalidArgument),
        (format!("blobs/{hash}/10/x"), Code::InvalidArgument),
        (format!("/blobs/{hash}/10"), Code::InvalidArgument),
        (format!("x/blobs/{hash}/10"), Code::InvalidArgument),
        (format!("compressed-blobs/zstd/{hash}/10"), Code::InvalidArgument),
        ("blobs/../../../etc/passwd/10".into(), Code::InvalidArgument),
        (String::new(), Code::InvalidArgument),
    ] {
        assert_eq!(read(&rig, &bad, 0, 0).await, Err(code), "{bad}");
    }
}

#[tokio::test]
async fn writes_that_are_refused() {
    let rig = Rig::new().await;
    let (from, to) = names(b"abcdef");
    let whole = |name: &str| vec![message(name, 0, b"abcdef", true)];
    assert_eq!(write(&rig, vec![]).await, BAD, "no messages");
    assert_eq!(write(&rig, vec![message(&to, 0, b"abcdeX", true)]).await, BAD, "another digest");
    assert_eq!(write(&rig, vec![message(&to, 0, b"abc", true)]).await, BAD, "too short");
    assert_eq!(write(&rig, vec![message(&to, 0, b"abcdefg", true)]).await, BAD, "too long");
    assert_eq!(write(&rig, whole("")).await, BAD);
    assert_eq!(write(&rig, whole("garbage")).await, BAD);
    assert_eq!(write(&rig, whole(&from)).await, BAD, "a name to read");
    assert_eq!(write(&rig, whole(&to.replace("/6", "/-6"))).await, BAD);
    assert_eq!(write(&rig, whole(&to.replace("/blobs/", "/compressed-blobs/zstd/"))).await, BAD);
    for offset in [-1, 1, 2, 4, 100] {
        let messages = vec![message(&to, 0, b"abc", false), message(&to, offset, b"def", true)];
        assert_eq!(write(&rig, messages).await, BAD, "offset {offset} after 3 bytes");
    }
    assert_eq!(write(&rig, vec![message(&to, -1, b"abcdef", true)]).await, BAD);
    let again = vec![message(&to, 0, b"abcdef", true), message(&to, 6, b"", false)];
    assert_eq!(write(&rig, again).await, BAD, "a message after finish_write");
    let other = to.replace("0f6ff80b", "00000000");
    let renamed = vec![message(&to, 0, b"abc", false), message(&other, 3, b"def", true)];
    assert_eq!(write(&rig, renamed).await, BAD, "the name changes");
    assert_eq!(read(&rig, &from, 0, 0).await, Err(Code::NotFound), "nothing was stored by all this");
    assert_eq!(write(&rig, whole(&to.replace("0f6ff80b", "no uuid"))).await, Ok(6), "and it can still be");
}

#[tokio::test]
async fn a_blob_that_is_there_is_answered_early() {
    let rig = Rig::new().await;
    rig.put(b"abcdef").await;
    let (_, to) = names(b"abcdef");
    assert_eq!(write(&rig, vec![message(&to, 0, b"ab", false)]).await, Ok(6));
    assert_eq!(write(&rig, vec![message(&to, 4, b"zz", true)]).await, Ok(6));
    assert_eq!(status(&rig, &to).await, Ok((6, true)));
    let (_, empty) = names(b"");
    assert_eq!(write(&rig, vec![message(&empty, 0, b"", true)]).await, Ok(0));
}

#[tokio::test]
async fn a_large_message_is_taken() {
    let rig = Rig::new().await;
    let data = noise(4 << 20);
    let (_, to) = names(&data);
    assert_eq!(write(&rig, vec![message(&to, 0, &data, true)]).await, Ok(4 << 20));
}

#[tokio::test]
async fn a_broken_write_goes_on_where_it_stopped() {
    let rig = Rig::new().await;
    let data = noise(1_000_000);
    let (from, to) = names(&data);
    assert_eq!(status(&rig, &to).await, Err(Code::NotFound));
    assert_eq!(write(&rig, vec![message(&to, 500_000, &data[500_000..], true)]).await, BAD, "nothing to go on with");
    assert_eq!(write(&rig, vec![message(&to, 0, &data[..400_000], false)]).await, BAD, "no finish_write");
    assert_eq!(status(&rig, &to).await, Ok((400_000, false)));
    assert_eq!(write(&rig, vec![message(&to, 300_000, &data[300_000..], true)]).await, BAD, "an overlap");
    assert_eq!(status(&rig, &to).await, Ok((400_000, false)), "which changes nothing");
    assert_eq!(write(&rig, vec![message(&to, 400_000, &data[400_000..], true)]).await, Ok(1_000_000));
    assert_eq!(status(&rig, &to).await, Ok((1_000_000, true)));
    assert!(read(&rig, &from, 0, 0).await.unwrap().concat() == data);
}

#[tokio::test]
async fn what_goes_on_is_checked_as_well() {
    let rig = Rig::new().await;
    let (from, to) = names(b"abcdef");
    assert_eq!(write(&rig, vec![message(&to, 0, b"abX", false)]).await, BAD);
    assert_eq!(write(&rig, vec![message(&to, 3, b"def", true)]).await, BAD);
    assert_eq!(read(&rig, &from, 0, 0).await, Err(Code::NotFound));
    assert_eq!(write(&rig, vec![message(&to, 0, b"abX", false)]).await, BAD);
    assert_eq!(write(&rig, vec![message(&to, 0, b"abcdef", true)]).await, Ok(6), "from 0 it starts over");
}

#[tokio::test]
async fn a_blob_larger_than_the_quota_is_resource_exhausted() {
    let rig = Rig::with(settings(), 1000).await;
    let data = noise(1001);
    let (_, to) = names(&data);
    assert_eq!(write(&rig, vec![message(&to, 0, &data, true)]).await, Err(Code::ResourceExhausted));
}
