//! A layer made of files that are given as data: a tar that comes out the same on any machine and at any time.
//!
//! Members are sorted; owners are 0:0 and `root`; the moment is 1970 or what the caller says; modes, empty directories
//! and symbolic links are kept; there are no hard links. The format is POSIX ustar with pax headers where a name, a
//! target or a size does not fit. gzip has no name and no moment, its system is "unknown"; zstd has a checksum.
//!
//! The tar and its compressed form are written in one pass, and both are hashed meanwhile. Compressed bytes are equal
//! as long as the compressor's version is: digests of layers are computed once, by whoever packs them, and never again.

use std::io::{self, Read, Write};

use model::{Blob, Digest, Error, Result};
use sha2::{Digest as _, Sha256};

use crate::Compression;

/// Longest path, in bytes: what Linux takes (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;
/// Most members of one layer: some 1 GiB of headers.
const MOST_MEMBERS: usize = 1_000_000;
/// The largest size that a ustar header can hold: eleven octal digits.
const LARGEST_USTAR: u64 = 0o777_7777_7777;

/// A file, directory or link of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path, relative to the image's root, with `/` between the parts.
    pub path: String,
    /// Its permissions, with the bits for set-user-id, set-group-id and sticky: at most `0o7777`.
    pub mode: u32,
    /// What it is.
    pub node: Node,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory, empty or not.
    Directory,
    /// A file of so many bytes.
    File(u64),
    /// A symbolic link to this path, which is not looked at.
    Link(String),
}

/// How to pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packing {
    /// The compression.
    pub compression: Compression,
    /// Its level; gzip 0 to 9 (6 where nothing is said), zstd 1 to 22 (3).
    pub level: Option<u32>,
    /// The moment that every member gets, in seconds since 1970.
    pub moment: u64,
}

/// What was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The tar: its digest is the layer's diff_id.
    pub tar: Blob,
    /// The compressed bytes.
    pub packed: Blob,
    /// How many members.
    pub members: usize,
}

/// Writes the members as a layer: the bare tar to `tar`, the compressed one to `packed`. `open` is asked for the bytes
/// of each file in turn.
///
/// # Errors
/// `Malformed` for a path that cannot be in a layer or is there twice; `Mismatch` if a file has not as many bytes as was
/// said, because it changed meanwhile; `TooBig`; `Broken` and `Full` for reading and writing.
pub fn pack<R: Read>(
    mut members: Vec<Member>,
    mut open: impl FnMut(&Member) -> io::Result<R>,
    tar: impl Write,
    packed: impl Write,
    how: Packing,
) -> Result<Packed> {
    check(&mut members)?;
    let packed = Compressor::new(Hashed::new(packed), how)?;
    let mut sink = Both { tar: Hashed::new(tar), packed };
    {
        let mut builder = tar::Builder::new(&mut sink);
        for member in &members {
            append(&mut builder, member, &mut open, how.moment)?;
        }
        builder.finish().map_err(|cause| Error::io("the layer cannot be written", cause))?;
    }
    let tar = sink.tar.done()?;
    let packed = sink.packed.finish().and_then(Hashed::done)?;
    Ok(Packed { tar, packed, members: members.len() })
}

/// Sorts the members and looks for what cannot be in a layer. A directory comes before what is in it.
fn check(members: &mut [Member]) -> Result<()> {
    if members.len() > MOST_MEMBERS {
        return Err(Error::too_big(format!("a layer may have at most {MOST_MEMBERS} files")));
    }
    members.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    for member in members.iter() {
        let plain = member.path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !plain || member.path.contains('\0') || member.path.len() > LONGEST_PATH {
            let short: String = member.path.chars().take(200).collect();
            return Err(Error::malformed(format!(
                "{short:?} cannot be in a layer: write a path below the image's root, without . and .."
            )));
        }
        if let Node::Link(target) = &member.node
            && (target.is_empty() || target.contains('\0') || target.len() > LONGEST_PATH)
        {
            return Err(Error::malformed(format!("{:?} links to what is no path", member.path)));
        }
        if member.mode > 0o7777 {
            return Err(Error::malformed(format!(
                "{:?} has the mode {:o}: 7777 is the most",
                member.path, member.mode
            )));
        }
    }
    match members.windows(2).find(|pair| pair[0].path == pair[1].path) {
        Some(pair) => Err(Error::malformed(format!("{:?} is there twice", pair[0].path))),
        None => Ok(()),
    }
}

fn append<W: Write, R: Read>(
    builder: &mut tar::Builder<W>,
    member: &Member,
    open: &mut impl FnMut(&Member) -> io::Result<R>,
    moment: u64,
) -> Result<()> {
    let doing = || format!("{:?} cannot be packed", member.path);
    let written = |result: io::Result<()>| result.map_err(|cause| Error::io(doing(), cause));
    let mut header = tar::Header::new_ustar();
    let mut pax: Vec<(&str, Vec<u8>)> = Vec::new();
    let path = if member.node == Node::Directory { format!("{}/", member.path) } else { member.path.clone() };
    if !path.is_ascii() || header.set_path(&path).is_err() {
        pax.push(("path", path.clone().into_bytes()));
        if let Some(ustar) = header.as_ustar_mut() {
            (ustar.name, ustar.prefix) = ([0; 100], [0; 155]);
            fill(&mut ustar.name, &path);
        }
    }
    let size = match &member.node {
        Node::File(size) => *size,
        Node::Directory | Node::Link(_) => 0,
    };
    if let Node::Link(target) = &member.node {
        if !target.is_ascii() || target.len() > 100 {
            pax.push(("linkpath", target.clone().into_bytes()));
        }
        fill(&mut header.as_old_mut().linkname, target);
    }
    if size > LARGEST_USTAR {
        pax.push(("size", size.to_string().into_bytes()));
    }
    header.set_entry_type(match member.node {
        Node::File(_) => tar::EntryType::Regular,
        Node::Directory => tar::EntryType::Directory,
        Node::Link(_) => tar::EntryType::Symlink,
    });
    header.set_mode(member.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(moment);
    header.set_size(size);
    let named = header.set_username("root").and_then(|()| header.set_groupname("root"));
    written(named)?;
    header.set_cksum();
    if !pax.is_empty() {
        let extensions = pax.iter().map(|(key, value)| (*key, value.as_slice()));
        written(builder.append_pax_extensions(extensions))?;
    }
    if !matches!(member.node, Node::File(_)) {
        return written(builder.append(&header, io::empty()));
    }
    let mut file = open(member).map_err(|cause| Error::io(doing(), cause))?;
    let mut counted = Counted { from: (&mut file).take(size), left: size };
    written(builder.append(&header, &mut counted))?;
    // A file that grew or shrank would make a layer of which nobody knows what it is.
    let more = file.read(&mut [0]).map_err(|cause| Error::io(doing(), cause))?;
    if more > 0 {
        return Err(Error::mismatch(format!("{:?} grew while it was packed: pack again", member.path)));
    }
    Ok(())
}

/// As much of a text as fits; a pax header before it has the whole.
fn fill(field: &mut [u8], text: &str) {
    let fits = text.len().min(field.len());
    field[..fits].copy_from_slice(&text.as_bytes()[..fits]);
}

/// A file that must not end before its size.
struct Counted<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(to)?;
        self.left -= read as u64;
        if read == 0 && self.left > 0 && !to.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank while it was packed: pack again"));
        }
        Ok(read)
    }
}

/// Hashes and counts what is written.
struct Hashed<W> {
    to: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashed<W> {
    fn new(to: W) -> Self {
        Self { to, hash: Sha256::new(), size: 0 }
    }

    fn done(mut self) -> Result<Blob> {
        self.to.flush().map_err(|cause| Error::io("the layer cannot be written", cause))?;
        Ok(Blob { digest: Digest::new(self.hash.finalize().into()), size: self.size })
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The compressed side.
enum Compressor<W: Write> {
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
    None(W),
}

impl<W: Write> Compressor<W> {
    fn new(to: W, how: Packing) -> Result<Self> {
        let level = |most: u32, usual: u32| match how.level {
            Some(level) if level > most => {
                Err(Error::malformed(format!("{} has levels up to {most}, not {level}", how.compression)))
            }
            level => Ok(level.unwrap_or(usual)),
        };
        match how.compression {
            Compression::Gzip => {
                // No name, no moment; 255 is "unknown system" (RFC 1952, section 2.3.1).
                let header = flate2::GzBuilder::new().mtime(0).operating_system(255);
                Ok(Self::Gzip(header.write(to, flate2::Compression::new(level(9, 6)?))))
            }
            Compression::Zstd => {
                let level = i32::try_from(level(22, 3)?).unwrap_or(3);
                let begun = zstd::Encoder::new(to, level).and_then(|mut encoder| {
                    encoder.include_checksum(true)?;
                    Ok(encoder)
                });
                begun.map(Self::Zstd).map_err(|cause| Error::io("the compressor does not start", cause))
            }
            Compression::None => Ok(Self::None(to)),
        }
    }

    fn finish(self) -> Result<W> {
        let finished = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::None(to) => Ok(to),
        };
        finished.map_err(|cause| Error::io("the layer cannot be written", cause))
    }
}

/// Writes to both sides.
struct Both<T, P: Write> {
    tar: Hashed<T>,
    packed: Compressor<P>,
}

impl<T: Write, P: Write> Write for Both<T, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tar.write_all(bytes)?;
        match &mut self.packed {
            Compressor::Gzip(to) => to.write_all(bytes)?,
            Compressor::Zstd(to) => to.write_all(bytes)?,
            Compressor::None(to) => to.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tar.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, mode: u32, node: Node) -> Member {
        Member { path: path.into(), mode, node }
    }

    fn packed(members: Vec<Member>, how: Packing) -> Result<(Packed, Vec<u8>, Vec<u8>)> {
        let (mut tar, mut compressed) = (Vec::new(), Vec::new());
        let open = |member: &Member| {
            let Node::File(size) = member.node else { panic!("only files are opened") };
            Ok(io::repeat(b'x').take(size))
        };
        let packed = pack(members, open, &mut tar, &mut compressed, how)?;
        Ok((packed, tar, compressed))
    }

    fn members() -> Vec<Member> {
        vec![
            member("opt", 0o755, Node::Directory),
            member("opt/run", 0o4755, Node::File(1000)),
            member("empty", 0o1777, Node::Directory),
            member("foo.txt", 0o640, Node::File(0)),
            member(&"d/".repeat(150).trim_end_matches('/').replace("d/", "dd/"), 0o644, Node::File(3)),
            member("é", 0o777, Node::Link("t".repeat(200))),
            member("link", 0o777, Node::Link("../foo.txt".into())),
        ]
    }

    #[test]
    fn a_layer_is_the_same_each_time_and_in_any_order() {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            let how = Packing { compression, ..Packing::default() };
            let (first, tar, compressed) = packed(members(), how).expect("packed");
            let mut turned = members();
            turned.reverse();
            assert_eq!(packed(turned, how).expect("packed"), (first, tar.clone(), compressed.clone()));
            assert_eq!(first.tar.digest.as_bytes()[..], Sha256::digest(&tar)[..]);
            assert_eq!(first.packed.digest.as_bytes()[..], Sha256::digest(&compressed)[..]);
            assert_eq!((first.tar.size, first.packed.size), (tar.len() as u64, compressed.len() as u64));
            let mut again = Vec::new();
            match compression {
                Compression::Gzip => flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut again).map(drop),
                Compression::Zstd => {
                    zstd::Decoder::new(&compressed[..]).and_then(|mut from| from.read_to_end(&mut again)).map(drop)
                }
                Compression::None => std::io::copy(&mut &compressed[..], &mut again).map(drop),
            }
            .expect("it unpacks");
            assert_eq!(again, tar);
        }
    }

    #[test]
    fn all_that_matters_is_kept_and_nothing_else() {
        let how = Packing { moment: 7, ..Packing::default() };
        let (_, tar, compressed) = packed(members(), how).expect("packed");
        // RFC 1952: no flags (so no name), no moment, an unknown system.
        assert_eq!(compressed[..4], [0x1f, 0x8b, 8, 0]);
        assert_eq!((&compressed[4..8], compressed[9]), (&[0; 4][..], 255));
        let mut archive = tar::Archive::new(&tar[..]);
        let mut found = Vec::new();
        for entry in archive.entries().expect("entries") {
            let entry = entry.expect("an entry");
            let header = entry.header();
            let path = String::from_utf8(entry.path_bytes().into_owned()).expect("text");
            assert_eq!(
                (header.uid().ok(), header.gid().ok(), header.mtime().ok()),
                (Some(0), Some(0), Some(7)),
                "{path}"
            );
            assert_eq!((header.username(), header.groupname()), (Ok(Some("root")), Ok(Some("root"))));
            let node = match header.entry_type() {
                tar::EntryType::Directory => Node::Directory,
                tar::EntryType::Symlink => {
                    let target = entry.link_name_bytes().expect("a target");
                    Node::Link(String::from_utf8(target.into_owned()).expect("text"))
                }
                _ => Node::File(entry.size()),
            };
            found.push(member(path.trim_end_matches('/'), header.mode().expect("a mode"), node));
        }
        let mut expected = members();
        expected.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_in_a_layer_is_refused() {
        for path in ["", "/etc", "a//b", "a/../b", "./a", "a/", "a\0", &"x".repeat(5000)] {
            assert!(packed(vec![member(path, 0o644, Node::Directory)], Packing::default()).is_err(), "{path:?}");
        }
        let twice = vec![member("a", 0, Node::Directory), member("a", 0, Node::File(1))];
        assert!(packed(twice, Packing::default()).expect_err("twice").text().contains("twice"));
        assert!(packed(vec![member("a", 0o10000, Node::Directory)], Packing::default()).is_err());
        let how = Packing { level: Some(10), ..Packing::default() };
        assert!(packed(Vec::new(), how).is_err());
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        for bytes in [5, 7] {
            let members = vec![member("a", 0o644, Node::File(6))];
            let open = |_: &Member| Ok(io::repeat(b'x').take(bytes));
            let error = pack(members, open, io::sink(), io::sink(), Packing::default()).expect_err("another size");
            let text = format!("{error:?} {error}");
            assert!(text.contains("pack again"), "{bytes}: {text}");
        }
    }
}
