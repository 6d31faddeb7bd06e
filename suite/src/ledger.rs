//! What a hub has acknowledged, written down outside of it: whatever happens to the hub, it must still be true.

use std::collections::BTreeMap;

use bytes::Bytes;
use kernel::{Claim, Hub, Namespace};
use model::{Digest, KindId, Name, Pointer, Result, When};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::sample::{blob, bytes, main_of, name, read};
use crate::toy::Toy;

/// The id of the upload that rests.
const PARKED: &str = "rests";

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    blobs: BTreeMap<Digest, Bytes>,
    names: BTreeMap<Name, Option<Digest>>,
    /// A name that was being changed: it may be as before or as wished.
    unsure: Option<(Name, Option<Digest>)>,
    parked: Option<(Bytes, u64)>,
    parking: bool,
    /// Blobs may have been evicted.
    evicts: bool,
}

impl Ledger {
    /// An empty one, of a hub that evicts or of one that does not.
    #[must_use]
    pub fn new(evicts: bool) -> Self {
        Self { evicts, ..Self::default() }
    }

    /// How many things were acknowledged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blobs.len() + self.names.len()
    }

    /// Whether nothing was acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Does one thing more.
    ///
    /// # Errors
    /// Of the hub; nothing was acknowledged then.
    pub async fn step(&mut self, hub: &Hub, dice: &mut StdRng) -> Result<()> {
        let space = main_of(hub);
        match dice.random_range(0..12) {
            0..=2 => self.put(&space, dice).await,
            3..=5 => self.upload(&space, dice).await,
            6..=8 => self.bind(&space, dice).await,
            9 => self.unbind(&space, dice).await,
            10 => self.park(&space, dice).await,
            _ => hub.sweep().await,
        }
    }

    fn fresh(&self, dice: &mut StdRng, sizes: std::ops::Range<usize>) -> Bytes {
        bytes(dice.random(), dice.random_range(sizes))
    }

    async fn put(&mut self, space: &Namespace, dice: &mut StdRng) -> Result<()> {
        let most = [3000, 120_000][dice.random_range(0..2)];
        let blobs: Vec<Bytes> = (0..dice.random_range(1..5)).map(|_| self.fresh(dice, 1..most)).collect();
        let list = blobs.iter().map(|bytes| (blob(bytes), bytes.clone())).collect();
        for (bytes, result) in blobs.iter().zip(space.put(list).await?) {
            result?;
            self.blobs.insert(blob(bytes).digest, bytes.clone());
        }
        Ok(())
    }

    async fn upload(&mut self, space: &Namespace, dice: &mut StdRng) -> Result<()> {
        let content = self.fresh(dice, 1..200_000);
        let size = dice.random_bool(0.5).then_some(content.len() as u64);
        let mut upload = space.upload(Claim { size, ..Claim::default() }).await?;
        for piece in content.chunks(70_000) {
            upload.append(Bytes::copy_from_slice(piece)).await?;
        }
        let committed = upload.commit().await?;
        self.blobs.insert(committed.digest, content);
        Ok(())
    }

    async fn bind(&mut self, space: &Namespace, dice: &mut StdRng) -> Result<()> {
        let part = self.fresh(dice, 1..100_000);
        let mut parts: Vec<Bytes> = (0..2).filter_map(|_| self.any(dice)).collect();
        parts.push(part);
        let links: Vec<_> = parts.iter().map(|part| (blob(part), KindId::BYTES)).collect();
        let list = Bytes::from(Toy::list(&links));
        parts.push(list.clone());
        for result in space.put(parts.iter().map(|part| (blob(part), part.clone())).collect()).await? {
            result?;
        }
        self.blobs.extend(parts.iter().map(|part| (blob(part).digest, part.clone())));
        let (name, root) = (name(&format!("n/{}", dice.random_range(0..6))), blob(&list));
        self.unsure = Some((name.clone(), Some(root.digest)));
        space.bind(vec![(name.clone(), Pointer::new(root, Toy::ID), When::Always)]).await?;
        self.unsure = None;
        self.names.insert(name, Some(root.digest));
        Ok(())
    }

    async fn unbind(&mut self, space: &Namespace, dice: &mut StdRng) -> Result<()> {
        let bound: Vec<Name> =
            self.names.iter().filter(|(_, root)| root.is_some()).map(|(name, _)| name.clone()).collect();
        if bound.is_empty() {
            return Ok(());
        }
        let name = bound[dice.random_range(0..bound.len())].clone();
        self.unsure = Some((name.clone(), None));
        match space.unbind(&name, When::Always).await {
            // It may have been evicted before.
            Err(error) if error.is_absent() && self.evicts => {}
            done => done?,
        }
        self.unsure = None;
        self.names.insert(name, None);
        Ok(())
    }

    /// Parks an upload, or goes on with the one that rests.
    async fn park(&mut self, space: &Namespace, dice: &mut StdRng) -> Result<()> {
        self.parking = true;
        let mut upload = match &self.parked {
            Some(_) => space.resume(PARKED).await?,
            None => space.upload(Claim { resume: Some(PARKED.into()), ..Claim::default() }).await?,
        };
        let content = self.parked.take().map_or_else(|| self.fresh(dice, 300_000..600_000), |(content, _)| content);
        let from = upload.offset() as usize;
        upload.append(content.slice(from..content.len().min(from + dice.random_range(1..200_000)))).await?;
        if upload.offset() == content.len() as u64 {
            let committed = upload.commit().await?;
            self.blobs.insert(committed.digest, content);
        } else {
            let offset = upload.offset();
            upload.park().await?;
            self.parked = Some((content, offset));
        }
        self.parking = false;
        Ok(())
    }

    fn any(&self, dice: &mut StdRng) -> Option<Bytes> {
        let digests: Vec<&Digest> = self.blobs.keys().collect();
        (!digests.is_empty()).then(|| self.blobs[digests[dice.random_range(0..digests.len())]].clone())
    }

    /// Whether all of it is still true.
    ///
    /// # Errors
    /// A sentence that says what is not.
    pub async fn holds(&mut self, hub: &Hub) -> Result<(), String> {
        let space = main_of(hub);
        let failed = |what: &str, error: model::Error| format!("{what}: {error:?}");
        // Names first: reading finds what is lost, and then a name is absent.
        for (name, root) in self.names.clone() {
            let found = space.find(&name).await;
            let unsure = self.unsure.as_ref().filter(|(unsure, _)| *unsure == name).map(|(_, wished)| *wished);
            match (found, root) {
                (Ok(row), _) if Some(row.pointer.blob.digest) == root => self.whole(&space, &name, root).await?,
                (Ok(row), _) if Some(Some(row.pointer.blob.digest)) == unsure => {
                    let root = Some(row.pointer.blob.digest);
                    self.whole(&space, &name, root).await?;
                    self.names.insert(name, root);
                }
                (Ok(row), _) => return Err(format!("{name} points at {}, not at {root:?}", row.pointer.blob)),
                (Err(error), None) if error.is_absent() => {}
                (Err(error), Some(_)) if error.is_absent() && (self.evicts || unsure == Some(None)) => {
                    self.names.insert(name, None);
                }
                (Err(error), _) => return Err(failed(name.as_str(), error)),
            }
        }
        self.unsure = None;
        let digests: Vec<Digest> = self.blobs.keys().copied().collect();
        let sizes = space.has(&digests).await.map_err(|error| failed("has", error))?;
        for (digest, size) in digests.iter().zip(sizes) {
            match size {
                None if self.evicts => drop(self.blobs.remove(digest)),
                None => return Err(format!("{digest} is not here any more")),
                Some(_) => match read(&space, *digest).await {
                    Ok(bytes) if bytes == self.blobs[digest] => {}
                    Ok(_) => return Err(format!("{digest} has wrong bytes")),
                    Err(error) => return Err(failed("read", error)),
                },
            }
        }
        self.rests(&space).await?;
        hub.clean_up().await.map_err(|error| failed("clean up", error))?;
        let checked = hub.check("main").await.map_err(|error| failed("check", error))?;
        if checked.damaged > 0 || checked.orphans > 0 {
            return Err(format!("found by the check: {checked:?}"));
        }
        Ok(())
    }

    /// All that a name needs can be read.
    async fn whole(&self, space: &Namespace, name: &Name, root: Option<Digest>) -> Result<(), String> {
        let Some(root) = root else { return Ok(()) };
        let list = read(space, root).await.map_err(|error| format!("{name}: {error:?}"))?;
        let links = model::Kind::links(&Toy, &list).map_err(|error| format!("{name} has wrong bytes: {error:?}"))?;
        for link in links {
            let part = read(space, link.blob.digest).await.map_err(|error| format!("a part of {name}: {error:?}"))?;
            if blob(&part) != link.blob {
                return Err(format!("a part of {name} has wrong bytes"));
            }
        }
        Ok(())
    }

    /// What rests has the offset that was acknowledged, and the right bytes below it.
    async fn rests(&mut self, space: &Namespace) -> Result<(), String> {
        let failed = |error| format!("what rests: {error:?}");
        let parking = std::mem::take(&mut self.parking);
        let Some((content, offset)) = self.parked.take() else { return Ok(()) };
        let found = space.progress(PARKED).await.map_err(failed)?;
        if parking {
            // It was being gone on with; whatever rests now is begun anew.
            return Ok(());
        }
        if found != Some(offset) {
            return Err(format!("{found:?} rest, not {offset}"));
        }
        let mut upload = space.resume(PARKED).await.map_err(failed)?;
        upload.append(content.slice(offset as usize..)).await.map_err(failed)?;
        let committed = upload.commit().await.map_err(failed)?;
        if committed != blob(&content) {
            return Err("what rested had wrong bytes".into());
        }
        self.blobs.insert(committed.digest, content);
        Ok(())
    }
}
