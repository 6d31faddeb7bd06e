//! A kind for tests: a list of the blobs that it needs.

use model::{Blob, Error, Kind, KindId, Link, Result};

/// `toy`, then a line for each link: digest, size, kind.
#[derive(Clone, Copy, Debug)]
pub struct Toy;

impl Toy {
    /// Its number.
    pub const ID: KindId = KindId(0x7f01);

    /// The bytes that link to these.
    #[must_use]
    pub fn list(links: &[(Blob, KindId)]) -> Vec<u8> {
        let lines = links.iter().map(|(blob, kind)| format!("{} {} {}\n", blob.digest, blob.size, kind.0));
        ["toy\n".to_owned()].into_iter().chain(lines).collect::<String>().into_bytes()
    }
}

impl Kind for Toy {
    fn id(&self) -> KindId {
        Self::ID
    }

    fn limit(&self) -> u64 {
        16 << 20
    }

    fn links(&self, bytes: &[u8]) -> Result<Vec<Link>> {
        let wrong = || Error::malformed("this is no toy");
        let text = str::from_utf8(bytes).map_err(|_| wrong())?;
        let lines = text.strip_prefix("toy\n").ok_or_else(wrong)?.lines();
        let link = |line: &str| {
            let mut words = line.split(' ');
            let (digest, size, kind) = (words.next()?, words.next()?, words.next()?);
            let blob = Blob { digest: digest.parse().ok()?, size: size.parse().ok()? };
            Some(Link::must(blob, KindId(kind.parse().ok()?)))
        };
        lines.map(|line| link(line).ok_or_else(wrong)).collect()
    }
}
