//! The verbs of names: find, open, list, bind, unbind.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use model::{Body, Digest, Error, Name, NameRow, Outcome, Pointer, Result, Retention, Time, When};
use model::{Change, Meaning};

use crate::namespace::{Namespace, SMALL};
use crate::presence::Seen;
use crate::read::collect;
use crate::rights::Rights;

impl Namespace {
    /// What a name points at; asked of the upstream that knows the name where it is not here, or was last asked too
    /// long ago. Counts as a use.
    ///
    /// # Errors
    /// `Absent` when it is not bound, has ended, or what it holds is lost; the upstream's where there is nothing here
    /// to go on with.
    pub async fn find(&self, name: &Name) -> Result<NameRow> {
        self.granted.assert_on(Rights::READ, name)?;
        self.measured("find", self.found(name)).await
    }

    async fn found(&self, name: &Name) -> Result<NameRow> {
        match self.hub.upstream(name) {
            Some(upstream) => self.mirrored(name, upstream).await,
            None => self.bound(name).await?.ok_or_else(|| Error::absent(format!("{name} is not bound"))),
        }
    }

    /// What is bound here, asking nobody else.
    pub(crate) async fn bound(&self, name: &Name) -> Result<Option<NameRow>> {
        let row = self.hub.catalog().names(self.space.id, vec![name.clone()]).await?.pop().flatten();
        let now = Time::now();
        let Some(row) = row.filter(|row| !row.pointer.keep.over(now)) else { return Ok(None) };
        if row.pointer.keep == Retention::Weak && !self.is_leased(row.pointer.blob.digest).await? {
            return Ok(None);
        }
        if self.space.lost.load(Relaxed) > 0
            && row.pointer.keep != Retention::Firm
            && !self.lost_below(&row.pointer).await?.is_empty()
        {
            return Ok(None);
        }
        if row.pointer.keep != Retention::Weak {
            self.space.names().insert(name.clone(), now);
        }
        Ok(Some(row))
    }

    /// Held or promised. Counts as a use.
    async fn is_leased(&self, digest: Digest) -> Result<bool> {
        if digest == Digest::EMPTY || matches!(self.space.presence.look(&digest, Time::now()), Seen::Here(_)) {
            return Ok(true);
        }
        if self.look(&[digest]).await?.iter().any(Option::is_some) {
            return Ok(true);
        }
        let row = self.hub.catalog().leases(self.space.id, vec![digest], false).await?.pop().flatten();
        Ok(row.is_some_and(|row| row.source.is_some()))
    }

    /// What these names point at, in order; only what is bound here. Counts as a use of the names.
    ///
    /// # Errors
    /// When the caller may not read one of them, or the catalog fails.
    pub async fn find_all(&self, names: &[Name]) -> Result<Vec<Option<NameRow>>> {
        for name in names {
            self.granted.assert_on(Rights::READ, name)?;
        }
        self.measured("find_all", async {
            let mut rows = self.hub.catalog().names(self.space.id, names.to_vec()).await?;
            let now = Time::now();
            for (name, found) in names.iter().zip(&mut rows) {
                let Some(row) = found else { continue };
                let keep = row.pointer.keep;
                if keep.over(now) || (keep == Retention::Weak && !self.is_leased(row.pointer.blob.digest).await?) {
                    *found = None;
                } else if keep != Retention::Weak {
                    self.space.names().insert(name.clone(), now);
                }
            }
            Ok(rows)
        })
        .await
    }

    /// What a name points at, with the bytes of its blob from `offset` on, at most `limit` of them. The right to the
    /// name is the right to the bytes. What is only promised is fetched, once however many ask. Counts as a use.
    ///
    /// # Errors
    /// As [`Namespace::find`] and [`Namespace::read`].
    pub async fn open(&self, name: &Name, offset: u64, limit: Option<u64>) -> Result<(NameRow, Body)> {
        self.granted.assert_on(Rights::READ, name)?;
        self.measured("open", async {
            let row = self.found(name).await?;
            let hint = self.hub.upstream(name).is_some().then_some(name);
            let (_, body) = self.hub.read(&self.space, row.pointer.blob.digest, offset, limit, hint).await?;
            Ok((row, body))
        })
        .await
    }

    /// As [`Namespace::open`], the whole of a small blob (at most 16 MiB).
    ///
    /// # Errors
    /// As [`Namespace::open`]; `TooBig`.
    pub async fn open_small(&self, name: &Name) -> Result<(NameRow, Bytes)> {
        let (row, body) = self.open(name, 0, None).await?;
        let size = row.pointer.blob.size;
        if size > SMALL {
            return Err(Error::too_big(format!("{name} points at {size} bytes: stream them")));
        }
        Ok((row, collect(body, size).await?))
    }

    /// What a pointer holds and is lost.
    async fn lost_below(&self, pointer: &Pointer) -> Result<Vec<Digest>> {
        let also = pointer.also.iter().map(|link| link.blob.digest);
        self.hub.catalog().lost_below(self.space.id, also.chain([pointer.blob.digest]).collect()).await
    }

    /// Names that begin with `prefix`, in byte order, after `after`; ended ones and those that the caller may not
    /// read are left out. Fewer than `limit` do not mean the end: an empty answer does.
    ///
    /// # Errors
    /// When the caller may read no names here.
    pub async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(Name, NameRow)>> {
        self.granted.assert(Rights::READ)?;
        self.measured("list", async {
            let mut after = after.map(ToOwned::to_owned);
            loop {
                let page = self.hub.catalog().list(self.space.id, prefix.to_owned(), after, limit).await?;
                let Some((last, _)) = page.last() else { return Ok(page) };
                after = Some(last.as_str().to_owned());
                let now = Time::now();
                let seen: Vec<_> = page
                    .into_iter()
                    .filter(|(name, row)| !row.pointer.keep.over(now) && self.granted.on(Rights::READ, name.as_str()))
                    .collect();
                if !seen.is_empty() {
                    return Ok(seen);
                }
            }
        })
        .await
    }

    /// Names that begin with `prefix` at the upstream that has such names, in byte order, after `after`; `None` where
    /// no upstream has them. Nothing of the answer is kept.
    ///
    /// # Errors
    /// When the caller may read no names here; the upstream's.
    pub async fn list_upstream(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Option<Vec<Name>>> {
        self.granted.assert(Rights::READ)?;
        self.measured("list_upstream", async {
            for upstream in &self.hub.settings().upstreams {
                if let Some(mut names) = upstream.list(prefix, after, limit).await? {
                    names.retain(|name| self.granted.on(Rights::READ, name.as_str()));
                    return Ok(Some(names));
                }
            }
            Ok(None)
        })
        .await
    }

    /// True for a name that an upstream knows, so that nobody binds it here.
    #[must_use]
    pub fn is_upstream(&self, name: &Name) -> bool {
        self.hub.upstream(name).is_some()
    }

    /// Removes a name.
    ///
    /// # Errors
    /// `Absent`, or `Conflict` when it points elsewhere than `when` says.
    pub async fn unbind(&self, name: &Name, when: When) -> Result<()> {
        self.granted.assert_on(Rights::DELETE, name)?;
        self.measured("unbind", self.unbound(name, when)).await
    }

    pub(crate) async fn unbound(&self, name: &Name, when: When) -> Result<()> {
        let (space, by) = (self.space.id, self.granted.who().to_owned());
        let change = Change::Unbind { space, name: name.clone(), when, unused_since: None, at: Time::now(), by };
        match self.apply_names(change).await? {
            Some(Outcome::Fell(_)) => Ok(()),
            Some(Outcome::Conflict) => Err(Error::conflict(format!("{name} points elsewhere by now"))),
            _ => Err(Error::absent(format!("{name} is not bound"))),
        }
    }

    /// Binds all of these names or none, once everything that they must link to is held here, or promised. Names of
    /// an upstream are bound by those only who administer them.
    ///
    /// # Errors
    /// `Incomplete` with what is missing, `Conflict`, `Malformed` when a blob is not of its kind.
    pub async fn bind(&self, list: Vec<(Name, Pointer, When)>) -> Result<()> {
        for (name, ..) in &list {
            self.granted.assert_on(Rights::WRITE, name)?;
            if self.hub.upstream(name).is_some() && self.granted.assert_on(Rights::ADMIN, name).is_err() {
                return Err(Error::new(
                    Meaning::Denied,
                    format!("{name} is a copy of what an upstream has: push it there, or under another name here"),
                ));
            }
        }
        self.measured("bind", self.bind_closure(list)).await
    }
}
