//! Notices that files changed, by looking at them about once a second: that works on every file system, in
//! containers, and for mounted secrets that are swapped by a symbolic link, where inotify does not.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often files are looked at. A second is what a person waits without wondering.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// What files looked like. Take it before reading them: what changes in between then counts as a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

/// Modification time (with nanoseconds), size, inode.
type Stamp = (i64, i64, u64, u64);

impl Stamps {
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), stamp(path))).collect())
    }

    /// The same files as they look now.
    pub(crate) fn again(&self) -> Self {
        Self::of(self.0.iter().map(|(path, _)| path))
    }
}

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let data = fs::metadata(path).ok()?;
    Some((data.mtime(), data.mtime_nsec(), data.size(), data.ino()))
}
