//! What operators do with the tags of images: list, look back, roll back.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use image::ContentDigest;
use kernel::{Caller, Grant, Hub, Rights};
use model::Time;
use oci::Tags;
use serde::{Deserialize, Serialize};

use crate::admin::{BY, span};

/// What somebody wants of a repository's tags.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ask {
    /// The namespace of the registry, as the configuration of whoever asks says.
    pub(crate) namespace: String,
    pub(crate) repository: String,
    /// For how long a rollback is remembered.
    pub(crate) history_days: u64,
    pub(crate) what: What,
}

/// One thing to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum What {
    List,
    History { tag: String },
    Rollback { tag: String, to: Option<String> },
}

/// Does it and says what there is to say.
pub(crate) async fn answer(hub: &Hub, ask: Ask) -> anyhow::Result<String> {
    let Ask { namespace, repository, history_days, what } = ask;
    let caller = Caller::known(BY, vec![Grant::everywhere(Rights::ALL)]);
    let space = hub.enter(&caller, &namespace)?;
    let tags = Tags::of(&space, &repository)?;
    let mut text = String::new();
    match what {
        What::List => {
            let now = Time::now();
            for (tag, row) in tags.list().await? {
                let ago = span(now.since(row.bound));
                writeln!(text, "{tag}  sha256:{}  since {ago}", row.pointer.blob.digest)?;
            }
        }
        What::History { tag } => {
            for past in tags.history(&tag).await? {
                writeln!(text, "{}  sha256:{}  by {}", oci::rfc3339(past.since), past.digest, past.by)?;
            }
        }
        What::Rollback { tag, to } => {
            let to = to.map(|to| to.parse::<ContentDigest>()).transpose().context("--to")?;
            let remember = Duration::from_secs(history_days.saturating_mul(24 * 3600));
            let moved = tags.roll_back(&tag, to.as_ref(), BY, remember).await?;
            match moved.from {
                Some(from) if from == moved.to => {
                    writeln!(text, "{repository}:{tag} points at sha256:{from} already")?;
                }
                Some(from) => {
                    writeln!(
                        text,
                        "{repository}:{tag} points at sha256:{} again, no longer at sha256:{from}",
                        moved.to
                    )?;
                }
                None => writeln!(text, "{repository}:{tag} points at sha256:{} again", moved.to)?,
            }
        }
    }
    Ok(text)
}
