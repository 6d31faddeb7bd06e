//! Nodes and their counted children.
//!
//! A node's row parts list exactly the children that it counts, whatever happens in between. The part with
//! `last` opens it. Closing takes the last part first, so that a node that misses a part is never open.

use std::collections::HashSet;

use model::{Child, Digest, Idle, KindId, Name, NamespaceId, Outcome, Result};
use rusqlite::{Connection, OptionalExtension};

use super::codec::{State, blob_column, digest_column, ids, ids_to_bytes, signed};
use super::{fault, leases};

/// Children that one change lowers.
const STEP: usize = 1000;
/// Missing digests that one answer lists.
const LISTED: usize = 1000;

/// The ids of children that may be counted, or the digests that are not there.
pub(super) fn present(
    connection: &Connection,
    space: NamespaceId,
    children: &[Child],
) -> Result<std::result::Result<Vec<i64>, Vec<Digest>>> {
    let doing = fault("look up what a blob needs");
    let mut query = connection
        .prepare_cached(
            "SELECT b.id FROM blob b JOIN lease l ON l.space = ?1 AND l.blob = b.id
             WHERE b.digest = ?2 AND b.size = ?3 AND (b.state != 0 OR (l.held = 0 AND l.source IS NOT NULL))",
        )
        .map_err(&doing)?;
    let mut found = Vec::with_capacity(children.len());
    let mut missing = Vec::new();
    for child in children {
        // A size that cannot be is a client's: it is missing, and takes nothing else in the group with it.
        let id: Option<i64> = match signed(child.blob.size) {
            Err(_) => None,
            Ok(size) => query
                .query_row((space.0, child.blob.digest.as_bytes(), size), |row| row.get(0))
                .optional()
                .map_err(&doing)?,
        };
        match (id, child.node) {
            (Some(id), None) => found.push(id),
            (Some(id), Some(kind)) if is_open(connection, space, id, kind)? => found.push(id),
            _ if missing.len() < LISTED => missing.push(child.blob.digest),
            _ => {}
        }
    }
    Ok(if missing.is_empty() { Ok(found) } else { Err(missing) })
}

fn is_open(connection: &Connection, space: NamespaceId, id: i64, kind: KindId) -> Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM node WHERE space = ?1 AND blob = ?2 AND kind = ?3 AND last = 1")
        .and_then(|mut query| query.exists((space.0, id, kind.0)))
        .map_err(fault("look up a node"))
}

/// Raises the holders of these leases.
pub(super) fn raise(connection: &Connection, space: NamespaceId, children: &[i64]) -> Result<()> {
    let doing = fault("count what a blob needs");
    let mut update = connection
        .prepare_cached("UPDATE lease SET holders = holders + 1 WHERE space = ?1 AND blob = ?2")
        .map_err(&doing)?;
    for child in children {
        update.execute((space.0, child)).map_err(&doing)?;
    }
    Ok(())
}

/// Lowers the holders of these leases; returns those that nothing holds any more.
pub(super) fn lower(connection: &Connection, space: NamespaceId, children: &[i64]) -> Result<Vec<Idle>> {
    let doing = fault("uncount what a blob needs");
    let mut update = connection
        .prepare_cached(
            "UPDATE lease SET holders = holders - 1 WHERE space = ?1 AND blob = ?2 RETURNING holders, used",
        )
        .map_err(&doing)?;
    let mut fallen = Vec::new();
    for child in children {
        let row: Option<(i64, i64)> = update
            .query_row((space.0, child), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(&doing)?;
        if let Some((0, used)) = row {
            fallen.extend(leases::idle(connection, *child, used)?);
        }
    }
    Ok(fallen)
}

pub(super) fn open(
    connection: &Connection,
    space: NamespaceId,
    node: &Digest,
    kind: KindId,
    part: u32,
    children: &[Child],
    last: bool,
) -> Result<Outcome> {
    let doing = fault("open a node");
    let leased: Option<i64> = connection
        .prepare_cached(
            "SELECT b.id FROM blob b JOIN lease l ON l.space = ?1 AND l.blob = b.id WHERE b.digest = ?2 AND b.state != 0",
        )
        .and_then(|mut query| query.query_row((space.0, node.as_bytes()), |row| row.get(0)).optional())
        .map_err(&doing)?;
    let Some(id) = leased else { return Ok(Outcome::Incomplete(vec![*node])) };
    let (parts, counted): (u32, bool) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(max(part = ?4), 0) FROM node WHERE space = ?1 AND blob = ?2 AND kind = ?3",
        )
        .and_then(|mut query| query.query_row((space.0, id, kind.0, part), |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(&doing)?;
    if counted {
        return Ok(Outcome::Done);
    }
    if parts != part {
        // A part before this one was taken away again.
        return Ok(Outcome::Kept);
    }
    let found = match present(connection, space, children)? {
        Ok(found) => found,
        Err(missing) => return Ok(Outcome::Incomplete(missing)),
    };
    raise(connection, space, &found)?;
    connection
        .prepare_cached("INSERT INTO node(space, blob, kind, part, last, children) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .and_then(|mut insert| insert.execute((space.0, id, kind.0, part, last, ids_to_bytes(&found))))
        .map_err(&doing)?;
    Ok(Outcome::Done)
}

/// Closes all nodes of a blob, or about [`STEP`] children of them. True when none is left.
pub(super) fn close(connection: &Connection, space: NamespaceId, id: i64) -> Result<(bool, Vec<Idle>)> {
    let doing = fault("close a node");
    let mut fallen = Vec::new();
    let mut lowered = 0;
    loop {
        let part: Option<(u16, u32, Vec<u8>)> = connection
            .prepare_cached(
                "SELECT kind, part, children FROM node WHERE space = ?1 AND blob = ?2 ORDER BY last DESC, part DESC
                 LIMIT 1",
            )
            .and_then(|mut query| {
                query.query_row((space.0, id), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
            })
            .map_err(&doing)?;
        let Some((kind, part, children)) = part else { return Ok((true, fallen)) };
        let children = ids(&children);
        if lowered > 0 && lowered + children.len() > STEP {
            return Ok((false, fallen));
        }
        lowered += children.len().max(1);
        connection
            .prepare_cached("DELETE FROM node WHERE space = ?1 AND blob = ?2 AND kind = ?3 AND part = ?4")
            .and_then(|mut delete| delete.execute((space.0, id, kind, part)))
            .map_err(&doing)?;
        fallen.extend(lower(connection, space, &children)?);
    }
}

pub(super) fn open_nodes(
    connection: &Connection,
    space: NamespaceId,
    nodes: &[(Digest, KindId)],
) -> Result<Vec<bool>> {
    nodes
        .iter()
        .map(|(digest, kind)| match leases::blob_id(connection, digest)? {
            Some(id) => is_open(connection, space, id, *kind),
            None => Ok(false),
        })
        .collect()
}

/// What a name counts.
fn roots(connection: &Connection, space: NamespaceId, name: &Name) -> Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT roots FROM name WHERE space = ?1 AND name = ?2")
        .and_then(|mut query| query.query_row((space.0, name.as_str()), |row| row.get::<_, Vec<u8>>(0)).optional())
        .map_err(fault("look up a name"))
        .map(|roots| roots.map_or_else(Vec::new, |roots| ids(&roots)))
}

pub(super) fn whole(connection: &Connection, space: NamespaceId, name: &Name) -> Result<bool> {
    let doing = fault("look for lost blobs");
    let mut away = connection
        .prepare_cached(
            "SELECT 1 FROM blob b JOIN lease l ON l.space = ?1 AND l.blob = b.id
             WHERE b.id = ?2 AND b.state = ?3 AND l.held = 1",
        )
        .map_err(&doing)?;
    let mut children = connection
        .prepare_cached("SELECT children FROM node WHERE space = ?1 AND blob = ?2")
        .map_err(&doing)?;
    let mut todo = roots(connection, space, name)?;
    let mut seen: HashSet<i64> = todo.iter().copied().collect();
    while let Some(id) = todo.pop() {
        if away.exists((space.0, id, State::AWAY)).map_err(&doing)? {
            return Ok(false);
        }
        let mut rows = children.query((space.0, id)).map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            todo.extend(ids(blob_column(row, 0)?).into_iter().filter(|id| seen.insert(*id)));
        }
    }
    Ok(true)
}

pub(super) fn holders(
    connection: &Connection,
    space: NamespaceId,
    digest: Digest,
) -> Result<(Vec<Name>, Vec<Digest>)> {
    let doing = fault("look for what holds a blob");
    let Some(wanted) = leases::blob_id(connection, &digest)? else { return Ok((Vec::new(), Vec::new())) };
    let mut names = Vec::new();
    let mut query = connection.prepare("SELECT name, roots FROM name WHERE space = ?1").map_err(&doing)?;
    let mut rows = query.query([space.0]).map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        if ids(blob_column(row, 1)?).contains(&wanted) {
            names.push(Name::new(row.get::<_, String>(0).map_err(&doing)?)?);
        }
    }
    let mut nodes = Vec::new();
    let mut query = connection
        .prepare("SELECT b.digest, n.children FROM node n JOIN blob b ON b.id = n.blob WHERE n.space = ?1")
        .map_err(&doing)?;
    let mut rows = query.query([space.0]).map_err(&doing)?;
    while let Some(row) = rows.next().map_err(&doing)? {
        if ids(blob_column(row, 1)?).contains(&wanted) {
            nodes.push(digest_column(row, 0)?);
        }
    }
    nodes.dedup();
    Ok((names, nodes))
}
