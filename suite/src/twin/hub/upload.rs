//! Uploads, as the twin does them.

use bytes::Bytes;
use model::Meaning;

use super::super::Answer;
use super::super::verb::NAMED;
use super::{STEP, Said, Twin, Writing, fault, slot_space};
use crate::sample::blob;

impl Twin {
    pub(super) fn begin(&mut self, slot: usize, content: &Bytes, announced: bool) -> Said {
        let space = slot_space(slot);
        if slot >= NAMED {
            self.leave(slot);
        }
        let size = announced.then_some(content.len() as u64);
        self.reserve(space, size.unwrap_or(0))?;
        if self.spaces[space].writing.contains_key(&slot) {
            return fault(Meaning::Busy(std::time::Duration::from_secs(1)));
        }
        self.spaces[space].rests.remove(&slot);
        self.spaces[space].parked.remove(&slot);
        let one = Writing { content: content.clone(), offset: 0, announced: size, reserved: size.unwrap_or(0) };
        self.spaces[space].writing.insert(slot, one);
        Ok(Answer::Done)
    }

    pub(super) fn append(&mut self, slot: usize, most: usize) -> Said {
        let space = slot_space(slot);
        let Some(one) = self.spaces[space].writing.get(&slot).cloned() else { return Ok(Answer::Done) };
        let end = (one.offset + most).min(one.content.len());
        let lacks = (end as u64).saturating_sub(one.reserved);
        if lacks > 0 {
            let step = if one.announced.is_none() { STEP.max(lacks) } else { lacks };
            let more = match self.reserve(space, step) {
                Ok(()) => step,
                Err(_) => self.reserve(space, lacks).map(|()| lacks)?,
            };
            self.spaces[space].writing.get_mut(&slot).expect("it is written").reserved += more;
        }
        self.spaces[space].writing.get_mut(&slot).expect("it is written").offset = end;
        Ok(Answer::Offset(Some(end as u64)))
    }

    pub(super) fn park(&mut self, slot: usize) -> Said {
        let space = &mut self.spaces[slot_space(slot)];
        if let Some(one) = space.writing.remove(&slot) {
            space.rests.insert(slot, (one.content, one.offset));
            space.parked.insert(slot, one.reserved.min(one.offset as u64));
        }
        Ok(Answer::Done)
    }

    pub(super) fn resume(&mut self, slot: usize) -> Said {
        let space = slot_space(slot);
        let Some((content, offset)) = self.spaces[space].rests.get(&slot).cloned() else {
            return fault(Meaning::Absent);
        };
        if self.spaces[space].writing.contains_key(&slot) {
            return fault(Meaning::Busy(std::time::Duration::from_secs(1)));
        }
        let reserved = match self.spaces[space].parked.remove(&slot) {
            Some(reserved) => reserved,
            None => self.reserve(space, offset as u64).map(|()| offset as u64)?,
        };
        self.spaces[space].writing.insert(slot, Writing { content, offset, announced: None, reserved });
        Ok(Answer::Offset(Some(offset as u64)))
    }

    pub(super) fn commit(&mut self, slot: usize) -> Said {
        let space = slot_space(slot);
        let Some(one) = self.spaces[space].writing.remove(&slot) else { return Ok(Answer::Done) };
        self.spaces[space].rests.remove(&slot);
        if one.announced.is_some_and(|size| size != one.offset as u64) {
            return fault(Meaning::Mismatch);
        }
        let bytes = one.content.slice(..one.offset);
        let now = self.now();
        self.claim(space, &bytes, now);
        Ok(Answer::Blob(blob(&bytes)))
    }

    /// What becomes of an upload that nobody ends.
    pub(super) fn leave(&mut self, slot: usize) {
        let space = &mut self.spaces[slot_space(slot)];
        let Some(one) = space.writing.remove(&slot) else { return };
        if slot < NAMED && (one.offset > 0 || space.rests.contains_key(&slot)) {
            space.rests.insert(slot, (one.content, one.offset));
            space.parked.insert(slot, one.reserved.min(one.offset as u64));
        }
    }
}
