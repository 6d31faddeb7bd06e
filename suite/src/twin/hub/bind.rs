//! Binds and their closures, as the twin does them.

use std::collections::{BTreeMap, BTreeSet};

use model::{Blob, Digest, Kind, KindId, Meaning, Name, When};

use super::super::verb::Bound;
use super::super::{Answer, Fault};
use super::{Pointer, Said, Twin, fault};
use crate::toy::Toy;

/// A child: the blob, and whether it is a node.
type Child = (Blob, bool);
/// The nodes below some roots with what they link to, and what is missing.
type Walked = (BTreeMap<Blob, Vec<Child>>, BTreeSet<Digest>);

impl Twin {
    pub(super) fn unbind(&mut self, space: usize, name: &Name, when: When) -> Said {
        match self.spaces[space].names.get(name) {
            None => fault(Meaning::Absent),
            Some(pointer) if !allows(when, Some(pointer)) => fault(Meaning::Conflict),
            Some(_) => {
                self.spaces[space].names.remove(name);
                Ok(Answer::Done)
            }
        }
    }

    pub(super) fn bind(&mut self, space: usize, list: &[Bound]) -> Said {
        let child = |blob: Blob, kind: KindId| (blob != Blob::EMPTY).then_some((blob, kind == Toy::ID));
        let counted: Vec<Vec<Child>> = list
            .iter()
            .map(|bound| {
                let beside = bound.also.and_then(|blob| child(blob, KindId::BYTES));
                child(bound.blob, bound.kind).into_iter().chain(beside).collect()
            })
            .collect();
        let roots: Vec<Child> = counted.iter().flatten().copied().collect();
        let Some((links, missing)) = self.try_bind(space, list, &roots, &counted)? else { return Ok(Answer::Done) };
        let missing: Vec<Digest> = missing.into_iter().collect();
        let here = self.look(space, &missing);
        // One that is here all the same has another size than its link says, or waits for one that is told.
        let told = missing.iter().zip(here).filter(|(digest, here)| {
            here.is_none_or(|size| links.iter().any(|blob| blob.digest == **digest && blob.size != size))
        });
        Err(Fault::Incomplete(told.map(|(digest, _)| *digest).collect()))
    }

    /// `None` when it is done, else all links that were seen, and what was not there.
    fn try_bind(
        &mut self,
        space: usize,
        list: &[Bound],
        roots: &[Child],
        counted: &[Vec<Child>],
    ) -> Said<Option<(BTreeSet<Blob>, BTreeSet<Digest>)>> {
        let (found, mut missing) = self.walk(space, roots)?;
        let links = roots.iter().chain(found.values().flatten()).map(|(blob, _)| *blob).collect();
        if missing.is_empty() {
            missing = self.open(space, found);
        }
        if missing.is_empty() {
            let roots: Vec<Digest> = roots.iter().map(|(blob, _)| blob.digest).collect();
            missing = self.lost(space, &roots);
        }
        if !missing.is_empty() {
            return Ok(Some((links, missing)));
        }
        for (bound, roots) in list.iter().zip(counted) {
            if !allows(bound.when, self.spaces[space].names.get(&bound.name)) {
                return fault(Meaning::Conflict);
            }
            let missing = roots.iter().filter(|root| !self.counts(space, root));
            let missing: BTreeSet<Digest> = missing.map(|(blob, _)| blob.digest).collect();
            if !missing.is_empty() {
                return Ok(Some((links, missing)));
            }
        }
        let used = self.now();
        for (bound, roots) in list.iter().zip(counted) {
            let roots = roots.iter().map(|(blob, _)| blob.digest).collect();
            let pointer = Pointer { blob: bound.blob, keep: bound.keep, roots, used };
            self.spaces[space].names.insert(bound.name.clone(), pointer);
        }
        Ok(None)
    }

    fn counts(&self, space: usize, (blob, node): &Child) -> bool {
        let it = &self.spaces[space];
        let sized = self.here(&blob.digest) && self.size(&blob.digest) == blob.size;
        sized && it.leases.contains_key(&blob.digest) && (!node || it.nodes.contains_key(&blob.digest))
    }

    /// The children of all closed nodes below these, and what is missing.
    fn walk(&mut self, space: usize, roots: &[Child]) -> Said<Walked> {
        let mut found = BTreeMap::new();
        let mut missing = BTreeSet::new();
        let nodes = |list: &[Child]| list.iter().filter(|(_, node)| *node).map(|(blob, _)| *blob).collect::<Vec<_>>();
        let mut frontier = nodes(roots);
        let mut seen: BTreeSet<Blob> = frontier.iter().copied().collect();
        while !frontier.is_empty() {
            let mut next = Vec::new();
            let closed = frontier.iter().filter(|blob| !self.spaces[space].nodes.contains_key(&blob.digest));
            let closed: Vec<Blob> = closed.copied().collect();
            let digests: Vec<Digest> = closed.iter().map(|blob| blob.digest).collect();
            let bytes = self.small(space, &digests);
            for (blob, bytes) in closed.into_iter().zip(bytes) {
                let Some(bytes) = bytes.ok().filter(|bytes| bytes.len() as u64 == blob.size) else {
                    missing.insert(blob.digest);
                    continue;
                };
                let links = Toy.links(&bytes).map_err(|error| Fault::from(error.meaning().clone()))?;
                let counted = links.into_iter().filter(|link| link.blob != Blob::EMPTY);
                let children: BTreeSet<Child> = counted.map(|link| (link.blob, link.kind == Toy::ID)).collect();
                let children: Vec<Child> = children.into_iter().collect();
                next.extend(nodes(&children).into_iter().filter(|node| seen.insert(*node)));
                found.insert(blob, children);
            }
            frontier = next;
        }
        Ok((found, missing))
    }

    /// Opens what can be opened, from the leaves up. Returns what is missing.
    fn open(&mut self, space: usize, mut found: BTreeMap<Blob, Vec<Child>>) -> BTreeSet<Digest> {
        let mut missing = BTreeSet::new();
        while !found.is_empty() {
            let waits = |children: &[Child]| children.iter().any(|(blob, node)| *node && found.contains_key(blob));
            let ready = found.iter().find(|(_, children)| !waits(children));
            let blob = *ready.expect("a list cannot contain itself").0;
            let children = found.remove(&blob).expect("it was just there");
            let gone: Vec<Digest> =
                children.iter().filter(|child| !self.counts(space, child)).map(|(blob, _)| blob.digest).collect();
            if gone.is_empty() {
                let children = children.iter().map(|(blob, _)| blob.digest).collect();
                self.spaces[space].nodes.insert(blob.digest, children);
            }
            missing.extend(gone);
        }
        missing
    }
}

fn allows(when: When, pointer: Option<&Pointer>) -> bool {
    match when {
        When::Always => true,
        When::Absent => pointer.is_none(),
        When::Is(digest) => pointer.is_some_and(|pointer| pointer.blob.digest == digest),
    }
}
