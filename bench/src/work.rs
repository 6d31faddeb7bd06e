//! The workloads.

use std::time::Duration;

use anyhow::{Context, ensure};
use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::google::bytestream;
use bytestream::byte_stream_client::ByteStreamClient;
use futures::{StreamExt, TryStreamExt, stream};
use re::content_addressable_storage_client::ContentAddressableStorageClient;
use sha2::{Digest as _, Sha256};
use tonic::transport::{Channel, Endpoint};

/// Blobs of one batch: with their digests below the 1 MiB that BuildStream's server advertises.
const BATCH: u64 = 500;
/// Calls in flight.
const CALLS: usize = 8;
/// Digests of one FindMissingBlobs.
pub(crate) const ASKED: u64 = 1000;
/// Bytes of one large blob.
pub(crate) const LARGE: u64 = 256 << 20;
/// Bytes of one ByteStream message.
const PIECE: usize = 1 << 20;

/// Blobs that go together: digests and bytes.
pub(crate) type Batch = Vec<(re::Digest, Vec<u8>)>;

/// A connected server.
pub(crate) struct Target {
    channel: Channel,
}

fn digest(bytes: &[u8]) -> re::Digest {
    let hash = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    re::Digest { hash, size_bytes: bytes.len().try_into().unwrap_or(i64::MAX) }
}

/// Bytes that no other number gives, incompressible enough.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}

impl Target {
    pub(crate) async fn connect(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::new(address.to_owned())?
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_timeout(Duration::from_secs(5));
        Ok(Self { channel: endpoint.connect().await? })
    }

    /// Tries until the server answers.
    pub(crate) async fn wait(address: &str) -> anyhow::Result<Self> {
        for _ in 0..60_000 {
            if let Ok(target) = Self::connect(address).await {
                return Ok(target);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("{address} does not answer")
    }

    fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    /// New blobs of 1 KiB, whatever was written by earlier runs.
    pub(crate) fn batches(&self, count: u64) -> Vec<Batch> {
        let run = u64::from(std::process::id()) << 32;
        let blob = |number| {
            let bytes = bytes(run + number, 1024);
            (digest(&bytes), bytes)
        };
        (0..count / BATCH).map(|batch| (batch * BATCH..(batch + 1) * BATCH).map(blob).collect()).collect()
    }

    pub(crate) async fn write(&self, batches: &[Batch]) -> anyhow::Result<()> {
        stream::iter(batches).map(Ok).try_for_each_concurrent(CALLS, |batch| self.write_batch(batch)).await
    }

    async fn write_batch(&self, batch: &Batch) -> anyhow::Result<()> {
        let requests = batch
            .iter()
            .map(|(digest, data)| re::batch_update_blobs_request::Request {
                digest: Some(digest.clone()),
                data: data.clone(),
                ..Default::default()
            })
            .collect();
        let request = re::BatchUpdateBlobsRequest { requests, ..Default::default() };
        let answer = self.cas().batch_update_blobs(request).await?.into_inner();
        ensure!(answer.responses.len() == batch.len(), "short answer");
        ensure!(answer.responses.iter().all(|one| one.status.as_ref().is_none_or(|s| s.code == 0)), "refused");
        Ok(())
    }

    pub(crate) async fn read(&self, batches: &[Batch]) -> anyhow::Result<()> {
        stream::iter(batches).map(Ok).try_for_each_concurrent(CALLS, |batch| self.read_batch(batch)).await
    }

    async fn read_batch(&self, batch: &Batch) -> anyhow::Result<()> {
        let digests = batch.iter().map(|(digest, _)| digest.clone()).collect();
        let request = re::BatchReadBlobsRequest { digests, ..Default::default() };
        let answer = self.cas().batch_read_blobs(request).await?.into_inner();
        let bytes: usize = answer.responses.iter().map(|one| one.data.len()).sum();
        ensure!(bytes == batch.len() * 1024, "{bytes} bytes came");
        Ok(())
    }

    pub(crate) async fn find(&self, batches: &[Batch], calls: usize) -> anyhow::Result<()> {
        let all: Vec<re::Digest> = batches.iter().flatten().map(|(digest, _)| digest.clone()).collect();
        let size = usize::try_from(ASKED)?;
        let asks =
            (0..calls).map(|call| all.iter().cycle().skip(call * size % all.len()).take(size).cloned().collect());
        self.ask(asks, 0).await
    }

    pub(crate) async fn find_missing(&self, calls: u64) -> anyhow::Result<()> {
        // Made before the clock would run in a real client; here a hash of a number is cheap enough.
        let ask = |call: u64| (0..ASKED).map(|one| digest(&(u64::MAX - call * ASKED - one).to_le_bytes())).collect();
        self.ask((0..calls).map(ask), usize::try_from(ASKED)?).await
    }

    async fn ask(&self, asks: impl Iterator<Item = Vec<re::Digest>>, missing: usize) -> anyhow::Result<()> {
        let asks = stream::iter(asks.collect::<Vec<_>>());
        asks.map(Ok)
            .try_for_each_concurrent(CALLS, |blob_digests| async move {
                let request = re::FindMissingBlobsRequest { blob_digests, ..Default::default() };
                let answer = self.cas().find_missing_blobs(request).await?.into_inner();
                ensure!(answer.missing_blob_digests.len() == missing, "{} missing", answer.missing_blob_digests.len());
                Ok(())
            })
            .await
    }

    /// One large body and its digests: each round has another first piece.
    pub(crate) fn large(&self, rounds: u64) -> (Vec<u8>, Vec<(u64, re::Digest)>) {
        let body = bytes(7, usize::try_from(LARGE).unwrap_or(0));
        let run = u64::from(std::process::id()) << 32;
        let digests = (run..run + rounds)
            .map(|round| {
                let mut hash = Sha256::new_with_prefix(round.to_le_bytes());
                hash.update(&body[8..]);
                let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                (round, re::Digest { hash, size_bytes: LARGE.try_into().unwrap_or(i64::MAX) })
            })
            .collect();
        (body, digests)
    }

    pub(crate) async fn stream_in(&self, body: &[u8], digests: &[(u64, re::Digest)]) -> anyhow::Result<()> {
        for (round, digest) in digests {
            let name = format!("uploads/{}/blobs/{}/{}", uuid(*round), digest.hash, digest.size_bytes);
            let pieces: Vec<_> = body
                .chunks(PIECE)
                .enumerate()
                .map(|(index, piece)| {
                    let mut data = piece.to_vec();
                    if index == 0 {
                        data[..8].copy_from_slice(&round.to_le_bytes());
                    }
                    bytestream::WriteRequest {
                        resource_name: if index == 0 { name.clone() } else { String::new() },
                        write_offset: (index * PIECE).try_into().unwrap_or(i64::MAX),
                        finish_write: (index + 1) * PIECE == body.len(),
                        data,
                    }
                })
                .collect();
            let mut client = ByteStreamClient::new(self.channel.clone());
            let answer = client.write(stream::iter(pieces)).await?.into_inner();
            ensure!(answer.committed_size == digest.size_bytes, "{} committed", answer.committed_size);
        }
        Ok(())
    }

    pub(crate) async fn stream_out(&self, digests: &[(u64, re::Digest)]) -> anyhow::Result<()> {
        for (_, digest) in digests {
            let resource_name = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
            let request = bytestream::ReadRequest { resource_name, ..Default::default() };
            let client = ByteStreamClient::new(self.channel.clone()).max_decoding_message_size(16 << 20);
            let mut answer = { client }.read(request).await?.into_inner();
            let mut got = 0;
            while let Some(piece) = answer.try_next().await? {
                got += piece.data.len();
            }
            ensure!(got == usize::try_from(LARGE)?, "{got} bytes came");
        }
        Ok(())
    }

    /// Small blobs that [`Target::expect_present`] knows.
    pub(crate) async fn fill(&self, blobs: u64) -> anyhow::Result<()> {
        stream::iter(0..blobs / ASKED)
            .map(Ok)
            .try_for_each_concurrent(CALLS, |batch| async move {
                let batch: Batch = (batch * ASKED..(batch + 1) * ASKED).map(filled).collect();
                self.write_batch(&batch).await
            })
            .await
    }

    pub(crate) async fn expect_present(&self, blobs: u64) -> anyhow::Result<()> {
        let step = (blobs / ASKED).max(1);
        let asked = (0..ASKED.min(blobs)).map(|one| filled(one * step).0).collect();
        self.ask(std::iter::once(asked), 0).await.context("after the start")
    }
}

fn filled(number: u64) -> (re::Digest, Vec<u8>) {
    let bytes = bytes(number, 100);
    (digest(&bytes), bytes)
}

/// A name for an upload.
fn uuid(round: u64) -> String {
    format!("00000000-0000-4000-8000-{round:012x}")
}
