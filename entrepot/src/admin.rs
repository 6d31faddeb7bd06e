//! What operators do: tokens, eviction, checks, explanations, backups.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use kernel::{Grant, Hub, Victim};
use model::{Blob, Digest, Time};
use serde::{Deserialize, Serialize};

use crate::archive::{self, Archive};
use crate::bytesize::Size;
use crate::tags;

/// Who does it, in the journal.
pub(crate) const BY: &str = "admin";
/// Lines of a dry run.
const SHOWN: usize = 10_000;

/// One thing to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Command {
    MakeToken { label: String, grants: Vec<String>, expires: Option<u64> },
    ListTokens,
    RevokeToken { id: String },
    Gc { namespace: String, target: Option<Size>, dry_run: bool },
    Fsck,
    Why { namespace: Option<String>, digest: String },
    Backup { to: PathBuf },
    Tags(tags::Ask),
    Ostree(Archive),
}

/// Does it and writes what there is to say.
pub(crate) async fn perform(hub: &Hub, command: Command, mut output: File) -> anyhow::Result<()> {
    if let Command::Ostree(archive) = command {
        return archive::run(hub, archive, output).await;
    }
    let said = execute(hub, command).await?;
    match tokio::task::spawn_blocking(move || output.write_all(said.as_bytes())).await? {
        // A reader that has enough is no error.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("it is done, but the output could not be written")
        }
        _ => Ok(()),
    }
}

/// Does it and says what there is to say.
async fn execute(hub: &Hub, command: Command) -> anyhow::Result<String> {
    match command {
        Command::MakeToken { label, grants, expires } => make_token(hub, &label, &grants, expires).await,
        Command::ListTokens => list_tokens(hub).await,
        Command::RevokeToken { id } => {
            hub.revoke_token(&id, BY).await?;
            Ok(format!("token {id} is revoked\n"))
        }
        Command::Gc { namespace, target, dry_run } => gc(hub, &namespace, target, dry_run).await,
        Command::Fsck => fsck(hub).await,
        Command::Why { namespace, digest } => why(hub, namespace, &digest).await,
        Command::Tags(ask) => tags::answer(hub, ask).await,
        Command::Backup { to } => {
            hub.backup(to.clone()).await?;
            Ok(format!("the catalog is copied to {}; the blobs are the files below blobs/\n", to.display()))
        }
        Command::Ostree(_) => Ok(String::new()),
    }
}

/// Does it for another process, whose standard output this is.
pub(crate) async fn answer(hub: &Hub, command: Command, output: OwnedFd) -> Result<(), String> {
    perform(hub, command, File::from(output)).await.map_err(|error| format!("{error:#}"))
}

async fn make_token(hub: &Hub, label: &str, grants: &[String], expires: Option<u64>) -> anyhow::Result<String> {
    let grants = grants.iter().map(|grant| grant.parse()).collect::<model::Result<Vec<Grant>>>()?;
    let until = expires.map(|seconds| Time::now().plus(Duration::from_secs(seconds)));
    let (token, secret) = hub.make_token(label, &grants, until, BY).await?;
    Ok(format!("{secret}\nid {}: shown once; revoke it with `entrepot token revoke {}`\n", token.id, token.id))
}

async fn list_tokens(hub: &Hub) -> anyhow::Result<String> {
    let mut text = String::new();
    let now = Time::now();
    for token in hub.list_tokens().await? {
        let ends = match token.until {
            None => "does not end".to_owned(),
            Some(until) if until <= now => "has ended".to_owned(),
            Some(until) => format!("ends in {}", span(until.since(now))),
        };
        writeln!(text, "{}  {}  {}  {ends}", token.id, token.label, token.grants.replace('\n', " "))?;
    }
    Ok(text)
}

async fn gc(hub: &Hub, namespace: &str, target: Option<Size>, dry_run: bool) -> anyhow::Result<String> {
    let limit = hub.limit(namespace).with_context(|| format!("there is no namespace {namespace:?}"))?;
    let target = target.map_or(limit, |target| target.0);
    if !dry_run {
        let used = hub.collect(namespace, target).await?;
        return Ok(format!("namespace {namespace} uses {}\n", Size(used)));
    }
    let (used, victims) = hub.plan(namespace, SHOWN).await?;
    let mut text = format!("namespace {namespace} uses {} of {}\n", Size(used), Size(limit));
    let mut over = used.saturating_sub(target);
    if over == 0 {
        writeln!(text, "nothing would go; the least recently used are:")?;
    } else {
        writeln!(text, "{} have to go; in this order:", Size(over))?;
    }
    let now = Time::now();
    for (used, victim) in victims {
        let idle = span(now.since(used));
        match victim {
            Victim::Lease(blob) => {
                writeln!(text, "blob {blob}, unused for {idle}, frees {}", Size(blob.size))?;
                over = over.saturating_sub(blob.size);
            }
            Victim::Copy(blob) => {
                writeln!(text, "copy {blob}, unused for {idle}, frees {}: an upstream has it too", Size(blob.size))?;
                over = over.saturating_sub(blob.size);
            }
            Victim::Name(name) => {
                let (blob, ..) = hub.peek(namespace, &name).await?;
                writeln!(text, "name {name}, unused for {idle}, frees what only it holds (root {blob})")?;
            }
        }
        if over == 0 && target < limit {
            break;
        }
    }
    Ok(text)
}

async fn fsck(hub: &Hub) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut damaged = 0;
    for namespace in hub.namespaces() {
        let checked = hub.check(&namespace).await?;
        damaged += checked.damaged;
        writeln!(
            text,
            "namespace {namespace}: {} blobs, {} read, {} damaged, {} files without a row removed",
            checked.leases,
            Size(checked.bytes),
            checked.damaged,
            checked.orphans
        )?;
    }
    if damaged > 0 {
        writeln!(text, "damaged blobs are absent from now on; they heal when somebody pushes them again")?;
    }
    Ok(text)
}

async fn why(hub: &Hub, namespace: Option<String>, digest: &str) -> anyhow::Result<String> {
    let hex = digest.split_once('/').map_or(digest, |(hex, _)| hex);
    let digest: Digest = hex.parse()?;
    let namespaces = namespace.map_or_else(|| hub.namespaces(), |one| vec![one]);
    let mut text = String::new();
    for namespace in namespaces {
        match hub.why(&namespace, digest).await {
            Ok((row, names, nodes)) => explain(hub, &mut text, &namespace, row, &names, &nodes).await?,
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if text.is_empty() {
        bail!("no namespace holds {digest}: it was never pushed here, or it was evicted");
    }
    Ok(text)
}

async fn explain(
    hub: &Hub,
    text: &mut String,
    namespace: &str,
    row: model::LeaseRow,
    names: &[model::Name],
    nodes: &[Digest],
) -> anyhow::Result<()> {
    let Blob { digest, size } = row.blob;
    let idle = span(Time::now().since(row.used));
    writeln!(text, "namespace {namespace} holds {digest} ({}), last used {idle} ago", Size(size))?;
    let place = match (row.here, row.at) {
        (false, _) => "its bytes are lost: it is absent until it is pushed again".to_owned(),
        (true, None) => "its bytes lie in the catalog".to_owned(),
        (true, Some(at)) => format!("its bytes lie at {at}"),
    };
    writeln!(text, "  {place}")?;
    for name in names {
        let (_, keep, used, note) = hub.peek(namespace, name).await?;
        let idle = span(Time::now().since(used));
        writeln!(text, "  held by the name {name} ({keep:?}, last used {idle} ago)")?;
        if !note.is_empty() {
            writeln!(text, "    {}", String::from_utf8_lossy(&note).replace(char::is_control, " "))?;
        }
    }
    for node in nodes {
        writeln!(text, "  held by the blob {node} (ask why of that one)")?;
    }
    if row.holders == 0 {
        writeln!(text, "  nothing holds it: it goes when room is needed and it is the least recently used")?;
    }
    Ok(())
}

/// A time as people say it.
pub(crate) fn span(time: Duration) -> String {
    // Half a unit more, so that what was just set to 30 days does not read as 29.
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", (seconds + 30) / 60),
        seconds @ 7200..172_800 => format!("{} h", (seconds + 1800) / 3600),
        seconds => format!("{} days", (seconds + 43_200) / 86_400),
    }
}
