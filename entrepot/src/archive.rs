//! `entrepot ostree`: a repository from and to a directory. It takes long, so that lines are written as it goes.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use kernel::{Caller, Grant, Hub, Rights};
use serde::{Deserialize, Serialize};

use crate::repository::Plan;

/// What to do, with which repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Archive {
    pub(crate) repository: Plan,
    pub(crate) verb: Verb,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Verb {
    Import(PathBuf),
    Export(PathBuf),
}

/// The repository that is meant: by its path or its name, or the only one.
pub(crate) fn choose(plans: &[Plan], wanted: Option<&str>) -> anyhow::Result<Plan> {
    let listed = || plans.iter().map(|plan| plan.path.as_str()).collect::<Vec<_>>().join(", ");
    match (wanted, plans) {
        (None, [one]) => Ok(one.clone()),
        (None, []) => bail!("no repository is configured: add [[repository]] to the configuration"),
        (None, _) => bail!("there are several repositories: say which with --repository (of {})", listed()),
        (Some(wanted), plans) => match plans.iter().find(|plan| plan.path == wanted || plan.name() == wanted) {
            Some(plan) => Ok(plan.clone()),
            None => bail!("there is no repository {wanted:?}; there are: {}", listed()),
        },
    }
}

/// Does it, and says how it goes.
pub(crate) async fn run(hub: &Hub, archive: Archive, mut output: File) -> anyhow::Result<()> {
    let repository = archive.repository.repository();
    let admin = Caller::known("admin", vec![Grant::everywhere(Rights::ALL)]);
    let namespace = hub.enter(&admin, &repository.namespace)?;
    // A reader that is gone is no reason to stop.
    let mut say = move |line: String| drop(writeln!(output, "{line}"));
    let refused = match archive.verb {
        Verb::Import(from) => {
            let done = ostree::import(&namespace, &repository.name, &from, &mut say).await?;
            say(format!(
                "{} refs imported, {} were here before, {} objects stored",
                done.refs, done.before, done.objects
            ));
            done.refused
        }
        Verb::Export(to) => {
            let done = ostree::export(hub, &namespace, &repository, &to, &mut say).await?;
            say(format!("{} refs exported, {} objects written", done.refs, done.objects));
            done.refused
        }
    };
    match refused.first() {
        None => Ok(()),
        Some((name, why)) => bail!("{} refs were left out; the first: {name}: {why}", refused.len()),
    }
}
