//! `bst-artifact-receive`: the program that BuildStream 1 runs on its server, for the `ForceCommand` of a real sshd.
//!
//! Where a hub runs on the data directory, this is its guest: it hands over its standard input, output and error, and
//! waits for the exit status. Where none runs it is the owner for a while, and also for those that come meanwhile.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};
use server::control::{Admission, Door, Guest, Stay};
use server::{Lock, descriptor};
use tokio_util::task::TaskTracker;

use crate::config::{Config, Format};
use crate::directory::Directory;
use crate::receive::{Asked, NAME, Receiving, Streams};
use crate::serve::Message;
use crate::{log, run_as};

/// The original's exit status for a command line that cannot be read.
const USAGE: u8 = 2;

/// A BuildStream sister program for receiving artifacts send to a shared artifact cache
#[derive(Debug, Parser)]
#[command(name = NAME, version, disable_version_flag = true, about = "Receives artifacts that BuildStream 1 pushes over SSH")]
struct Options {
    /// Verbose mode
    #[arg(short, long)]
    verbose: bool,
    /// Debug mode
    #[arg(short, long)]
    debug: bool,
    /// Clients who try to pull over SSH will be redirected here
    #[arg(long, value_name = "TEXT", required = true)]
    pull_url: String,
    /// The data directory of the hub
    #[arg(value_name = "REPO", required = true)]
    repo: PathBuf,
}

/// The command line, for man pages and completions.
pub(crate) fn command() -> clap::Command {
    Options::command()
}

pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let parsed = command().try_get_matches_from(arguments).and_then(|matches| Options::from_arg_matches(&matches));
    let options = match parsed {
        Ok(options) => options,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            // A reader that has enough is no error.
            drop(io::stdout().write_all(error.to_string().as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(error) => return usage(error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ")),
    };
    if !options.repo.is_dir() {
        return usage(&format!("REPO: there is no directory {}", options.repo.display()));
    }
    run_as(NAME, async move {
        log::begin(if options.debug { "debug" } else { "warn" }, Format::Text)?;
        let asked =
            Asked { path: asked(std::env::var("SSH_ORIGINAL_COMMAND").ok())?, pull_url: Some(options.pull_url) };
        let status = receive(&options.repo, asked).await?;
        Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
    })
}

fn usage(complaint: &str) -> ExitCode {
    eprintln!("Usage: {NAME} [OPTIONS] REPO\nTry '{NAME} --help' for help.\n\nError: {complaint}");
    ExitCode::from(USAGE)
}

/// The path that the client asked for, when sshd says what it asked for (`SSH_ORIGINAL_COMMAND`). Whoever asked for
/// something else, or for a shell, is told so, and not left waiting.
fn asked(original: Option<String>) -> anyhow::Result<Option<String>> {
    match original {
        Some(original) => Ok(Asked::by_client(&original).map_err(anyhow::Error::msg)?.path),
        None if io::stdin().is_terminal() => {
            bail!(
                "standard input is a terminal, and this talks to BuildStream only: it belongs into sshd's ForceCommand"
            )
        }
        None => Ok(None),
    }
}

/// Refuses what is no data directory of a hub, with what to do.
fn check(repo: &Path) -> anyhow::Result<()> {
    let here = |name: &str| repo.join(name).exists();
    if here("catalog.db") || here("lock") {
        return Ok(());
    }
    let name = std::path::absolute(repo)?;
    let name = name.display();
    if here("config") && here("objects") {
        bail!(
            "{name} is an OSTree repository and not the data directory of a hub. Bring its artifacts into the hub with\n\
             \n    entrepot ostree import {name}\n\nand write the hub's data directory in its place, here into ForceCommand"
        );
    }
    let empty = std::fs::read_dir(repo).map(|mut entries| entries.next().is_none());
    // Whoever may not look in may still be a guest.
    if empty.as_ref().is_ok_and(|empty| !empty) {
        bail!("{name} is not the data directory of a hub: write the directory that `entrepot serve --data` has");
    }
    Ok(())
}

async fn receive(repo: &Path, asked: Asked) -> anyhow::Result<u32> {
    check(repo)?;
    let who = std::env::var("SSH_CONNECTION").unwrap_or_default();
    let who: String =
        who.split(' ').next().unwrap_or_default().chars().take(64).filter(char::is_ascii_graphic).collect();
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    loop {
        let message = Message::Receive { asked: asked.clone(), who: who.clone() };
        match Stay::begin(repo, &message, &[input.as_fd(), output.as_fd(), errors.as_fd()]).await {
            Ok(mut stay) => {
                let status = stay.hear::<u32>().await.ok().flatten();
                return status.context("the hub ended before the push did: push again");
            }
            Err(error) if error.is_absent() => {}
            Err(error) => {
                return Err(anyhow::Error::msg(error.text().to_owned())).context(format!(
                    "the hub does not take this account. Set `guests = {}` (this account's group) in the hub's \
                     configuration, where the hub's own user has to be in that group too",
                    rustix::process::getegid().as_raw()
                ));
            }
        }
        let lock = Lock::try_take(repo).with_context(|| {
            format!("no hub runs on {}, and this account may not do its work: start the hub", repo.display())
        })?;
        if let Some(lock) = lock {
            return own(repo, lock, asked, &who).await;
        }
        // Its owner begins or ends just now.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Does it as the owner, also for guests that come meanwhile. Limits are the hub's configuration, which we do not know:
/// so nothing is evicted here.
async fn own(repo: &Path, lock: Lock, asked: Asked, who: &str) -> anyhow::Result<u32> {
    let mut config = Config { data: repo.to_owned(), ..Config::default() };
    for namespace in config.namespaces.values_mut() {
        namespace.quota.0 = u64::MAX;
    }
    let directory = Directory::open(repo, lock, config.settings()).await?;
    let receiving = Receiving { hub: directory.hub.clone(), destinations: config.destinations() };
    let door = Door::open(repo, Admission::default())?;
    let guests = TaskTracker::new();
    let streams = streams()?;
    let mut session = Box::pin(receiving.for_sshd(asked, who, streams));
    let status = loop {
        tokio::select! {
            status = &mut session => break status,
            guest = door.next::<Message>() => {
                let Guest { message, descriptors, mut line } = guest?;
                // Others hear nothing, and try again until we are gone or a hub is there.
                let Message::Receive { asked, who } = message else { continue };
                let receiving = receiving.clone();
                guests.spawn(async move {
                    if let Err(error) = receiving.for_guest(asked, &who, descriptors, &mut line).await {
                        tracing::debug!(%error, "a guest left");
                    }
                });
            }
        }
    };
    // Nobody new; those who are here finish.
    drop(door);
    guests.close();
    guests.wait().await;
    directory.close().await;
    Ok(status)
}

fn streams() -> anyhow::Result<Streams> {
    let own = |fd: std::os::fd::BorrowedFd<'_>| -> anyhow::Result<OwnedFd> {
        fd.try_clone_to_owned().context("cannot use the standard streams")
    };
    Ok(Streams {
        input: descriptor::source(own(io::stdin().as_fd())?)?,
        output: descriptor::sink(own(io::stdout().as_fd())?)?,
        errors: descriptor::sink(own(io::stderr().as_fd())?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once(NAME).chain(line.split_whitespace()))
    }

    #[test]
    fn the_options_are_the_original_s() {
        let options =
            parse("--pull-url https://example.com/artifacts --verbose artifacts").expect("the document's line");
        assert_eq!((options.repo, options.verbose), ("artifacts".into(), true));
        assert!(parse("artifacts -d -v --pull-url=X").is_ok());
        for wrong in
            ["artifacts", "--pull-url x", "--pull-url x a b", "--pull-url x a --port 1", "--version", "--pull-url"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_sshd_says_was_asked_for_counts() {
        let path = asked(Some("bst-artifact-receive --verbose /artifacts".into())).expect("a push");
        assert_eq!(path.as_deref(), Some("/artifacts"));
        assert!(asked(Some("sh".into())).is_err() && asked(Some(String::new())).is_err());
    }

    #[test]
    fn only_data_directories_are_taken() {
        let directory = std::env::temp_dir().join(format!("receiver-{}", std::process::id()));
        let said = |names: &[&str]| {
            drop(std::fs::remove_dir_all(&directory));
            for name in names {
                std::fs::create_dir_all(directory.join(name)).expect("a directory");
            }
            check(&directory).err().map(|error| error.to_string())
        };
        assert_eq!((said(&["blobs", "catalog.db"]), said(&["lock"])), (None, None));
        std::fs::create_dir_all(&directory).expect("a directory");
        let ostree = said(&["config", "objects", "refs"]).expect("refused");
        assert!(ostree.contains(&format!("entrepot ostree import {}", directory.display())), "{ostree}");
        assert!(said(&["Documents"]).is_some_and(|text| text.contains("not the data directory")));
        drop(std::fs::remove_dir_all(&directory));
    }
}
