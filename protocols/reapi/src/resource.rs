//! ByteStream's resource names: `[instance/]blobs/<hash>/<size>` is read, and
//! `[instance/]uploads/<uuid>/blobs/<hash>/<size>[/anything]` is written (remote_execution.proto,
//! "ContentAddressableStorage"). Compressed blobs are not offered, so their names are refused.

use model::{Blob, Digest, Error, Result};

use crate::digest::asked;
use crate::settings::RESERVED;

/// Longest name in bytes. A name is also the id of an upload that may be resumed.
const LONGEST: usize = 1024;

/// What a resource name says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource<'a> {
    /// The instance; empty for the default one.
    pub(crate) instance: &'a str,
    /// `None` for what looks like a hash but is no SHA-256.
    digest: Option<Digest>,
    size: u64,
}

impl<'a> Resource<'a> {
    /// A name to read from.
    ///
    /// # Errors
    /// `Malformed` when it is none.
    pub(crate) fn to_read(name: &'a str) -> Result<Self> {
        let (instance, rest) = split(name)?;
        match rest.split('/').collect::<Vec<_>>()[..] {
            ["blobs", hash, size] => Self::new(instance, hash, size),
            _ => Err(no_name(name)),
        }
    }

    /// A name to write to. The UUID may be anything, for not all clients make one.
    ///
    /// # Errors
    /// `Malformed` when it is none.
    pub(crate) fn to_write(name: &'a str) -> Result<Self> {
        let (instance, rest) = split(name)?;
        match rest.splitn(6, '/').collect::<Vec<_>>()[..] {
            ["uploads", uuid, "blobs", hash, size] | ["uploads", uuid, "blobs", hash, size, _] if !uuid.is_empty() => {
                Self::new(instance, hash, size)
            }
            _ => Err(no_name(name)),
        }
    }

    fn new(instance: &'a str, hash: &str, size: &str) -> Result<Self> {
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        let number = size.parse::<i64>().ok().and_then(|size| u64::try_from(size).ok());
        let size = number.filter(|_| digits).ok_or_else(|| Error::malformed("the resource name has no right size"))?;
        Ok(Self { instance, digest: asked(hash)?, size })
    }

    /// The blob, if anybody can have it.
    pub(crate) fn blob(&self) -> Option<Blob> {
        self.digest.map(|digest| Blob { digest, size: self.size })
    }
}

/// Splits the instance from the rest, which begins with the first reserved segment.
fn split(name: &str) -> Result<(&str, &str)> {
    if name.len() > LONGEST || name.contains(char::is_control) {
        return Err(no_name(name));
    }
    let mut start = 0;
    for segment in name.split('/') {
        if RESERVED.contains(&segment) {
            return Ok((name[..start].trim_end_matches('/'), &name[start..]));
        }
        if segment.is_empty() {
            break;
        }
        start += segment.len() + 1;
    }
    Err(no_name(name))
}

fn no_name(name: &str) -> Error {
    Error::malformed(format!(
        "{:?} is no resource name that can be used here",
        name.chars().take(200).collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(name: &str) -> Option<(&str, Option<Blob>)> {
        Resource::to_read(name).ok().map(|resource| (resource.instance, resource.blob()))
    }

    fn write(name: &str) -> Option<(&str, Option<Blob>)> {
        Resource::to_write(name).ok().map(|resource| (resource.instance, resource.blob()))
    }

    #[test]
    fn names_are_read() {
        assert_eq!(read(&format!("blobs/{HASH}/0")), Some(("", Some(Blob::EMPTY))));
        assert_eq!(read(&format!("team/a/blobs/{HASH}/0")), Some(("team/a", Some(Blob::EMPTY))));
        assert_eq!(read("blobs/abc/5"), Some(("", None)));
        assert_eq!(write(&format!("uploads/u/blobs/{HASH}/0")), Some(("", Some(Blob::EMPTY))));
        assert_eq!(write(&format!("team/a/uploads/u/blobs/{HASH}/0/x/y//")), Some(("team/a", Some(Blob::EMPTY))));
    }

    #[test]
    fn other_names_are_refused() {
        for bad in [
            "",
            "/",
            "x",
            "blobs",
            "blobs/",
            "/blobs/H/0",
            "a//blobs/H/0",
            "blobs/H",
            "blobs/H/",
            "blobs/H/-1",
            "blobs/H/+1",
            "blobs/H/x",
            "blobs/H/99999999999999999999",
            "blobs/H/0/x",
            "blobs//0",
            "blobs/sha256/H/0",
            "blobs/../../etc/passwd/0",
            "blobs/../0",
            "compressed-blobs/zstd/H/0",
            "actions/blobs/H/0",
            "H/0",
            "uploads/u/blobs/H/0",
            "blobs/H/0\n",
            "blobs/blobs/H/0",
        ] {
            assert_eq!(read(&bad.replace('H', HASH)), None, "{bad}");
        }
        for bad in [
            "uploads/u/compressed-blobs/zstd/H/0",
            "uploads//blobs/H/0",
            "uploads/u/v/blobs/H/0",
            "uploads/u/blobs/H",
            "/uploads/u/blobs/H/0",
            "blobs/H/0",
            "uploads/u/blobs/H/-1",
            "uploads/u/blobs/sha256/H/0",
        ] {
            assert_eq!(write(&bad.replace('H', HASH)), None, "{bad}");
        }
        assert_eq!(write(&format!("uploads/u/blobs/{HASH}/0/{}", "x".repeat(2000))), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_an_error(name: String) {
            let _ = (read(&name), write(&name));
        }

        #[test]
        fn what_clients_write_is_understood(instance in "([a-z]{1,4}(/[a-z]{1,4}){0,2})?", hash in "[0-9a-f]{64}", size: u32) {
            let prefix = if instance.is_empty() { String::new() } else { format!("{instance}/") };
            let blob = Blob { digest: hash.parse().unwrap(), size: size.into() };
            let names = [format!("{prefix}blobs/{blob}"), format!("{prefix}uploads/1-2/blobs/{blob}")];
            prop_assert_eq!(read(&names[0]), Some((&*instance, Some(blob))));
            prop_assert_eq!(write(&names[1]), Some((&*instance, Some(blob))));
        }
    }
}
