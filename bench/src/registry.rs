//! What clients of container registries do, on any server that speaks the OCI distribution specification; and the
//! reads among it on a server of files, which finds the same paths in a directory.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::process::Watched;
use crate::wire::{Pieces, Wire};
use crate::work::bytes;

/// Connections that stay open.
const CONNECTIONS: usize = 16;
/// Images that are there: more than one, so that not one row alone is asked for.
const IMAGES: u64 = 200;
/// How long each small workload runs.
const SPAN: Duration = Duration::from_secs(3);
/// Bytes of one piece of a large body.
const PIECE: usize = 256 << 10;
/// Pieces of a large body: 1 GiB.
const PIECES: usize = 4096;
const REPOSITORY: &str = "/v2/bench/app";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCTETS: Option<&str> = Some("application/octet-stream");

/// A blob and where it is.
struct Item {
    digest: String,
    path: String,
    bytes: Bytes,
}

impl Item {
    fn blob(bytes: Vec<u8>) -> Self {
        let digest = digest(&bytes);
        Self { path: format!("{REPOSITORY}/blobs/{digest}"), digest, bytes: bytes.into() }
    }

    /// The manifest of an image of two blobs.
    fn manifest(config: &Self, layer: &Self) -> Self {
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}}]}}"#,
            config.digest,
            config.bytes.len(),
            layer.digest,
            layer.bytes.len()
        );
        let digest = digest(text.as_bytes());
        Self { path: format!("{REPOSITORY}/manifests/{digest}"), digest, bytes: text.into() }
    }
}

/// Config, layer, manifest.
struct Image {
    tag: String,
    config: Item,
    layer: Item,
    manifest: Item,
}

impl Image {
    /// The same number gives the same image.
    fn new(number: u64) -> Self {
        let mut config = format!(r#"{{"architecture":"amd64","os":"linux","author":"{number}","pad":""#).into_bytes();
        config.resize(1000, b'x');
        config.extend(br#""}"#);
        let (config, layer) = (Item::blob(config), Item::blob(bytes(number | 1 << 60, 4096)));
        let manifest = Item::manifest(&config, &layer);
        Self { tag: format!("{REPOSITORY}/manifests/v{number}"), config, layer, manifest }
    }
}

fn digest(bytes: &[u8]) -> String {
    named(Sha256::new_with_prefix(bytes))
}

fn named(hash: Sha256) -> String {
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Numbers that no other run gives to what it pushes.
struct Fresh(Cell<u64>);

impl Fresh {
    fn next(&self) -> u64 {
        self.0.replace(self.0.get() + 1)
    }
}

/// Runs all of it on a registry.
pub(crate) async fn registry(address: SocketAddr, watched: &Watched) -> anyhow::Result<()> {
    let images: Vec<Image> = (0..IMAGES).map(Image::new).collect();
    let mut wires = wires(address).await?;
    for part in images.chunks(CONNECTIONS) {
        try_join_all(part.iter().zip(&mut wires).map(|(image, wire)| push_image(wire, image))).await?;
    }
    let fresh = Rc::new(Fresh(Cell::new(u64::from(std::process::id()) << 32)));
    reads(&mut wires, &images, watched).await?;
    run(&mut wires, watched, "push 1 KiB blob", async |wire: &mut Wire, _| {
        push(wire, &Item::blob(bytes(fresh.next(), 1024))).await
    })
    .await?;
    run(&mut wires, watched, "push small image", async |wire: &mut Wire, _| {
        push_image(wire, &Image::new(fresh.next())).await
    })
    .await?;
    let wire = &mut wires[0];
    for (name, patch) in [("push 1 GiB, PATCH", true), ("push 1 GiB, PUT", false)] {
        let large = Large::new(fresh.next());
        once(watched, name, push_large(wire, &large, patch)).await?;
        if patch {
            once(watched, "GET 1 GiB", get_large(address, &large, wire)).await?;
        }
    }
    Ok(())
}

/// Runs the reads on a server of files.
pub(crate) async fn files(address: SocketAddr, watched: &Watched, root: &Path) -> anyhow::Result<()> {
    let images: Vec<Image> = (0..IMAGES).map(Image::new).collect();
    let write = |path: &str, pieces: &[Bytes]| -> anyhow::Result<()> {
        let path = root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().context("a path without a parent")?)?;
        Ok(std::fs::write(path, pieces.concat())?)
    };
    for Image { tag, config, layer, manifest } in &images {
        let one = |path: &str, item: &Item| write(path, std::slice::from_ref(&item.bytes));
        one(tag, manifest)?;
        for item in [config, layer, manifest] {
            one(&item.path, item)?;
        }
    }
    let large = Large::new(0);
    write(&large.path(), &large.pieces)?;
    let mut wires = wires(address).await?;
    reads(&mut wires, &images, watched).await?;
    once(watched, "GET 1 GiB", get_large(address, &large, &mut wires[0])).await
}

async fn wires(address: SocketAddr) -> anyhow::Result<Vec<Wire>> {
    try_join_all((0..CONNECTIONS).map(|_| Wire::open(address))).await
}

async fn reads(wires: &mut [Wire], images: &[Image], watched: &Watched) -> anyhow::Result<()> {
    let image = |number: usize| &images[number % images.len()];
    run(wires, watched, "GET manifest by tag", async |wire: &mut Wire, number| {
        let image = image(number);
        get(wire, &image.tag, &image.manifest).await
    })
    .await?;
    run(wires, watched, "GET manifest by digest", async |wire: &mut Wire, number| {
        let manifest = &image(number).manifest;
        get(wire, &manifest.path, manifest).await
    })
    .await?;
    run(wires, watched, "HEAD blob", async |wire: &mut Wire, number| {
        let layer = &image(number).layer;
        let answer = wire.ask((Method::HEAD, &layer.path), Bytes::new(), None, StatusCode::OK).await?;
        let length = answer.headers.get(header::CONTENT_LENGTH).context("no length")?.to_str()?;
        ensure!(length.parse() == Ok(layer.bytes.len()), "a blob of {length} bytes");
        Ok(())
    })
    .await?;
    run(wires, watched, "GET 4 KiB blob", async |wire: &mut Wire, number| {
        let layer = &image(number).layer;
        get(wire, &layer.path, layer).await
    })
    .await
}

async fn get(wire: &mut Wire, path: &str, item: &Item) -> anyhow::Result<()> {
    let answer = wire.ask((Method::GET, path), Bytes::new(), None, StatusCode::OK).await?;
    ensure!(answer.body == item.bytes, "{path} gave other bytes");
    Ok(())
}

/// Where an upload goes on, with the digest that it ends with.
async fn begin(wire: &mut Wire) -> anyhow::Result<String> {
    let path = format!("{REPOSITORY}/blobs/uploads/");
    let answer = wire.ask((Method::POST, &path), Bytes::new(), None, StatusCode::ACCEPTED).await?;
    location(&answer.headers)
}

fn location(headers: &http::HeaderMap) -> anyhow::Result<String> {
    let location = headers.get(header::LOCATION).context("no location")?.to_str()?;
    // Some servers say the whole address.
    let path = location.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    Ok(path.unwrap_or(location).to_owned())
}

fn ending(location: &str, digest: &str) -> String {
    format!("{location}{}digest={digest}", if location.contains('?') { '&' } else { '?' })
}

async fn push(wire: &mut Wire, item: &Item) -> anyhow::Result<()> {
    let path = ending(&begin(wire).await?, &item.digest);
    wire.ask((Method::PUT, &path), item.bytes.clone(), OCTETS, StatusCode::CREATED).await?;
    Ok(())
}

async fn push_image(wire: &mut Wire, image: &Image) -> anyhow::Result<()> {
    push(wire, &image.config).await?;
    push(wire, &image.layer).await?;
    let body = image.manifest.bytes.clone();
    let answer = wire.ask((Method::PUT, &image.tag), body, Some(MANIFEST), StatusCode::CREATED).await?;
    let digest = answer.headers.get("docker-content-digest").context("no digest")?;
    ensure!(digest.as_bytes() == image.manifest.digest.as_bytes(), "the manifest is called {digest:?}");
    Ok(())
}

/// 1 GiB that only a number tells apart from others.
struct Large {
    pieces: Vec<Bytes>,
    digest: String,
}

impl Large {
    fn new(number: u64) -> Self {
        let block: Vec<Bytes> = (0..64).map(|piece| bytes(piece | 1 << 61, PIECE).into()).collect();
        let mut pieces: Vec<Bytes> = block.into_iter().cycle().take(PIECES).collect();
        pieces[0] = bytes(number | 1 << 62, PIECE).into();
        let mut hash = Sha256::new();
        pieces.iter().for_each(|piece| hash.update(piece));
        Self { pieces, digest: named(hash) }
    }

    fn path(&self) -> String {
        format!("{REPOSITORY}/blobs/{}", self.digest)
    }
}

/// As docker does it, in one part of unknown length and an empty end; or as containerd does, all with the end.
async fn push_large(wire: &mut Wire, large: &Large, patch: bool) -> anyhow::Result<()> {
    let mut at = begin(wire).await?;
    let mut rest = Pieces::new(&large.pieces, true);
    if patch {
        let body = Pieces::new(&large.pieces, false);
        at = location(&wire.ask((Method::PATCH, &at), body, OCTETS, StatusCode::ACCEPTED).await?.headers)?;
        rest = Bytes::new().into();
    }
    wire.ask((Method::PUT, &ending(&at, &large.digest)), rest, OCTETS, StatusCode::CREATED).await?;
    Ok(())
}

/// The bytes are thrown away as they come; the server says how many there are.
async fn get_large(address: SocketAddr, large: &Large, wire: &mut Wire) -> anyhow::Result<()> {
    let path = large.path();
    let answer = wire.ask((Method::HEAD, &path), Bytes::new(), None, StatusCode::OK).await?;
    let length = answer.headers.get(header::CONTENT_LENGTH).context("no length")?.to_str()?;
    ensure!(length.parse() == Ok(PIECE * PIECES), "{length} bytes");
    tokio::task::spawn_blocking(move || crate::discard::fetch(&address.to_string(), &path)).await?
}

/// Does it on all connections for a while; prints how often in a second, and the server's CPU time of each.
async fn run(
    wires: &mut [Wire],
    watched: &Watched,
    name: &str,
    work: impl AsyncFn(&mut Wire, usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let number = Cell::new(0);
    let all = |span: Duration| {
        let (number, work) = (&number, &work);
        let until = Instant::now() + span;
        let one = move |wire| async move {
            while Instant::now() < until {
                work(wire, number.replace(number.get() + 1)).await?;
            }
            anyhow::Ok(())
        };
        one
    };
    // What is asked for the first time is another measurement.
    try_join_all(wires.iter_mut().map(all(SPAN / 10))).await?;
    number.set(0);
    let (began, before) = (Instant::now(), watched.cpu_seconds()?);
    try_join_all(wires.iter_mut().map(all(SPAN))).await?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), watched.cpu_seconds()? - before);
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
    let count = number.get() as f64;
    println!("{name}\t{:.0}\t1/s\t{:.1}\tus", count / took, cpu / count * 1e6);
    Ok(())
}

/// Does it once; prints how fast, and the server's CPU time.
async fn once(watched: &Watched, name: &str, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let (began, before) = (Instant::now(), watched.cpu_seconds()?);
    work.await?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), watched.cpu_seconds()? - before);
    println!("{name}\t{:.2}\tGiB/s\t{cpu:.2}\ts", 1.0 / took);
    Ok(())
}
