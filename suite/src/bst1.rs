//! The client's side of a BuildStream 1 push, written from its specification and from nothing else: its own GVariant,
//! its own tar. It speaks over any pair of streams: a pipe, ssh, a forked process.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// In which byte order a client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As on a PC.
    Little,
    /// As on s390x.
    Big,
}

/// Which tar a client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Python up to 3.7.
    Gnu,
    /// Python from 3.8 on: an extended header with the time before each entry.
    Pax,
}

/// How a push ended, as the client's user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// All was sent and accepted.
    Done,
    /// The server had all of it.
    Skipped,
    /// The server said why not.
    Refused(String),
    /// The server ended without a word.
    Cut,
}

/// An entry of the tar stream.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its type; `0` is a file.
    pub kind: u8,
}

impl Entry {
    /// A file.
    pub fn file(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into(), kind: b'0' }
    }
}

/// All objects of an archive repository, as entries.
///
/// # Panics
/// When it cannot be read.
pub fn objects(repository: &std::path::Path) -> Vec<Entry> {
    let read = |path| std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut entries = Vec::new();
    for directory in read(repository.join("objects")) {
        let first = directory.file_name().expect("a name").to_string_lossy().into_owned();
        for file in read(directory.clone()) {
            let name = format!("{first}{}", file.file_name().expect("a name").to_string_lossy());
            entries.push(Entry::file(name, std::fs::read(&file).expect("an object")));
        }
    }
    entries
}

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Types of messages.
pub const INFO: u8 = 0;
/// Ref changes.
pub const UPDATE: u8 = 1;
/// Objects follow.
pub const PUT_OBJECTS: u8 = 2;
/// Yes or no.
pub const STATUS: u8 = 3;
/// The end.
pub const DONE: u8 = 4;

/// A client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its byte order.
    pub order: Order,
    /// Its tar.
    pub form: Form,
    /// Whether it tells its refs first, as only the last version does; the others push blindly.
    pub tells: bool,
}

/// What a server said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The number of its repository's mode.
    pub mode: i32,
    /// Its refs, of those that it was told.
    pub refs: Vec<(String, String)>,
    /// Where to pull from.
    pub pull_url: Option<String>,
}

impl Client {
    /// A message.
    #[must_use]
    pub fn message(&self, topic: u8, payload: &[u8]) -> Vec<u8> {
        let size = u16::try_from(payload.len()).expect("a payload fits");
        let (order, [a, b]) = match self.order {
            Order::Little => (b'l', size.to_le_bytes()),
            Order::Big => (b'B', size.to_be_bytes()),
        };
        [&[order, 1, topic, a, b], payload].concat()
    }

    /// The client's info.
    #[must_use]
    pub fn info(&self, mode: i32, refs: &[(&str, &str)]) -> Vec<u8> {
        let mode = match self.order {
            Order::Little => mode.to_le_bytes(),
            Order::Big => mode.to_be_bytes(),
        };
        let refs: Vec<Vec<u8>> = refs.iter().map(|(name, commit)| sequence(&[text(name), text(commit)])).collect();
        let mode = entry("mode", &mode, "i");
        self.message(INFO, &array(&[mode, entry("refs", &array_of(&refs, 1), "a{ss}")]))
    }

    /// The client's update.
    #[must_use]
    pub fn update(&self, refs: &[(&str, &str)]) -> Vec<u8> {
        let entries: Vec<_> =
            refs.iter().map(|(name, new)| entry(name, &sequence(&[text(ZEROS), text(new)]), "(ss)")).collect();
        self.message(UPDATE, &array(&entries))
    }

    /// The question at the start of a session. Closes nothing.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn hello(
        &self,
        input: &mut (impl AsyncRead + Unpin),
        output: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Info> {
        output.write_all(&self.info(0, &[])).await?;
        let info = read_info(input).await?;
        output.write_all(&self.message(DONE, &[])).await?;
        output.flush().await?;
        Ok(info)
    }

    /// Pushes these refs with these objects. Closes nothing; the end of the session is to be waited for.
    ///
    /// # Errors
    /// When the server goes away while something is sent to it.
    pub async fn push(
        &self,
        input: &mut (impl AsyncRead + Unpin),
        output: &mut (impl AsyncWrite + Unpin),
        refs: &[(&str, &str)],
        entries: &[Entry],
    ) -> io::Result<Pushed> {
        let told: &[(&str, &str)] = if self.tells { refs } else { &[] };
        output.write_all(&self.info(1, told)).await?;
        let here = read_info(input).await?.refs;
        let is_here = |name: &str| here.iter().find(|(other, _)| other == name).map(|(_, commit)| commit.as_str());
        let wanted: Vec<_> = refs.iter().copied().filter(|(name, commit)| is_here(name) != Some(*commit)).collect();
        if wanted.is_empty() {
            output.write_all(&self.message(DONE, &[])).await?;
            return Ok(Pushed::Skipped);
        }
        output.write_all(&self.update(&wanted)).await?;
        if let Some(refusal) = read_status(input).await? {
            output.write_all(&self.message(DONE, &[])).await?;
            return Ok(Pushed::Refused(refusal));
        }
        let (there, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(name, _)| is_here(name).is_some());
        for _ in there {
            output.write_all(&self.message(DONE, &[])).await?;
        }
        if new.is_empty() {
            return Ok(Pushed::Skipped);
        }
        output.write_all(&self.message(PUT_OBJECTS, &[])).await?;
        self.tar(output, entries).await?;
        output.write_all(&self.message(DONE, &[])).await?;
        output.flush().await?;
        match read_message(input).await? {
            Some((DONE, _, payload)) if payload.is_empty() => Ok(Pushed::Done),
            _ => Ok(Pushed::Cut),
        }
    }

    /// Writes the tar stream, down to its padding.
    ///
    /// # Errors
    /// When the server takes no more.
    pub async fn tar(&self, output: &mut (impl AsyncWrite + Unpin), entries: &[Entry]) -> io::Result<()> {
        let mut written = 0;
        for Entry { name, bytes, kind } in entries {
            let mut block = Vec::new();
            if self.form == Form::Pax {
                let record = b"28 mtime=1795185646.0909633";
                block.extend(header("././@PaxHeader", record.len() + 1, b'x', b"ustar\x0000"));
                block.extend_from_slice(record);
                block.push(b'\n');
                block.resize(1024, 0);
            }
            let magic: &[u8] = if self.form == Form::Pax { b"ustar\x0000" } else { b"ustar  \0" };
            block.extend(header(name, bytes.len(), *kind, magic));
            output.write_all(&block).await?;
            // Pieces, as a pipe gives them.
            for piece in bytes.chunks(64 << 10) {
                output.write_all(piece).await?;
            }
            let padding = bytes.len().next_multiple_of(512) - bytes.len();
            output.write_all(&vec![0; padding]).await?;
            written += block.len() + bytes.len() + padding;
        }
        let end = (written + 1024).next_multiple_of(10_240);
        output.write_all(&vec![0; end - written]).await
    }
}

fn header(name: &str, size: usize, kind: u8, magic: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, magic);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Reads a message: its type, whether its numbers are little-endian, its payload.
///
/// # Errors
/// When it is cut off.
pub async fn read_message(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(u8, bool, Vec<u8>)>> {
    let mut head = [0; 5];
    if input.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..]).await?;
    let little = head[0] == b'l';
    let size = if little { u16::from_le_bytes([head[3], head[4]]) } else { u16::from_be_bytes([head[3], head[4]]) };
    let mut payload = vec![0; usize::from(size)];
    input.read_exact(&mut payload).await?;
    Ok(Some((head[2], little, payload)))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

async fn read_info(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Info> {
    let Some((INFO, little, payload)) = read_message(input).await? else { return Err(odd("Expected reply, got none")) };
    let mut info = Info::default();
    for (key, value, _) in entries(&payload).ok_or_else(|| odd("an info that cannot be read"))? {
        match &*key {
            "mode" => {
                let bytes = value.try_into().map_err(|_| odd("a mode that is no number"))?;
                info.mode = if little { i32::from_le_bytes(bytes) } else { i32::from_be_bytes(bytes) };
            }
            "pull_url" => {
                info.pull_url = Some(String::from_utf8_lossy(value.trim_ascii_end()).trim_end_matches('\0').into())
            }
            "refs" => {
                for part in parts(value, 1).ok_or_else(|| odd("refs that cannot be read"))? {
                    let end = usize::from(*part.last().ok_or_else(|| odd("an empty ref"))?);
                    let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
                    info.refs.push((word(&part[..end]), word(&part[end..part.len() - 1])));
                }
            }
            _ => {}
        }
    }
    Ok(info)
}

/// `None` is a yes.
async fn read_status(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let Some((STATUS, _, payload)) = read_message(input).await? else { return Err(odd("Expected reply, got none")) };
    let (mut result, mut said) = (false, String::new());
    for (key, value, _) in entries(&payload).ok_or_else(|| odd("a status that cannot be read"))? {
        match &*key {
            "result" => result = value == [1],
            "message" => said = String::from_utf8_lossy(value).trim_end_matches('\0').into(),
            _ => {}
        }
    }
    Ok((!result).then_some(said))
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// How wide offsets are in what is this large with them.
fn width(body: usize, offsets: usize) -> usize {
    if body + offsets <= 0xff {
        1
    } else if body + 2 * offsets <= 0xffff {
        2
    } else {
        4
    }
}

/// Two texts after each other, with the end of the first.
fn sequence(parts: &[Vec<u8>; 2]) -> Vec<u8> {
    let mut bytes = parts.concat();
    let width = width(bytes.len(), 1);
    bytes.extend_from_slice(&parts[0].len().to_le_bytes()[..width]);
    bytes
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// An entry of an `a{sv}`.
fn entry(key: &str, value: &[u8], kind: &str) -> Vec<u8> {
    let mut bytes = text(key);
    let end = bytes.len();
    pad(&mut bytes, 8);
    bytes.extend_from_slice(value);
    bytes.push(0);
    bytes.extend_from_slice(kind.as_bytes());
    let width = width(bytes.len(), 1);
    bytes.extend_from_slice(&end.to_le_bytes()[..width]);
    bytes
}

fn array(parts: &[Vec<u8>]) -> Vec<u8> {
    array_of(parts, 8)
}

fn array_of(parts: &[Vec<u8>], alignment: usize) -> Vec<u8> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for part in parts {
        pad(&mut bytes, alignment);
        bytes.extend_from_slice(part);
        ends.push(bytes.len());
    }
    let width = width(bytes.len(), ends.len());
    for end in ends {
        bytes.extend_from_slice(&end.to_le_bytes()[..width]);
    }
    bytes
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn parts(bytes: &[u8], alignment: usize) -> Option<Vec<&[u8]>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let width = if bytes.len() <= 0xff {
        1
    } else if bytes.len() <= 0xffff {
        2
    } else {
        4
    };
    let table = number(bytes.get(bytes.len() - width..)?);
    let mut begin = 0;
    bytes
        .get(table..)?
        .chunks(width)
        .map(|end| {
            let end = number(end);
            let part = bytes.get(begin..end)?;
            begin = end.next_multiple_of(alignment);
            Some(part)
        })
        .collect()
}

/// Key, value and type of the entries of an `a{sv}`.
fn entries(bytes: &[u8]) -> Option<Vec<(String, &[u8], String)>> {
    parts(bytes, 8)?
        .into_iter()
        .map(|part| {
            let width = if part.len() <= 0xff {
                1
            } else if part.len() <= 0xffff {
                2
            } else {
                4
            };
            let body = part.len().checked_sub(width)?;
            let end = number(&part[body..]);
            let variant = part.get(end.next_multiple_of(8)..body)?;
            let nul = variant.iter().rposition(|byte| *byte == 0)?;
            let key = String::from_utf8_lossy(part.get(..end)?).trim_end_matches('\0').to_owned();
            Some((key, &variant[..nul], String::from_utf8_lossy(&variant[nul + 1..]).into_owned()))
        })
        .collect()
}
