//! The server's side of a BuildStream 1 push, over any pair of streams: info, update, objects, done. Nothing happens
//! unless the push completes: then all refs are bound at once.

pub mod message;
mod patience;
pub mod tar;

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::{Claim, Namespace, Rights};
use model::{Blob, Digest, Error, Meaning, Name, Pointer, Result, When};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

use self::message::{Message, Topic};
use self::patience::Patient;
use self::tar::{Entry, Tar};
use crate::intake::{Intake, skip};
use crate::object::ObjectName;
use crate::walk::{self, Whole};
use crate::{gvariant, refs};

/// Bytes of a commit's detached metadata: signatures.
const DETACHED: u64 = 1 << 20;
/// How many commits of one push may have some: it is kept in memory until the push completes, and real pushes have one
/// commit.
const DETACHED_OF_A_PUSH: usize = 16;

/// How pushes are received.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// Where the client is told to pull from: the repository's address over HTTP.
    pub pull_url: String,
    /// How long the client may send nothing, or take nothing, before the session ends.
    pub idle: Duration,
    /// How long a client that sends what cannot be understood is listened to after its last byte.
    pub linger: Duration,
}

impl ReceiveOptions {
    /// The usual times: five minutes, in which a client may read a large object from a slow disk, and five seconds.
    #[must_use]
    pub fn new(pull_url: impl Into<String>) -> Self {
        Self { pull_url: pull_url.into(), idle: Duration::from_secs(300), linger: Duration::from_secs(5) }
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit status of the process: 0, or 1 when something went wrong.
    pub status: u8,
    /// What to say on standard error: one line, without its end.
    pub said: Option<String>,
}

/// Runs one push of the receive protocol over these streams, to its end. Returns how the process ends; whoever
/// called closes the streams.
pub async fn receive(
    namespace: Namespace,
    repo: &str,
    options: ReceiveOptions,
    input: impl AsyncRead + Unpin + Send,
    output: impl AsyncWrite + Unpin + Send,
) -> Ended {
    let idle = options.idle;
    let mut session = Session { namespace, repo, options, input: Patient::new(input, idle), output };
    match session.run().await {
        Ok(()) => Ended { status: 0, said: None },
        Err(error) => {
            if *error.meaning() == Meaning::Broken {
                tracing::error!(%error, "a push failed");
            } else {
                tracing::info!(%error, "a push ended without success");
            }
            Ended { status: 1, said: Some(error.to_string().replace(char::is_control, " ")) }
        }
    }
}

struct Session<'a, R, W> {
    namespace: Namespace,
    repo: &'a str,
    options: ReceiveOptions,
    input: Patient<R>,
    output: W,
}

/// What a client wants to set, and what it may.
struct Update {
    /// Ref and commit.
    wanted: Vec<(String, Digest)>,
    /// Some of the refs were told to be here with another commit: this client takes those for done.
    mixed: bool,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> Session<'_, R, W> {
    async fn run(&mut self) -> Result<()> {
        let hello = self.expect(&[Topic::Info]).await?;
        let asked = hello.refs()?;
        self.namespace.may(Rights::READ)?;
        let reported = self.reported(asked).await?;
        self.send(&self.info(&reported)).await?;
        let update = match self.expect(&[Topic::Update, Topic::Done]).await? {
            message if message.topic == Topic::Update => message,
            // The client knows what it wanted to know, or has nothing to push. It may wait for our end before it
            // closes its own.
            _ => return Ok(()),
        };
        let wanted = update.updates()?;
        let told = |name: &str| reported.get(name);
        let mixed = wanted.iter().any(|(name, new)| told(name).is_some_and(|here| here != new));
        let wanted: Vec<_> = wanted.into_iter().filter(|(name, _)| !mixed || told(name).is_none()).collect();
        if let Err(error) = self.admit(&wanted).await {
            self.send(&Message::status(Some(error.text()))).await?;
            // It says that it has understood.
            let _ = Message::read(&mut self.input).await;
            return Err(error);
        }
        self.send(&Message::status(None)).await?;
        if !self.objects_follow(mixed).await? {
            return Ok(());
        }
        self.objects(Update { wanted, mixed }).await?;
        self.send(&Message::done()).await
    }

    /// The next message, which has to be one of these.
    async fn expect(&mut self, topics: &[Topic]) -> Result<Message> {
        match Message::read(&mut self.input).await? {
            Some(message) if topics.contains(&message.topic) => Ok(message),
            Some(message) => Err(Error::malformed(format!("{:?} came where {topics:?} was expected", message.topic))),
            None => Err(Error::upstream(format!("the client went away where {topics:?} was expected"))),
        }
    }

    async fn send(&mut self, message: &Message) -> Result<()> {
        let sent = tokio::time::timeout(self.options.idle, message.send(&mut self.output)).await;
        sent.unwrap_or_else(|_| Err(Error::upstream("the client does not take answers any more")))
    }

    /// Those of these refs that are here.
    async fn reported(&self, asked: Vec<(String, String)>) -> Result<BTreeMap<String, Digest>> {
        let mut reported = BTreeMap::new();
        for (name, _) in asked {
            if refs::check(&name).is_err() {
                continue;
            }
            match self.namespace.find(&refs::name(self.repo, &name)?).await {
                Ok(row) => drop(reported.insert(name, row.pointer.blob.digest)),
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reported)
    }

    /// Who we are. Refs that do not fit into the message are not told: they are then pushed once more.
    fn info(&self, reported: &BTreeMap<String, Digest>) -> Message {
        let mut told: Vec<_> = reported.iter().map(|(name, commit)| (name.clone(), *commit)).collect();
        loop {
            let message = Message::info(&told, &self.options.pull_url);
            if message.bytes().is_ok() || told.pop().is_none() {
                return message;
            }
        }
    }

    /// Whether these refs may be set. This is the one moment at which a refusal reaches the client's user as text.
    async fn admit(&self, wanted: &[(String, Digest)]) -> Result<()> {
        self.namespace.may(Rights::WRITE)?;
        for (name, _) in wanted {
            refs::check(name)?;
            let directory = format!("{name}/");
            if let Some((other, _)) = wanted.iter().find(|(other, _)| other.starts_with(&directory)) {
                return Err(within(other, name));
            }
            let below = format!("{}{directory}", refs::prefix(self.repo));
            if let Some((other, _)) = self.namespace.list(&below, None, 1).await?.into_iter().next() {
                return Err(within(other.as_str().trim_start_matches(&refs::prefix(self.repo)), name));
            }
            for (at, _) in name.match_indices('/') {
                match self.namespace.find(&refs::name(self.repo, &name[..at])?).await {
                    Ok(_) => return Err(within(name, &name[..at])),
                    Err(error) if error.is_absent() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        // Quota and disk are asked now, while there is still a way to say so.
        self.namespace.upload(Claim { size: Some(1), ..Claim::default() }).await.map(drop)
    }

    /// Waits for the objects. `false` when the client wants to send none.
    async fn objects_follow(&mut self, mixed: bool) -> Result<bool> {
        let mut done = false;
        loop {
            match Message::read(&mut self.input).await? {
                Some(message) if message.topic == Topic::PutObjects => return Ok(true),
                // A client whose ref is here with another commit says so by a `done` for each such ref, and only
                // then sends what belongs to the others, if there are others.
                Some(message) if message.topic == Topic::Done && mixed => done = true,
                Some(message) if message.topic == Topic::Done => return Ok(false),
                Some(message) => {
                    return Err(Error::malformed(format!("{:?} came where objects were expected", message.topic)));
                }
                None if done => return Ok(false),
                None => return Err(Error::upstream("the client went away before it sent its objects")),
            }
        }
    }

    /// Takes the objects, and binds the refs once all is there.
    async fn objects(&mut self, update: Update) -> Result<()> {
        let mut taken = Taken { intake: Intake::new(self.namespace.clone()), detached: Vec::new() };
        let mut failed = None;
        let mut tar = Tar::new(&mut self.input);
        loop {
            match tar.next().await {
                Ok(Some(entry)) if failed.is_none() => failed = taken.entry(&entry, &mut tar).await.err(),
                // A client that is cut off while it sends may report success: so all is read before it is told.
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    self.linger().await;
                    return Err(failed.unwrap_or(error));
                }
            }
        }
        self.expect(&[Topic::Done]).await.map_err(|error| failed.clone().unwrap_or(error))?;
        if let Some(error) = failed {
            return Err(error);
        }
        tracing::debug!(refs = update.wanted.len(), mixed = update.mixed, "a push is complete");
        taken.bind(&self.namespace, self.repo, update.wanted).await
    }

    /// Reads on until the client stops.
    async fn linger(&mut self) {
        self.input.patience(self.options.linger);
        drop(skip(&mut self.input, u64::MAX).await);
    }
}

fn within(inner: &str, outer: &str) -> Error {
    Error::conflict(format!(
        "the ref {outer:?} would be a directory of the ref {inner:?}: one of them has to be called otherwise"
    ))
}

/// What came in a push.
struct Taken {
    intake: Intake,
    detached: Vec<(Digest, Vec<u8>)>,
}

impl Taken {
    async fn entry(&mut self, entry: &Entry, input: &mut (impl AsyncRead + Unpin + Send)) -> Result<()> {
        let shown: String = entry.name.chars().take(100).collect();
        if !entry.plain {
            return Err(Error::malformed(format!("{shown:?} in the tar stream is not a plain file")));
        }
        if let Some((hex, extension)) = entry.name.split_once('.')
            && let Ok(commit) = hex.parse::<Digest>()
        {
            match extension {
                "commitmeta" if entry.size > DETACHED || self.detached.len() >= DETACHED_OF_A_PUSH => {
                    return Err(Error::too_big(format!(
                        "the detached metadata {shown:?} is too large, or there is too much"
                    )));
                }
                "commitmeta" => {
                    let mut bytes = Vec::new();
                    tokio::io::AsyncReadExt::read_to_end(input, &mut bytes)
                        .await
                        .map_err(|cause| Error::upstream("the tar stream was cut off").because(cause))?;
                    gvariant::as_dictionary(&bytes)?;
                    self.detached.push((commit, bytes));
                    return Ok(());
                }
                // Leftovers of other programs beside a commit, which say nothing that is used.
                "sig" | "sizes2" => return Ok(()),
                _ => {}
            }
        }
        let name: ObjectName = entry.name.parse()?;
        self.intake.take(name, entry.size, input).await
    }

    /// Binds all refs, or none.
    async fn bind(mut self, namespace: &Namespace, repo: &str, wanted: Vec<(String, Digest)>) -> Result<()> {
        self.intake.finish().await?;
        let mut wholes: BTreeMap<Digest, Whole> = BTreeMap::new();
        for (_, digest) in &wanted {
            if !wholes.contains_key(digest) {
                wholes.insert(*digest, walk::walk(namespace, *digest, self.intake.taken()).await?);
            }
        }
        let mut list = Vec::new();
        for (name, digest) in &wanted {
            let Some(whole) = wholes.get(digest) else { continue };
            check_binding(name, whole)?;
            list.push((refs::name(repo, name)?, refs::pointer(whole.blob, &whole.commit), When::Always));
        }
        for (commit, bytes) in self.detached {
            let Some(whole) = wholes.get(&commit) else { continue };
            list.push(detached(namespace, repo, whole.blob, bytes).await?);
        }
        if list.is_empty() { Ok(()) } else { namespace.bind(list).await }
    }
}

/// Stores the detached metadata of a commit; what is to be bound for it.
pub(crate) async fn detached(
    namespace: &Namespace,
    repo: &str,
    commit: Blob,
    bytes: Vec<u8>,
) -> Result<(Name, Pointer, When)> {
    if bytes.len() as u64 > DETACHED {
        return Err(Error::too_big(format!("detached metadata has at most {DETACHED} bytes")));
    }
    gvariant::as_dictionary(&bytes)?;
    let blob = Blob { digest: Digest::new(Sha256::digest(&bytes).into()), size: bytes.len() as u64 };
    namespace.put(vec![(blob, bytes.into())]).await?.into_iter().collect::<Result<()>>()?;
    Ok((refs::meta_name(repo, &commit.digest, "commitmeta")?, refs::meta_pointer(blob, commit), When::Always))
}

/// Clients refuse a commit that says of itself which refs it may have, under any other.
pub(crate) fn check_binding(name: &str, whole: &Whole) -> Result<()> {
    match &whole.commit.bindings {
        Some(bindings) if !bindings.iter().any(|bound| bound == name) => Err(Error::malformed(format!(
            "the commit {} may only be pushed as {}, not as {name}: its ref-binding says so",
            whole.blob.digest,
            bindings.join(", ")
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever runs a session may give it to another thread.
    #[test]
    fn a_session_may_move_between_threads() {
        fn moves<T: Send>(_: impl FnOnce(Namespace) -> T) {}
        moves(|namespace| {
            receive(namespace, "artifacts", ReceiveOptions::new(""), tokio::io::empty(), tokio::io::sink())
        });
    }
}
