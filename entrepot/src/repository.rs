//! An OSTree repository as data: where its refs are, and under which path it is served.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// A repository. All listeners serve all of them, to whom they grant reading.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plan {
    /// The path of its address, without a slash at the end.
    pub(crate) path: String,
    /// The namespace that it lies in.
    pub(crate) namespace: String,
    /// Its name in that namespace; the last part of its path where nothing is said.
    pub(crate) name: Option<String>,
    /// From where clients pull that push by SSH; the first listener where nothing is said, if that is on loopback.
    pub(crate) pull_url: Option<String>,
}

impl Default for Plan {
    /// The repository of BuildStream 1's guide.
    fn default() -> Self {
        Self { path: "/artifacts".into(), namespace: "main".into(), name: None, pull_url: None }
    }
}

impl Plan {
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.path.rsplit('/').next().unwrap_or_default())
    }

    pub(crate) fn repository(&self) -> ostree::Repository {
        let (path, namespace, name) = (self.path.clone(), self.namespace.clone(), self.name().to_owned());
        ostree::Repository { path, namespace, name }
    }
}

/// Refuses what cannot be served.
pub(crate) fn check(plans: &[Plan], is_namespace: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for plan in plans {
        let about = || format!("repository {}", plan.path);
        ostree::refs::check_repository(plan.name()).with_context(about)?;
        if !plan.path.starts_with('/') || plan.path.ends_with('/') || plan.path.contains(char::is_whitespace) {
            bail!("{}: a path is written as /part or /part/part", about());
        }
        if !is_namespace(&plan.namespace) {
            bail!("{} names the namespace {:?}, which is not in [namespaces]", about(), plan.namespace);
        }
        if !seen.insert((&plan.namespace, plan.name())) {
            bail!("{}: another repository of that namespace has the same name {:?}", about(), plan.name());
        }
    }
    Ok(())
}

/// The plans as the protocol takes them.
pub(crate) fn repositories(plans: &[Plan]) -> Vec<ostree::Repository> {
    plans.iter().map(Plan::repository).collect()
}
