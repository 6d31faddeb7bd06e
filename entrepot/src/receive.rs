//! Taking in what BuildStream 1 pushes: the command of its clients, whichever way it comes in.

use std::os::fd::OwnedFd;

use async_trait::async_trait;
use kernel::{Caller, Grant, Hub, Rights};
use ostree::ReceiveOptions;
use serde::{Deserialize, Serialize};
use server::control::Owner;
use server::descriptor;
use server::ssh::{Exec, Run, Sink, Source};
use tokio::io::AsyncWriteExt;

use crate::destination::{Destination, Destinations};

/// The program that clients call.
pub(crate) const NAME: &str = "bst-artifact-receive";

/// What is told to whoever asks for something else.
const ONLY: &str = "This account only takes pushes of BuildStream artifacts (bst-artifact-receive). To push, put the \
                    URL ssh://... into the `artifacts` of your BuildStream configuration; nothing else can be run here.";

/// What a client or an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The path of the client's URL.
    pub(crate) path: Option<String>,
    /// From where to pull, where the operator says it on the command line.
    pub(crate) pull_url: Option<String>,
}

impl Asked {
    /// The two commands that clients send, to the letter: `bst-artifact-receive /PATH` to say hello,
    /// `bst-artifact-receive --verbose /PATH` to push.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn by_client(command: &str) -> Result<Self, String> {
        let rest = command.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(' ')).ok_or(ONLY)?;
        let path = rest.strip_prefix("--verbose ").unwrap_or(rest);
        if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(ONLY.into());
        }
        Ok(Self { path: Some(path.into()), pull_url: None })
    }

    /// What an operator writes into `command=` of `authorized_keys`, as in sshd's `ForceCommand`.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub(crate) fn by_operator(command: &str) -> Result<Self, String> {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        if program.rsplit('/').next() != Some(NAME) {
            return Err(format!("its command= is not {NAME}, and nothing else can be run here"));
        }
        let mut asked = Self::default();
        while let Some(word) = words.next() {
            match word {
                "-v" | "--verbose" | "-d" | "--debug" => {}
                "--pull-url" => asked.pull_url = Some(words.next().ok_or("--pull-url has no value")?.into()),
                word if word.starts_with("--pull-url=") => {
                    asked.pull_url = word.strip_prefix("--pull-url=").map(Into::into);
                }
                word if word.starts_with('-') => return Err(format!("{NAME} has no option {word}")),
                word if asked.path.is_none() => asked.path = Some(word.into()),
                word => return Err(format!("{NAME} has one REPO, and {word} is another")),
            }
        }
        Ok(asked)
    }
}

/// Receives into the destinations of a hub.
#[derive(Clone)]
pub(crate) struct Receiving {
    pub(crate) hub: Hub,
    pub(crate) destinations: Destinations,
}

/// The three streams of one session.
pub(crate) struct Streams {
    pub(crate) input: Source,
    pub(crate) output: Sink,
    pub(crate) errors: Sink,
}

impl Receiving {
    /// One session, to its exit status.
    async fn receive(&self, caller: &Caller, asked: Asked, streams: Streams) -> u32 {
        let Streams { input, output, mut errors } = streams;
        let (status, said) = match self.begin(caller, asked, input, output).await {
            Ok(ended) => ended,
            Err(reason) => (1, Some(reason)),
        };
        if let Some(said) = said {
            // Whoever is gone misses nothing.
            drop(errors.write_all(format!("{NAME}: {said}\n").as_bytes()).await);
        }
        drop(errors.flush().await);
        status
    }

    /// One session for another process, whose standard input, output and error these are: answered when it begins,
    /// and again with the exit status. The end of that process ends the session.
    ///
    /// # Errors
    /// When that process is gone.
    pub(crate) async fn for_guest(
        &self,
        asked: Asked,
        who: &str,
        descriptors: Vec<OwnedFd>,
        line: &mut Owner,
    ) -> model::Result<()> {
        let Ok([input, output, errors]) = <[OwnedFd; 3]>::try_from(descriptors) else {
            return line.answer(Err("a receiver brings its standard input, output and error along")).await;
        };
        let opened = descriptor::source(input).and_then(|input| {
            Ok(Streams { input, output: descriptor::sink(output)?, errors: descriptor::sink(errors)? })
        });
        let streams = match opened {
            Ok(streams) => streams,
            Err(error) => return line.answer(Err(&format!("cannot use the receiver's streams: {error}"))).await,
        };
        line.answer(Ok(())).await?;
        let status = tokio::select! {
            status = self.for_sshd(asked, who, streams) => status,
            // It has nothing more to say, so this is its end.
            _ = line.next::<()>() => return Ok(()),
        };
        line.say(&status).await
    }

    /// One session that a real sshd let in.
    pub(crate) async fn for_sshd(&self, asked: Asked, who: &str, streams: Streams) -> u32 {
        // sshd decides who comes in; whoever does may push.
        let caller = Caller::known(format!("sshd:{who}"), vec![Grant::everywhere(Rights::PUSH)]);
        self.receive(&caller, asked, streams).await
    }

    async fn begin(
        &self,
        caller: &Caller,
        asked: Asked,
        input: Source,
        output: Sink,
    ) -> Result<(u32, Option<String>), String> {
        let Destination { namespace, name, pull_url } = self.destinations.meant(asked.path.as_deref())?;
        let pull_url = asked.pull_url.or(pull_url).ok_or(
            "nobody said from where to pull what is pushed: set `pull_url` of the [[repository]] in the hub's \
             configuration",
        )?;
        let namespace = self.hub.enter(caller, &namespace).map_err(|error| error.text().to_owned())?;
        let ended = ostree::receive(namespace, &name, ReceiveOptions::new(pull_url), input, output).await;
        Ok((ended.status.into(), ended.said))
    }
}

#[async_trait]
impl Exec for Receiving {
    fn accepts(&self, command: &str) -> Result<(), String> {
        let asked = Asked::by_client(command)?;
        self.destinations.at(asked.path.as_deref().unwrap_or_default()).map(drop)
    }

    async fn run(&self, run: Run) -> u32 {
        let Run { caller, command, input, output, errors, .. } = run;
        // Both kinds of commands were checked: the client's by `accepts`, the operator's when its line was read.
        let asked = Asked::by_operator(&command).unwrap_or_default();
        self.receive(&caller, asked, Streams { input, output, errors }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_two_commands() {
        for command in ["bst-artifact-receive /artifacts", "bst-artifact-receive --verbose /artifacts"] {
            assert_eq!(Asked::by_client(command).map(|asked| asked.path), Ok(Some("/artifacts".into())));
        }
        for command in [
            "",
            "bst-artifact-receive",
            "bst-artifact-receive artifacts",
            "bst-artifact-receive --verbose",
            "bst-artifact-receive --pull-url x /artifacts",
            "bst-artifact-receive --verbose --verbose /artifacts",
            "bst-artifact-receive /artifacts; sh",
            "bst-artifact-receive  /artifacts",
            "/bin/sh",
        ] {
            assert_eq!(Asked::by_client(command), Err(ONLY.to_owned()), "{command}");
        }
    }

    #[test]
    fn operators_write_what_they_wrote_for_sshd() {
        let asked =
            Asked::by_operator("bst-artifact-receive --pull-url https://example.com/artifacts --verbose artifacts");
        let asked = asked.expect("the document's line");
        assert_eq!(asked.path.as_deref(), Some("artifacts"));
        assert_eq!(asked.pull_url.as_deref(), Some("https://example.com/artifacts"));
        assert!(Asked::by_operator("/usr/bin/bst-artifact-receive --pull-url=x a").is_ok());
        for command in [
            "sh -c bst-artifact-receive",
            "bst-artifact-receive --pull-url",
            "bst-artifact-receive -x a",
            "bst-artifact-receive a b",
        ] {
            assert!(Asked::by_operator(command).is_err(), "{command}");
        }
    }
}
