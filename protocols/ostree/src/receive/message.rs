//! The messages of a push: five bytes of header (byte order, version, type, length) and an `a{sv}`.

use model::{Digest, Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::gvariant::{self, Type};

/// The only version there ever was.
const VERSION: u8 = 1;
const HEADER: usize = 5;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Mode and refs of a side.
    Info,
    /// What the client wants to change.
    Update,
    /// Objects follow.
    PutObjects,
    /// Whether the server agrees.
    Status,
    /// The end.
    Done,
}

impl Topic {
    const ALL: [Self; 5] = [Self::Info, Self::Update, Self::PutObjects, Self::Status, Self::Done];
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub topic: Topic,
    /// The `a{sv}`. Numbers in it are in the byte order of the sender, framing offsets always little-endian.
    pub payload: Vec<u8>,
}

impl Message {
    /// Reads one; `None` at a clean end.
    ///
    /// # Errors
    /// `Malformed` for what is no message, `Upstream` when the stream is cut off.
    pub async fn read(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<Self>> {
        let mut header = [0; HEADER];
        let cut = |cause| Error::upstream("the client went away in the middle of a message").because(cause);
        if input.read(&mut header[..1]).await.map_err(cut)? == 0 {
            return Ok(None);
        }
        input.read_exact(&mut header[1..]).await.map_err(cut)?;
        let [order, version, topic, a, b] = header;
        let size = match order {
            b'l' => u16::from_le_bytes([a, b]),
            b'B' => u16::from_be_bytes([a, b]),
            _ => return Err(Error::malformed("this is no message of a BuildStream push")),
        };
        if version != VERSION {
            return Err(Error::malformed(format!("a message has version {version}, and only {VERSION} is known")));
        }
        let topic = Topic::ALL.get(usize::from(topic)).copied();
        let topic = topic.ok_or_else(|| Error::malformed("a message has a type that is not known"))?;
        let mut payload = vec![0; usize::from(size)];
        input.read_exact(&mut payload).await.map_err(cut)?;
        Ok(Some(Self { topic, payload }))
    }

    /// The bytes of a message that we send, in little-endian order.
    ///
    /// # Errors
    /// `TooBig` when the payload does not fit.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let size =
            u16::try_from(self.payload.len()).map_err(|_| Error::too_big("a message has at most 65535 bytes"))?;
        let topic = Topic::ALL.iter().position(|topic| *topic == self.topic).unwrap_or_default();
        let [a, b] = size.to_le_bytes();
        Ok([&[b'l', VERSION, u8::try_from(topic).unwrap_or_default(), a, b], &self.payload[..]].concat())
    }

    /// Sends it.
    ///
    /// # Errors
    /// `Upstream` when the client is gone.
    pub async fn send(&self, output: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let bytes = self.bytes()?;
        let sent = async {
            output.write_all(&bytes).await?;
            output.flush().await
        };
        sent.await.map_err(|cause| Error::upstream("the client does not take answers any more").because(cause))
    }

    /// "We have an archive repository with these refs, which is pulled from there."
    #[must_use]
    pub fn info(refs: &[(String, Digest)], pull_url: &str) -> Self {
        let entry = Type::entry(Type::Text, Type::Text);
        let parts: Vec<_> = refs
            .iter()
            .map(|(name, commit)| gvariant::join(&entry, &[gvariant::text(name), gvariant::text(&commit.to_string())]))
            .collect();
        let payload = gvariant::dictionary(&[
            // archive-z2; the number of OSTree's enumeration.
            ("mode", "i", 1_i32.to_le_bytes().to_vec()),
            ("refs", "a{ss}", gvariant::join(&Type::array(entry), &parts)),
            ("pull_url", "s", gvariant::text(pull_url)),
        ]);
        Self { topic: Topic::Info, payload }
    }

    /// "Go on", or "no, because".
    #[must_use]
    pub fn status(refusal: Option<&str>) -> Self {
        let payload = gvariant::dictionary(&[
            ("result", "b", vec![u8::from(refusal.is_none())]),
            ("message", "s", gvariant::text(refusal.unwrap_or_default())),
        ]);
        Self { topic: Topic::Status, payload }
    }

    /// "That is all."
    #[must_use]
    pub fn done() -> Self {
        Self { topic: Topic::Done, payload: Vec::new() }
    }

    /// The refs of a client's info: name and commit. Other keys say nothing that matters.
    ///
    /// # Errors
    /// `Malformed` when there are none, or they are not refs.
    pub fn refs(&self) -> Result<Vec<(String, String)>> {
        let of = Type::array(Type::entry(Type::Text, Type::Text));
        for (key, found, value) in gvariant::as_dictionary(&self.payload)? {
            if key == "refs" && found == of {
                let pair = Type::entry(Type::Text, Type::Text);
                let parts = gvariant::split(&of, value)?.into_iter();
                return parts.map(|part| two_texts(&pair, part)).collect();
            }
        }
        Err(Error::malformed("the client did not say which refs it has"))
    }

    /// What an update asks for: ref, and the commit that it is to have. The commit that the client believes to be
    /// there has never been looked at: the last writer wins.
    ///
    /// # Errors
    /// `Malformed` when it is something else.
    pub fn updates(&self) -> Result<Vec<(String, Digest)>> {
        let pair = Type::Tuple(vec![Type::Text, Type::Text]);
        let mut updates = Vec::new();
        for (name, found, value) in gvariant::as_dictionary(&self.payload)? {
            if found != pair {
                return Err(Error::malformed("an update is not of the form (old commit, new commit)"));
            }
            let (_, new) = two_texts(&pair, value)?;
            updates.push((name.to_owned(), new.parse()?));
        }
        Ok(updates)
    }
}

fn two_texts(of: &Type, bytes: &[u8]) -> Result<(String, String)> {
    let parts = gvariant::split(of, bytes)?;
    Ok((gvariant::as_text(parts[0])?.to_owned(), gvariant::as_text(parts[1])?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_hello_is_read_and_empty_dictionaries_are_no_bytes() {
        let mut hello = &b"l\x01\x00\x21\x00mode\0\0\0\0\0\0\0\0\0i\x05\0refs\0\0\0\0\0a{ss}\x05\x0f\x1f"[..];
        let message = Message::read(&mut hello).await.unwrap().unwrap();
        assert_eq!((message.topic, message.refs().unwrap()), (Topic::Info, Vec::new()));
        assert_eq!(Message::done().bytes().unwrap(), [0x6c, 1, 4, 0, 0]);
        assert_eq!(Message::read(&mut hello).await.unwrap(), None);
        assert_eq!(Message::read(&mut &b"B\x01\x04\x00\x00"[..]).await.unwrap(), Some(Message::done()));
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        for bad in [&b"x\x01\x04\0\0"[..], b"l\x02\x04\0\0", b"l\x01\x05\0\0", b"l\x01\x04", b"l\x01\x04\x05\0abc"] {
            assert!(Message::read(&mut &bad[..]).await.is_err(), "{bad:?}");
        }
        let no_refs = Message { topic: Topic::Info, payload: gvariant::dictionary(&[("mode", "i", vec![0; 4])]) };
        assert!(no_refs.refs().is_err());
        assert!(Message { topic: Topic::Info, payload: b"garbage".to_vec() }.refs().is_err());
    }

    #[test]
    fn what_we_say_can_be_read() {
        let refs = vec![("a/b".to_owned(), Digest::EMPTY)];
        let info = Message::info(&refs, "https://example.com/artifacts");
        assert_eq!(info.refs().unwrap(), [("a/b".to_owned(), Digest::EMPTY.to_string())]);
        let keys: Vec<_> =
            gvariant::as_dictionary(&info.payload).unwrap().iter().map(|entry| entry.0.to_owned()).collect();
        assert_eq!(keys, ["mode", "refs", "pull_url"]);
    }
}
