//! Values as they lie in rows.

use bytes::Bytes;
use model::{Blob, Digest, Epoch, Error, KindId, Link, Location, Need, Result, Retention, Time};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::fault;

/// Sizes are i64 in every SQL database.
pub(super) fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::too_big("no size goes beyond 2^63"))
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The column as a blob's bytes.
pub(super) fn blob_column<'a>(row: &'a Row<'_>, at: usize) -> Result<&'a [u8]> {
    match row.get_ref(at).map_err(fault("read a row"))? {
        ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err(Error::broken("the catalog has a row of another form: run `entrepot fsck`")),
    }
}

pub(super) fn digest_column(row: &Row<'_>, at: usize) -> Result<Digest> {
    Digest::try_from(blob_column(row, at)?)
}

pub(super) fn int(row: &Row<'_>, at: usize) -> Result<i64> {
    row.get(at).map_err(fault("read a row"))
}

/// The location in columns `at` (state), `at + 1`, `at + 2`.
pub(super) fn location(row: &Row<'_>, at: usize, digest: Digest) -> Result<Option<Location>> {
    if int(row, at)? != State::STORED {
        return Ok(None);
    }
    let epoch = Epoch(u32::try_from(int(row, at + 1)?).unwrap_or(0));
    Ok(Some(Location { digest, epoch, counter: unsigned(int(row, at + 2)?) }))
}

/// Where a blob's bytes are.
pub(super) struct State;

impl State {
    pub(super) const AWAY: i64 = 0;
    pub(super) const ROW: i64 = 1;
    pub(super) const STORED: i64 = 2;
}

pub(super) fn ids_to_bytes(ids: &[i64]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

pub(super) fn ids(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks().0.iter().map(|chunk| i64::from_le_bytes(*chunk)).collect()
}

const FIRM: i64 = -2;
const LOOSE: i64 = -1;
const WEAK: i64 = -3;
const WITH: i64 = -4;

pub(super) fn keep_to_int(keep: Retention) -> i64 {
    match keep {
        Retention::Firm => FIRM,
        Retention::Loose => LOOSE,
        Retention::Weak => WEAK,
        Retention::With => WITH,
        Retention::Until(end) => end.0.max(0),
    }
}

pub(super) fn keep(number: i64) -> Retention {
    match number {
        FIRM => Retention::Firm,
        LOOSE => Retention::Loose,
        WEAK => Retention::Weak,
        WITH => Retention::With,
        end => Retention::Until(Time(end)),
    }
}

/// A link in a row: digest, size, kind, need.
const LINK: usize = 32 + 8 + 2 + 1;

pub(super) fn links_to_bytes(links: &[Link]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(links.len() * LINK);
    for link in links {
        bytes.extend_from_slice(link.blob.digest.as_bytes());
        bytes.extend_from_slice(&link.blob.size.to_le_bytes());
        bytes.extend_from_slice(&link.kind.0.to_le_bytes());
        bytes.push(u8::from(link.need == Need::Must));
    }
    bytes
}

pub(super) fn links(bytes: &[u8]) -> Result<Vec<Link>> {
    bytes
        .as_chunks::<LINK>()
        .0
        .iter()
        .map(|link| {
            let mut size = [0; 8];
            size.copy_from_slice(&link[32..40]);
            Ok(Link {
                blob: Blob { digest: Digest::try_from(&link[..32])?, size: u64::from_le_bytes(size) },
                kind: KindId(u16::from_le_bytes([link[40], link[41]])),
                need: if link[42] == 1 { Need::Must } else { Need::May },
            })
        })
        .collect()
}

pub(super) fn bytes_column(row: &Row<'_>, at: usize) -> Result<Bytes> {
    Ok(Bytes::copy_from_slice(blob_column(row, at)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_retention_come_back_as_they_went() {
        let list = vec![
            Link::must(Blob::EMPTY, KindId(0x0102)),
            Link { blob: Blob { digest: Digest::new([7; 32]), size: 1 << 40 }, kind: KindId::BYTES, need: Need::May },
        ];
        assert_eq!(links(&links_to_bytes(&list)).ok(), Some(list));
        for kept in [Retention::Firm, Retention::Loose, Retention::Until(Time(5)), Retention::Weak, Retention::With] {
            assert_eq!(keep(keep_to_int(kept)), kept);
        }
        assert_eq!(ids(&ids_to_bytes(&[1, -1, i64::MAX])), [1, -1, i64::MAX]);
    }
}
