//! Law 3: a Name is bound only if everything that it must link to is held in the namespace.
//!
//! The walk goes down from the roots and stops at open nodes, whose children are counted already, so that a
//! re-bind costs only what is new. Then nodes are opened from the leaves up, each by a guarded change that
//! counts its children. A crash in between leaves open nodes that nothing holds; the reaper takes them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use model::{
    Binding, Blob, Change, Child, Digest, Error, Kind, KindId, Link, Meaning, Name, Need, Outcome, Pointer, Result,
    Retention, Time, When,
};

use crate::namespace::Namespace;
use crate::read::collect;
use crate::space::Space;

/// Children that one change counts.
const PART: usize = 1000;
/// Nodes that are looked up at a time.
const READ: usize = 256;
/// Nodes up to this size are read together: 64 MiB at most in all.
const TOGETHER: u64 = 256 << 10;
/// Links of one closure; a tree of a million files has fewer.
const LINKS: usize = 8 << 20;
/// Names of one bind, and links beside each.
const WIDTH: usize = 100_000;
/// A reap that comes in between makes the walk start over.
const TRIES: usize = 4;

pub(crate) type Node = (Blob, KindId);

/// Keeps the reaper away from what a bind relies on.
struct Pins<'a> {
    space: &'a Space,
    /// With the sizes that links give them.
    sizes: HashMap<Digest, u64>,
}

impl Pins<'_> {
    fn pin(&mut self, children: &[Child]) {
        for Child { blob, .. } in children {
            match self.sizes.entry(blob.digest) {
                Entry::Vacant(entry) => {
                    entry.insert(blob.size);
                    self.space.presence.pin(&blob.digest);
                }
                // Links that disagree cannot all be right, and no blob has this size.
                Entry::Occupied(mut entry) if *entry.get() != blob.size => {
                    entry.insert(u64::MAX);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
}

impl Drop for Pins<'_> {
    fn drop(&mut self) {
        for digest in self.sizes.keys() {
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
        for _ in 0..TRIES {
            let mut pins = Pins { space: &self.space, sizes: HashMap::new() };
            let refused = match self.try_bind(&list, &mut pins).await? {
                None => return Ok(()),
                Some(refused) => refused,
            };
            // What is truly missing, or has another size than its link says, is not worth another walk. The rest
            // was closed by a reap that came in between.
            let here = self.look(&refused).await?;
            let missing: Vec<Digest> = refused
                .into_iter()
                .zip(here)
                .filter(|(digest, here)| here.is_none() || pins.sizes.get(digest) != here.as_ref())
                .map(|(digest, _)| digest)
                .collect();
            if !missing.is_empty() {
                return Err(Error::incomplete(missing));
            }
        }
        Err(Error::busy("what the name needs is being evicted while it is bound: try again"))
    }

    /// `None` when it is done, else what was not there, or not any more.
    async fn try_bind(&self, list: &[(Name, Pointer, When)], pins: &mut Pins<'_>) -> Result<Option<Vec<Digest>>> {
        let mut roots = Vec::new();
        let mut bindings = Vec::with_capacity(list.len());
        for (name, pointer, when) in list {
            let links = [Link::must(pointer.blob, pointer.kind)].into_iter().chain(pointer.also.iter().copied());
            let children: Vec<Child> =
                if self.foreign { Vec::new() } else { links.filter_map(|link| self.child(link)).collect() };
            roots.extend(children.iter().copied());
            let (name, pointer, when) = (name.clone(), pointer.clone(), *when);
            let holds = pointer.keep != Retention::Weak;
            bindings.push(Binding { name, pointer, when, roots: children, holds });
        }
        pins.pin(&roots);
        let mut missing = self.open_closure(&roots, pins).await?;
        if missing.is_empty() && self.space.lost.load(Relaxed) > 0 {
            // The walk stopped at open nodes, and something below them may have been lost since they were opened.
            let below = roots.iter().map(|root| root.blob.digest).collect();
            missing = self.hub.catalog().lost_below(self.space.id, below).await?;
        }
        if !missing.is_empty() {
            return Ok(Some(missing));
        }
        let (space, at, by) = (self.space.id, Time::now(), self.granted.who().to_owned());
        match self.apply_names(Change::Bind { space, list: bindings, at, by }).await? {
            Some(Outcome::Fell(_)) => Ok(None),
            Some(Outcome::Incomplete(missing)) => Ok(Some(missing)),
            Some(Outcome::Conflict) => Err(Error::conflict("the name points elsewhere by now")),
            other => Err(Error::broken(format!("a bind ended as {other:?}"))),
        }
    }

    /// Binds a weak name to plain bytes.
    pub(crate) fn weak(&self, name: &Name, blob: Blob) -> Change {
        let pointer = Pointer { keep: Retention::Weak, ..Pointer::new(blob, KindId::BYTES) };
        let roots = self.child(Link::must(blob, KindId::BYTES)).into_iter().collect();
        let list = vec![Binding { name: name.clone(), pointer, when: When::Always, roots, holds: false }];
        Change::Bind { space: self.space.id, list, at: Time::now(), by: self.granted.who().to_owned() }
    }

    /// What a link counts: nothing for what may be missing and for the empty blob, which always is there.
    fn child(&self, link: Link) -> Option<Child> {
        let counts = link.need == Need::Must && link.blob != Blob::EMPTY;
        counts.then(|| Child { blob: link.blob, node: self.hub.kind(link.kind).map(Kind::id) })
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
                pins.pin(&children);
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
        let closed = nodes.into_iter().zip(open).filter(|(_, open)| !open).map(|(node, _)| node);
        // Small ones together; each large one alone, so that memory stays bounded whatever a client binds.
        let (small, large): (Vec<Node>, Vec<Node>) = closed.partition(|(blob, _)| blob.size <= TOGETHER);
        let mut read = Vec::with_capacity(small.len() + large.len());
        let blobs: Vec<Blob> = small.iter().map(|(blob, _)| *blob).collect();
        for (node, bytes) in small.into_iter().zip(self.hub.read_small(&self.space, &blobs).await?) {
            read.push((node, self.children(node, bytes)?));
        }
        for node in large {
            self.kind_for(node)?;
            let bytes = match self.hub.read(&self.space, node.0.digest, 0, None, None).await {
                Ok((blob, body)) if blob == node.0 => collect(body, blob.size).await,
                Ok(_) => Err(Error::absent("a blob of another size")),
                Err(error) => Err(error),
            };
            read.push((node, self.children(node, bytes)?));
        }
        self.size_children(&mut read).await?;
        Ok(read)
    }

    /// The kind of a node, whose bound its size keeps.
    fn kind_for(&self, (blob, kind): Node) -> Result<&dyn Kind> {
        let kind = self.hub.kind(kind).ok_or_else(|| Error::broken("a kind that nobody gave"))?;
        if blob.size > kind.limit() {
            let (digest, kind) = (blob.digest, kind.id());
            return Err(Error::too_big(format!("blob {digest} is too large to be a {kind:?}")));
        }
        Ok(kind)
    }

    /// The children of a node in these bytes, in digest order, so that the catalog's index is walked once; each
    /// is counted once.
    fn children(&self, node: Node, bytes: Result<Bytes>) -> Result<Option<Vec<Child>>> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.meaning(), Meaning::Absent | Meaning::Lost) => return Ok(None),
            Err(error) => return Err(error),
        };
        let links = self.kind_for(node)?.links(&bytes)?;
        let mut children: Vec<Child> = links.into_iter().filter_map(|link| self.child(link)).collect();
        children.sort_unstable_by_key(|child| (child.blob, child.node));
        children.dedup();
        Ok(Some(children))
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
