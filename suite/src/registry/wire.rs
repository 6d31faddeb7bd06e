//! A connection: requests in, answers and faults out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::content::digest;
use super::{Fault, Inner, State, login};

/// Longest head and body of a request that it reads.
const LONGEST: u64 = 1 << 20;
/// After this time even what hangs ends, so that no test leaves threads behind.
const LONG: Duration = Duration::from_secs(300);

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Asked {
    /// Method and path.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The fields of its query and form.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').chain(self.body.split('&')).filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (plain(name), plain(value))).collect()
    }
}

/// Undoes the encoding of forms.
fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&hex, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer, before anything goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Serves a connection to its end.
pub(super) fn serve(state: &State, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(LONG));
    let (Ok(mut to), Ok(local)) = (stream.try_clone(), stream.local_addr()) else { return };
    let realm = format!("http://{local}/token");
    let mut from = BufReader::new(stream);
    while let Some(asked) = read(&mut from) {
        let (answer, fault) = {
            let mut inner = state.inner();
            inner.asked.push(asked.clone());
            let line = asked.line();
            let rule = inner.faults.iter_mut().find(|rule| rule.left > 0 && line.starts_with(&rule.line));
            let fault = rule.map(|rule| {
                rule.left -= 1;
                rule.fault.clone()
            });
            let path = asked.path.split('?').next().unwrap_or_default();
            let ranged = !matches!(fault, Some(Fault::NoRanges));
            let mut answer = match path {
                "/token" => login::token(&mut inner, &asked),
                _ => match login::refuses(&inner, &asked, &realm) {
                    Some(refusal) => refusal,
                    None if path.ends_with("/tags/list") => tags(&inner, &asked),
                    None => find(&inner, path, asked.header("range").filter(|_| ranged)),
                },
            };
            answer.headers.extend(inner.headers.iter().cloned());
            (answer, fault)
        };
        let going = write(state, &mut to, &asked, answer, fault.as_ref());
        if !matches!(going, Ok(true)) || state.ends_within(Duration::ZERO) {
            let _ = to.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn read(from: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut limited = from.take(LONGEST);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = String::new();
    limited.into_inner().take(length.unwrap_or(0u64).min(LONGEST)).read_to_string(&mut body).ok()?;
    Some(Asked { method, path, headers, body })
}

/// What is at a path.
fn find(inner: &Inner, path: &str, range: Option<&str>) -> Answer {
    let Some(rest) = path.strip_prefix("/v2/") else { return Answer::new(404, Vec::new()) };
    if rest.is_empty() {
        return Answer::new(200, b"{}".to_vec());
    }
    if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
        let key = |text: &str| (repository.to_owned(), text.to_owned());
        let named = inner.tags.get(&key(reference)).cloned().unwrap_or_else(|| reference.to_owned());
        return match inner.manifests.get(&key(&named)) {
            Some((media_type, bytes)) => Answer::new(200, bytes.clone())
                .with("Content-Type", media_type)
                .with("Docker-Content-Digest", &digest(bytes)),
            None => unknown("MANIFEST_UNKNOWN"),
        };
    }
    let blob = rest.rsplit_once("/blobs/").map(|(repository, digest)| (repository.to_owned(), digest.to_owned()));
    match blob.and_then(|key| Some((inner.blobs.get(&key)?, key.1))) {
        Some((bytes, digest)) => part(bytes, range).with("Docker-Content-Digest", &digest),
        None => unknown("BLOB_UNKNOWN"),
    }
}

/// A page of at most `n` tags after `last`, and whether there is another one.
fn tags(inner: &Inner, asked: &Asked) -> Answer {
    let path = asked.path.split('?').next().unwrap_or_default();
    let repository = path.trim_start_matches("/v2/").trim_end_matches("/tags/list");
    let field = |name: &str| asked.fields().into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let most = field("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX).min(inner.page.unwrap_or(usize::MAX));
    let last = field("last").unwrap_or_default();
    let all: Vec<&String> = inner.tags.keys().filter(|(of, _)| of == repository).map(|(_, tag)| tag).collect();
    if all.is_empty() {
        return unknown("NAME_UNKNOWN");
    }
    let later: Vec<&String> = all.into_iter().filter(|tag| **tag > last).collect();
    let page: Vec<String> = later.iter().take(most).map(|tag| format!("\"{tag}\"")).collect();
    let answer = Answer::new(200, format!(r#"{{"name":"{repository}","tags":[{}]}}"#, page.join(",")).into());
    match later.get(most.wrapping_sub(1)).filter(|_| later.len() > most) {
        Some(last) => answer.with("Link", &format!("<{path}?n={most}&last={last}>; rel=\"next\"")),
        None => answer,
    }
}

fn unknown(code: &str) -> Answer {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"not known"}}]}}"#);
    Answer::new(404, body.into()).with("Content-Type", "application/json")
}

/// All of a blob, or `bytes=N-`.
fn part(bytes: &[u8], range: Option<&str>) -> Answer {
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let Some(from) = from else {
        return Answer::new(200, bytes.to_vec()).with("Content-Type", "application/octet-stream");
    };
    if from >= bytes.len() {
        return Answer::new(416, Vec::new());
    }
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    Answer::new(206, bytes[from..].to_vec()).with("Content-Range", &range)
}

/// Writes an answer, or what a fault makes of it. True when the connection may go on.
fn write(
    state: &State,
    to: &mut TcpStream,
    asked: &Asked,
    mut answer: Answer,
    fault: Option<&Fault>,
) -> std::io::Result<bool> {
    let mut end = End::Length;
    match fault {
        None | Some(Fault::NoRanges) => {}
        Some(Fault::Status(status, headers, body)) => {
            answer = Answer::new(*status, body.clone().into());
            answer.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        Some(Fault::Redirect(status, location)) => {
            answer = Answer::new(*status, b"moved".to_vec()).with("Location", location);
        }
        Some(Fault::Without(name)) => answer.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name)),
        Some(Fault::With(name, value)) => answer = answer.with(name, value),
        Some(Fault::OtherBytes) => answer.body.iter_mut().for_each(|byte| *byte ^= 1),
        Some(Fault::Body(body)) => {
            let headers = std::mem::take(&mut answer.headers);
            answer = Answer { status: 200, headers, body: body.clone().into() };
        }
        Some(Fault::Gzip) => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&answer.body)?;
            answer.body = packer.finish()?;
            answer = answer.with("Content-Encoding", "gzip");
        }
        Some(Fault::Chunked) => end = End::Chunks(answer.body.len()),
        Some(Fault::Short(length)) => end = End::Chunks(*length),
        Some(Fault::Longer(more)) => {
            answer.body.extend(std::iter::repeat_n(b'x', *more));
            end = End::Chunks(answer.body.len());
        }
        Some(Fault::Unbounded) => end = End::Close,
        Some(Fault::Break(length) | Fault::Stop(length)) => end = End::After(*length),
        Some(Fault::Drip(length, _)) => end = End::After(*length),
        Some(Fault::WrongRange) => answer = answer.with("Content-Range", "bytes 0-0/1"),
        Some(Fault::Close) => return Ok(false),
        Some(Fault::Silent) => {
            state.ends_within(LONG);
            return Ok(false);
        }
        Some(Fault::Noise) => {
            to.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")?;
            return Ok(false);
        }
        Some(Fault::EndlessHead) => {
            to.write_all(b"HTTP/1.1 200 OK\r\n")?;
            while !state.ends_within(Duration::ZERO) {
                to.write_all("X-More: and more\r\n".repeat(1000).as_bytes())?;
            }
            return Ok(false);
        }
        Some(Fault::EndlessBody) => {
            to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            while !state.ends_within(Duration::ZERO) {
                to.write_all(format!("1000\r\n{}\r\n", "[".repeat(0x1000)).as_bytes())?;
            }
            return Ok(false);
        }
    }
    let has_body = asked.method != "HEAD";
    to.write_all(head(&answer, &end).as_bytes())?;
    if !has_body {
        return Ok(true);
    }
    match end {
        End::Length => to.write_all(&answer.body).map(|()| true),
        End::Close => to.write_all(&answer.body).map(|()| false),
        End::Chunks(length) => {
            for chunk in answer.body[..length.min(answer.body.len())].chunks(64 << 10) {
                to.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                to.write_all(chunk)?;
                to.write_all(b"\r\n")?;
            }
            to.write_all(b"0\r\n\r\n").map(|()| true)
        }
        End::After(length) => {
            let length = length.min(answer.body.len());
            to.write_all(&answer.body[..length])?;
            match fault {
                Some(Fault::Stop(_)) => {
                    state.ends_within(LONG);
                }
                Some(Fault::Drip(_, pause)) => {
                    for byte in &answer.body[length..] {
                        if state.ends_within(*pause) {
                            break;
                        }
                        to.write_all(&[*byte])?;
                    }
                }
                _ => {}
            }
            Ok(false)
        }
    }
}

/// How an answer ends.
enum End {
    /// After as many bytes as it says.
    Length,
    /// After chunks with so many bytes.
    Chunks(usize),
    /// With the connection.
    Close,
    /// With the connection, although it said more: after so many bytes.
    After(usize),
}

fn head(answer: &Answer, end: &End) -> String {
    let mut head = format!("HTTP/1.1 {} As told\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let named = |name: &str| answer.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    match end {
        End::Length | End::After(_) if !named("content-length") => {
            head += &format!("Content-Length: {}\r\n", answer.body.len());
        }
        End::Chunks(_) => head += "Transfer-Encoding: chunked\r\n",
        End::Close => head += "Connection: close\r\n",
        _ => {}
    }
    head + "\r\n"
}
