//! An OSTree repository as data: where its refs are, and under which path it is served.

use std::collections::BTreeSet;

use anyhow::bail;
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
}

/// Refuses what cannot be served.
pub(crate) fn check(plans: &[Plan], is_namespace: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for plan in plans {
        let path = &plan.path;
        if !path.starts_with('/') || path.ends_with('/') || path.contains(char::is_whitespace) {
            bail!("repository {path:?}: a path is written as /part or /part/part");
        }
        if !is_namespace(&plan.namespace) {
            bail!("repository {path} names the namespace {:?}, which is not in [namespaces]", plan.namespace);
        }
        if !seen.insert((&plan.namespace, plan.name())) {
            bail!("repository {path}: another one of that namespace has the same name {:?}", plan.name());
        }
    }
    Ok(())
}
