//! A plain client: HTTP/1.1 by hand, so that a body that breaks off is told from one that ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Nothing here takes longer; what does hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body had its end.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The code and the text of an error in the form of registries.
    pub(crate) fn error(&self) -> (String, String) {
        let text = String::from_utf8_lossy(&self.body);
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: {text}", self.status));
        let field = |name: &str| value["errors"][0][name].as_str().unwrap_or_default().to_owned();
        (field("code"), field("message"))
    }
}

/// A request to the hub on this port.
///
/// # Panics
/// When there is no answer, or none within the bound.
pub(crate) fn ask(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut pull = Pull::begin(port, method, path, headers, body);
    let mut bytes = Vec::new();
    let whole = pull.rest(|piece| bytes.extend_from_slice(piece));
    Reply { status: pull.status, headers: std::mem::take(&mut pull.headers), body: bytes, whole }
}

pub(crate) fn get(port: u16, path: &str) -> Reply {
    ask(port, "GET", path, &[], &[])
}

pub(crate) fn head(port: u16, path: &str) -> Reply {
    ask(port, "HEAD", path, &[], &[])
}

/// An answer whose body is read bit by bit.
pub(crate) struct Pull {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    from: BufReader<TcpStream>,
    length: u64,
}

impl Pull {
    pub(crate) fn begin(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the hub listens");
        stream.set_read_timeout(Some(LONGEST)).expect("a time");
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" || method == "PUT" {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        stream.write_all((text + "\r\n").as_bytes()).expect("sent");
        // Whoever refuses a request need not read its body.
        let _ = stream.write_all(body);
        let mut from = BufReader::with_capacity(256 << 10, stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = from.read_line(&mut line).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
            assert!(read > 0, "{method} {path}: the connection ended without an answer");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines[0].split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        let headers: Vec<_> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = if method == "HEAD" { Some(0) } else { length.and_then(|(_, value)| value.parse().ok()) };
        Self { status, headers, from, length: length.unwrap_or(0) }
    }

    /// Reads a piece; empty at the end, an error where the connection breaks before it.
    pub(crate) fn piece(&mut self, most: usize) -> Result<Vec<u8>, ()> {
        let most = usize::try_from(self.length).unwrap_or(most).min(most);
        let mut piece = vec![0; most];
        match self.from.read(&mut piece) {
            Ok(0) if most > 0 => Err(()),
            Ok(read) => {
                piece.truncate(read);
                self.length -= read as u64;
                Ok(piece)
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("a body hangs")
            }
            Err(_) => Err(()),
        }
    }

    /// Reads on to the end; true when it comes.
    pub(crate) fn rest(&mut self, mut each: impl FnMut(&[u8])) -> bool {
        loop {
            match self.piece(256 << 10) {
                Ok(piece) if piece.is_empty() => return true,
                Ok(piece) => each(&piece),
                Err(()) => return false,
            }
        }
    }
}
