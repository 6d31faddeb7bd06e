//! The changes and their guards.

use super::{Blob, Catalog, Change, Lease, Location, Node, Outcome, Row};
use crate::interleave::{Rule, Rules};

impl Catalog {
    /// Applies or refuses one change.
    pub fn apply(&mut self, change: Change, rules: Rules) -> Outcome {
        match change {
            Change::Begin => self.begin(rules),
            Change::Claim(at) => self.claim(at, rules),
            Change::Hold(blob) => self.hold(blob),
            Change::Touch(blob) => {
                if let Some(lease) = &mut self.leases[blob as usize] {
                    lease.fresh = true;
                }
                Outcome::Done
            }
            Change::Open { part, last } => self.open(part, last, rules),
            Change::Bind(root) => self.bind(root, rules),
            Change::Unbind => match self.name.take() {
                Some(root) => {
                    self.lower(root);
                    Outcome::Done
                }
                None => Outcome::Absent,
            },
            Change::Reap(blob) => self.reap(blob, rules),
            Change::Doom(blob) => self.doom(blob),
            Change::Forget { blob, at, doom } => self.forget(blob, at, doom, rules),
            Change::Lose(at) => self.lose(at, rules),
        }
    }

    fn begin(&mut self, rules: Rules) -> Outcome {
        self.live += 1;
        if rules.keep(Rule::YoungerAfterStart) {
            self.leases.iter_mut().flatten().for_each(|lease| lease.fresh = true);
        }
        Outcome::Done
    }

    fn claim(&mut self, at: Location, rules: Rules) -> Outcome {
        if at.epoch != self.live && rules.keep(Rule::DeadClaimRefused) {
            return Outcome::Dead;
        }
        if let Outcome::Held { .. } = self.hold(at.blob) {
            return Outcome::Held { spare: true };
        }
        self.rows[at.blob as usize] = Some(Row { at: Some(at), doomed: false, dooms: 0 });
        self.hold(at.blob);
        Outcome::Held { spare: false }
    }

    fn hold(&mut self, blob: Blob) -> Outcome {
        match &mut self.rows[blob as usize] {
            Some(row) if row.at.is_some() => row.doomed = false,
            _ => return Outcome::Absent,
        }
        self.leases[blob as usize].get_or_insert(Lease { held: 0, fresh: true }).fresh = true;
        Outcome::Held { spare: false }
    }

    fn raise(&mut self, blob: Blob) -> bool {
        let lease = self.leases[blob as usize].as_mut();
        lease.is_some_and(|lease| {
            lease.held += 1;
            true
        })
    }

    fn lower(&mut self, blob: Blob) {
        if let Some(lease) = &mut self.leases[blob as usize] {
            lease.held = lease.held.saturating_sub(1);
        }
    }

    fn present(&self, blob: Blob, rules: Rules) -> bool {
        if rules.keep(Rule::LostIsAbsent) { self.here(blob) } else { self.leases[blob as usize].is_some() }
    }

    fn open(&mut self, part: usize, last: bool, rules: Rules) -> Outcome {
        if !self.present(Blob::Parent, rules) && rules.keep(Rule::NodeIsLeased) {
            return Outcome::Incomplete;
        }
        if self.node.open {
            return Outcome::Done;
        }
        let others = self.node.counted.iter().enumerate().all(|(other, counted)| other == part || *counted);
        if last && !others && rules.keep(Rule::PartsTogether) {
            return Outcome::Closed;
        }
        let child = Blob::CHILDREN[part];
        if !self.node.counted[part] || !rules.keep(Rule::PartsCountOnce) {
            if rules.keep(Rule::ChildrenAreLeased) && !self.present(child, rules) {
                return Outcome::Incomplete;
            }
            self.node.counted[part] = self.raise(child);
        }
        self.node.open = last;
        Outcome::Done
    }

    fn bind(&mut self, root: Blob, rules: Rules) -> Outcome {
        if !self.present(root, rules) {
            return Outcome::Incomplete;
        }
        if root == Blob::Parent && !self.node.open && rules.keep(Rule::RootIsOpen) {
            return Outcome::Closed;
        }
        self.raise(root);
        if let Some(before) = self.name.replace(root) {
            self.lower(before);
        }
        Outcome::Done
    }

    fn reap(&mut self, blob: Blob, rules: Rules) -> Outcome {
        let Some(lease) = self.leases[blob as usize] else { return Outcome::Absent };
        if lease.held > 0 && rules.keep(Rule::ReapUnheld) || lease.fresh && rules.keep(Rule::ReapIdle) {
            return Outcome::Kept;
        }
        if blob == Blob::Parent {
            if rules.keep(Rule::CloseBeforeLower) {
                self.node.open = false;
            }
            let both = self.node.counted == [true, true];
            // One part a change, so that a node that closes in several changes is in the model.
            if let Some(part) = self.node.counted.iter().position(|counted| *counted) {
                self.node.counted[part] = false;
                self.lower(Blob::CHILDREN[part]);
            }
            if both {
                return Outcome::More;
            }
            self.node = Node::default();
        }
        self.leases[blob as usize] = None;
        Outcome::Reaped
    }

    fn doom(&mut self, blob: Blob) -> Outcome {
        match &mut self.rows[blob as usize] {
            Some(row) if self.leases[blob as usize].is_none() => {
                row.doomed = true;
                row.dooms += 1;
                Outcome::Doomed { at: row.at, doom: row.dooms }
            }
            _ => Outcome::Kept,
        }
    }

    fn forget(&mut self, blob: Blob, at: Option<Location>, doom: u8, rules: Rules) -> Outcome {
        let Some(row) = self.rows[blob as usize] else { return Outcome::Kept };
        let bare = row.doomed && self.leases[blob as usize].is_none();
        let other = rules.keep(Rule::ForgetThisDoom) && row.dooms != doom;
        if rules.keep(Rule::ForgetUnleased) && !bare || rules.keep(Rule::ForgetAtPlace) && row.at != at || other {
            return Outcome::Kept;
        }
        self.rows[blob as usize] = None;
        Outcome::Done
    }

    fn lose(&mut self, at: Location, rules: Rules) -> Outcome {
        match &mut self.rows[at.blob as usize] {
            Some(row) if row.at == Some(at) || !rules.keep(Rule::LoseAtPlace) => {
                row.at = None;
                Outcome::Done
            }
            _ => Outcome::Kept,
        }
    }
}
