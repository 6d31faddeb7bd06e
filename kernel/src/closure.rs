//! Law 3: a Name is bound only if everything that it must link to is held in the namespace.
//!
//! The walk goes down from the roots and stops at open nodes, whose children are counted already, so that a
//! re-bind costs only what is new. Then nodes are opened from the leaves up, each by a guarded change that
//! counts its children. A crash in between leaves open nodes that nothing holds; the reaper takes them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;

use model::{
    Binding, Blob, Change, Child, Digest, Error, KindId, Link, Name, Need, Outcome, Pointer, Result, Time, When,
};

use crate::namespace::Namespace;
use crate::space::Space;

/// Children that one change counts.
const PART: usize = 1000;
/// Nodes that are read at a time.
const READ: usize = 256;
/// Links of one closure; a tree of a million files has fewer.
const LINKS: usize = 8 << 20;
/// Names of one bind, and links beside each.
const WIDTH: usize = 100_000;
/// A reap that comes in between makes the walk start over.
const TRIES: usize = 4;

type Node = (Blob, KindId);

/// Keeps the reaper away from what a bind relies on.
struct Pins<'a> {
    space: &'a Space,
    digests: HashSet<Digest>,
}

impl Pins<'_> {
    fn pin(&mut self, digest: Digest) {
        if self.digests.insert(digest) {
            self.space.presence.pin(&digest);
        }
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        for digest in &self.digests {
            self.space.presence.unpin(digest);
        }
    }
}

impl Namespace {
    pub(crate) async fn bind_closure(&self, list: Vec<(Name, Pointer, When)>) -> Result<()> {
        for (_, pointer, _) in &list {
            if pointer.note.len() > Pointer::NOTE_LIMIT || pointer.also.len() > WIDTH {
                return Err(Error::too_big("a note has at most 4096 bytes, and a name at most 100000 links beside it"));
            }
        }
        let mut missing = Vec::new();
        for _ in 0..TRIES {
            let mut pins = Pins { space: &self.space, digests: HashSet::new() };
            missing = match self.try_bind(&list, &mut pins).await? {
                None => return Ok(()),
                Some(missing) => missing,
            };
            // What is truly missing is not worth another walk.
            let here = self.look(&missing).await?;
            let gone: Vec<_> = missing.iter().zip(here).filter(|(_, here)| here.is_none()).map(|(digest, _)| *digest).collect();
            if !gone.is_empty() {
                return Err(Error::incomplete(gone));
            }
        }
        // They are here, but not as the links say: of another size, or evicted and brought again each time.
        Err(Error::incomplete(missing))
    }

    /// `None` when it is done, else what was not there.
    async fn try_bind(&self, list: &[(Name, Pointer, When)], pins: &mut Pins<'_>) -> Result<Option<Vec<Digest>>> {
        let mut roots = Vec::new();
        let mut bindings = Vec::with_capacity(list.len());
        for (name, pointer, when) in list {
            let links = [Link::must(pointer.blob, pointer.kind)].into_iter().chain(pointer.also.iter().copied());
            let children: Vec<Child> =
                if self.foreign { Vec::new() } else { links.filter_map(|link| self.child(link)).collect() };
            roots.extend(children.iter().copied());
            let (name, pointer, when) = (name.clone(), pointer.clone(), *when);
            bindings.push(Binding { name, pointer, when, roots: children });
        }
        for root in &roots {
            pins.pin(root.blob.digest);
        }
        let missing = self.open_closure(&roots, pins).await?;
        if !missing.is_empty() {
            return Ok(Some(missing));
        }
        let (space, at, by) = (self.space.id, Time::now(), self.granted.who().to_owned());
        match self.hub.catalog().apply(vec![Change::Bind { space, list: bindings, at, by }]).await?.pop() {
            Some(Outcome::Fell(fallen)) => {
                self.space.candidates.lock().await.fell(fallen);
                self.space.changes.fetch_add(1, Relaxed);
                Ok(None)
            }
            Some(Outcome::Incomplete(missing)) => Ok(Some(missing)),
            Some(Outcome::Conflict) => Err(Error::conflict("the name points elsewhere by now")),
            other => Err(Error::broken(format!("a bind ended as {other:?}"))),
        }
    }

    /// What a link counts: nothing for what may be missing and for the empty blob, which always is there.
    fn child(&self, link: Link) -> Option<Child> {
        let counts = link.need == Need::Must && link.blob != Blob::EMPTY;
        counts.then(|| Child { blob: link.blob, node: self.hub.kind(link.kind).map(model::Kind::id) })
    }

    /// Opens all nodes below these roots. Returns what is missing.
    async fn open_closure(&self, roots: &[Child], pins: &mut Pins<'_>) -> Result<Vec<Digest>> {
        let as_node = |child: &Child| child.node.map(|kind| (child.blob, kind));
        let mut found: HashMap<Node, Vec<Child>> = HashMap::new();
        let mut frontier: Vec<Node> = roots.iter().filter_map(as_node).collect();
        let mut seen: HashSet<Node> = frontier.iter().copied().collect();
        let (mut links, mut missing) = (0, Vec::new());
        while !frontier.is_empty() {
            let rest = frontier.split_off(frontier.len().min(READ));
            for (node, children) in self.read_nodes(std::mem::replace(&mut frontier, rest)).await? {
                let Some(children) = children else {
                    missing.push(node.0.digest);
                    continue;
                };
                links += children.len();
                if links > LINKS {
                    return Err(Error::too_big(format!("the name would need more than {LINKS} links")));
                }
                for child in &children {
                    pins.pin(child.blob.digest);
                }
                frontier.extend(children.iter().filter_map(as_node).filter(|node| seen.insert(*node)));
                found.insert(node, children);
            }
        }
        if !missing.is_empty() {
            return Ok(missing);
        }
        self.open_upwards(roots.iter().filter_map(as_node).collect(), found).await
    }

    /// The children of those nodes that are not open yet; `None` where the blob is not here.
    async fn read_nodes(&self, nodes: Vec<Node>) -> Result<Vec<(Node, Option<Vec<Child>>)>> {
        let wanted = nodes.iter().map(|(blob, kind)| (blob.digest, *kind)).collect();
        let open = self.hub.catalog().open_nodes(self.space.id, wanted).await?;
        let closed: Vec<Node> =
            nodes.into_iter().zip(open).filter(|(_, open)| !open).map(|(node, _)| node).collect();
        let digests: Vec<Digest> = closed.iter().map(|(blob, _)| blob.digest).collect();
        let bytes = self.hub.read_small(&self.space, &digests).await?;
        let mut read = Vec::with_capacity(closed.len());
        for ((blob, kind), bytes) in closed.into_iter().zip(bytes) {
            let bytes = match bytes {
                Ok(bytes) if bytes.len() as u64 == blob.size => bytes,
                Ok(_) => {
                    read.push(((blob, kind), None));
                    continue;
                }
                Err(error) if matches!(error.meaning(), model::Meaning::Absent | model::Meaning::Lost) => {
                    read.push(((blob, kind), None));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let kind_of = self.hub.kind(kind).ok_or_else(|| Error::broken("a kind that nobody gave"))?;
            if blob.size > kind_of.limit() {
                return Err(Error::too_big(format!("blob {} is too large to be a {kind:?}", blob.digest)));
            }
            let mut children: Vec<Child> =
                kind_of.links(&bytes)?.into_iter().filter_map(|link| self.child(link)).collect();
            // In digest order, so that the catalog's index is walked once; each child is counted once.
            children.sort_unstable_by_key(|child| (child.blob, child.node));
            children.dedup();
            read.push(((blob, kind), Some(children)));
        }
        Ok(read)
    }

    /// Opens the found nodes, each after those below it.
    async fn open_upwards(&self, roots: Vec<Node>, mut found: HashMap<Node, Vec<Child>>) -> Result<Vec<Digest>> {
        enum Step {
            Down(Node),
            Open(Node, Vec<Child>),
        }
        let mut stack: Vec<Step> = roots.into_iter().map(Step::Down).collect();
        let (mut changes, mut counted, mut missing) = (Vec::new(), 0, Vec::new());
        while let Some(step) = stack.pop() {
            match step {
                Step::Down(node) => {
                    // Taken out, so that what hangs below two nodes is opened once.
                    let Some(children) = found.remove(&node) else { continue };
                    let below: Vec<Step> = children
                        .iter()
                        .filter_map(|child| child.node.map(|kind| Step::Down((child.blob, kind))))
                        .collect();
                    stack.push(Step::Open(node, children));
                    stack.extend(below);
                }
                Step::Open((blob, kind), children) => {
                    let parts = children.len().div_ceil(PART).max(1);
                    for part in 0..parts {
                        let children = children[part * PART..children.len().min((part + 1) * PART)].to_vec();
                        counted += children.len() + 1;
                        let (space, node, last) = (self.space.id, blob.digest, part + 1 == parts);
                        let part = u32::try_from(part).unwrap_or(u32::MAX);
                        changes.push(Change::Open { space, node, kind, part, children, last });
                        if counted >= PART {
                            counted = 0;
                            self.open_all(std::mem::take(&mut changes), &mut missing).await?;
                        }
                    }
                }
            }
        }
        self.open_all(changes, &mut missing).await?;
        Ok(missing)
    }

    async fn open_all(&self, changes: Vec<Change>, missing: &mut Vec<Digest>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let nodes: Vec<Digest> = changes
            .iter()
            .filter_map(|change| if let Change::Open { node, .. } = change { Some(*node) } else { None })
            .collect();
        for (node, outcome) in nodes.into_iter().zip(self.hub.catalog().apply(changes).await?) {
            match outcome {
                Outcome::Done => {}
                Outcome::Incomplete(digests) => missing.extend(digests),
                // An earlier part was closed again by the reaper: the walk starts over.
                _ => missing.push(node),
            }
        }
        Ok(())
    }
}
