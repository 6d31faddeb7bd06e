//! The large transfers over a real connection, where flow control and early answers matter.

use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use bazel_remote_apis::google::bytestream::{ReadRequest, WriteRequest};
use futures::{StreamExt, stream};
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::rig::{Rig, digest, noise};

/// Serves the rig while a client works.
async fn served<T>(rig: &Rig, work: impl AsyncFnOnce(ByteStreamClient<Channel>) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = axum::serve(listener, rig.router.clone());
    tokio::select! {
        end = server.into_future() => panic!("the server ended: {end:?}"),
        done = async { work(ByteStreamClient::connect(url).await.unwrap()).await } => done,
    }
}

fn messages(data: &[u8]) -> Vec<WriteRequest> {
    let digest = digest(data);
    let resource_name = format!("uploads/u/blobs/{}/{}", digest.hash, digest.size_bytes);
    let chunks = data.chunks(2 << 20).enumerate();
    let message = |(n, chunk): (usize, &[u8])| WriteRequest {
        resource_name: resource_name.clone(),
        write_offset: (n * (2 << 20)) as i64,
        finish_write: (n + 1) * (2 << 20) >= data.len(),
        data: chunk.to_vec(),
    };
    chunks.map(message).collect()
}

fn read(data: &[u8]) -> ReadRequest {
    let digest = digest(data);
    let resource_name = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
    ReadRequest { resource_name, ..Default::default() }
}

#[tokio::test]
async fn large_blobs_go_in_and_out() {
    let rig = Rig::new().await;
    let data = noise(20_000_000);
    served(&rig, async |mut client| {
        let answer = client.write(stream::iter(messages(&data))).await.unwrap().into_inner();
        assert_eq!(answer.committed_size, 20_000_000);
        let mut pieces = client.read(read(&data)).await.unwrap().into_inner();
        let mut found = Vec::new();
        while let Some(piece) = pieces.message().await.unwrap() {
            found.extend(piece.data);
        }
        assert!(found == data);
    })
    .await;
}

#[tokio::test]
async fn a_write_of_what_is_there_is_answered_while_the_client_still_sends() {
    let rig = Rig::new().await;
    let data = noise(5_000_000);
    rig.put(&data).await;
    served(&rig, async |mut client| {
        let first = messages(&data).remove(0);
        let answer = client.write(stream::iter([first]).chain(stream::pending())).await.unwrap().into_inner();
        assert_eq!(answer.committed_size, 5_000_000);
        let again = client.write(stream::iter(messages(&data))).await.unwrap().into_inner();
        assert_eq!(again.committed_size, 5_000_000, "and the connection lives on");
    })
    .await;
}

#[tokio::test]
async fn a_reader_may_go_away() {
    let rig = Rig::new().await;
    let data = noise(10_000_000);
    rig.put(&data).await;
    served(&rig, async |mut client| {
        for _ in 0..20 {
            let mut pieces = client.read(read(&data)).await.unwrap().into_inner();
            assert!(pieces.message().await.unwrap().is_some());
        }
    })
    .await;
}
