//! What is left of a disk when the power goes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Body, Disk, Edit, Inode, ROOT, settle};
use crate::tornfs::chance::Chance;
use crate::tornfs::content::Content;

impl Disk {
    /// What a crash leaves, as a disk of its own.
    pub(in crate::tornfs) fn survive(&self, seed: u64) -> Disk {
        let chance = &mut Chance::new(seed);
        let mut inodes = self.inodes.clone();
        for edits in self.surviving_edits(chance) {
            settle(&mut inodes, edits);
        }
        for inode in inodes.values_mut() {
            inode.links = 0;
            match &mut inode.body {
                Body::File(content) => *content = Content::settled(content.survive(chance)),
                Body::Dir { now, durable } => now.clone_from(durable),
                Body::Socket => {}
            }
        }
        let reached = reached(&inodes);
        inodes.retain(|ino, inode| {
            inode.links = reached.get(ino).copied().unwrap_or_default();
            inode.links > 0
        });
        Disk::with(inodes)
    }

    /// A prefix in each directory, or any subset.
    fn surviving_edits(&self, chance: &mut Chance) -> Vec<&Vec<Edit>> {
        let by_subset = chance.up_to(1) == 0;
        let dirs: BTreeSet<u64> = self.journal.iter().flatten().map(|edit| edit.dir).collect();
        let mut prefix: BTreeMap<u64, usize> = dirs
            .into_iter()
            .map(|dir| {
                let all = self.journal.iter().filter(|edits| edits.iter().any(|edit| edit.dir == dir)).count();
                (dir, chance.up_to(all))
            })
            .collect();
        let mut survives = |edits: &&Vec<Edit>| {
            if by_subset {
                return chance.up_to(1) == 0;
            }
            let inside = edits.iter().all(|edit| prefix.get(&edit.dir).is_some_and(|left| *left > 0));
            for dir in edits.iter().map(|edit| edit.dir).collect::<BTreeSet<_>>() {
                // Where one directory of a rename is beyond its prefix, the other ends here as well.
                prefix.entry(dir).and_modify(|left| *left = if inside { *left - 1 } else { 0 });
            }
            inside
        };
        self.journal.iter().filter(|edits| survives(edits)).collect()
    }
}

/// How many entries lead to each inode, from the root.
fn reached(inodes: &BTreeMap<u64, Inode>) -> BTreeMap<u64, u32> {
    let mut reached = BTreeMap::from([(ROOT, 1)]);
    let mut left = vec![ROOT];
    while let Some(ino) = left.pop() {
        let Some(Inode { body: Body::Dir { durable, .. }, .. }) = inodes.get(&ino) else { continue };
        for child in durable.values() {
            let links = reached.entry(*child).or_default();
            *links += 1;
            if *links == 1 {
                left.push(*child);
            }
        }
    }
    reached
}
