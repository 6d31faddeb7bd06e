//! Bytes in memory: for tests, and for a hub that keeps nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use model::{Body, Epoch, Error, Location, Result, Room, Span, Stage, Store, View};

type Growing = Arc<Mutex<BytesMut>>;

/// A store in memory. Clones share the bytes.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    blobs: HashMap<Location, Bytes>,
    stages: HashMap<(Epoch, u64), Growing>,
}

impl Memory {
    /// Protects both maps; held for one look-up or change.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} blobs)", self.shelf().blobs.len())
    }
}

#[async_trait]
impl Store for Memory {
    async fn put(&self, blobs: Vec<(Location, Bytes)>) -> Result<()> {
        self.shelf().blobs.extend(blobs);
        Ok(())
    }

    async fn stage(&self, at: (Epoch, u64), offset: u64, _size: Option<u64>) -> Result<Box<dyn Stage>> {
        let length = usize::try_from(offset).map_err(|_| Error::too_big("an upload beyond memory"))?;
        let shorter = || Error::lost("the parked bytes are shorter than they were: start over");
        let bytes = match self.shelf().stages.entry(at) {
            Entry::Vacant(_) if length > 0 => return Err(shorter()),
            entry => Arc::clone(entry.or_default()),
        };
        if lock(&bytes).len() < length {
            return Err(shorter());
        }
        lock(&bytes).truncate(length);
        Ok(Box::new(Growth { store: self.clone(), at, bytes }))
    }

    async fn discard(&self, at: (Epoch, u64)) -> Result<()> {
        self.shelf().stages.remove(&at);
        Ok(())
    }

    async fn get(&self, at: &Location, size: u64, span: Span) -> Result<Body> {
        let bytes = self.shelf().blobs.get(at).cloned().ok_or_else(|| Error::absent("no bytes are there"))?;
        if bytes.len() as u64 != size {
            return Err(Error::lost("the bytes have another length"));
        }
        slice(&bytes, span)
    }

    async fn remove(&self, at: &[Location]) -> Result<()> {
        let mut shelf = self.shelf();
        for at in at {
            shelf.blobs.remove(at);
        }
        Ok(())
    }

    fn scan(&self) -> BoxStream<'_, Result<Location>> {
        let all: Vec<_> = self.shelf().blobs.keys().copied().map(Ok).collect();
        stream::iter(all).boxed()
    }

    async fn staged(&self) -> Result<Vec<(Epoch, u64)>> {
        Ok(self.shelf().stages.keys().copied().collect())
    }

    fn room(&self) -> Option<Room> {
        None
    }
}

fn lock(bytes: &Growing) -> MutexGuard<'_, BytesMut> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn slice(bytes: &Bytes, span: Span) -> Result<Body> {
    let index = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let (from, to) = (index(span.offset), index(span.end()));
    if to > bytes.len() {
        return Err(Error::out_of_range("beyond the bytes"));
    }
    Ok(Body::Bytes(bytes.slice(from..to)))
}

/// A blob that arrives.
#[derive(Debug)]
struct Growth {
    store: Memory,
    at: (Epoch, u64),
    bytes: Growing,
}

#[async_trait]
impl Stage for Growth {
    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        lock(&self.bytes).extend_from_slice(&bytes);
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    async fn settle(self: Box<Self>, at: Location, _size: u64) -> Result<()> {
        let bytes = lock(&self.bytes).split().freeze();
        let mut shelf = self.store.shelf();
        shelf.stages.remove(&self.at);
        shelf.blobs.insert(at, bytes);
        Ok(())
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::new(Window(Arc::clone(&self.bytes)))
    }
}

struct Window(Growing);

impl View for Window {
    fn body(&self, span: Span) -> Result<Body> {
        slice(&Bytes::copy_from_slice(&lock(&self.0)), span)
    }
}
