//! The registry's part of the configuration.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// `[registry]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Registry {
    /// The namespace that repositories lie in.
    pub(crate) namespace: String,
    /// Where names without a host are looked for when they are in no repository of our own; empty for nowhere.
    pub(crate) default_upstream: String,
    /// An index may be pushed before the manifests that it lists.
    pub(crate) sparse: bool,
    /// Days that it is remembered, for a rollback, what a tag has pointed at; 0 for not at all.
    pub(crate) history_days: u64,
    /// Minutes that a token of the token endpoint counts.
    pub(crate) token_minutes: u64,
    /// What holds for which tags; the first that matches counts.
    pub(crate) rules: Vec<Rule>,
}

/// `[[registry.rules]]`: what holds for some tags. In patterns `*` is any text and `#` a number.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rule {
    /// Patterns of repositories; all where nothing is said.
    pub(crate) repositories: Vec<String>,
    /// Patterns of tags; all where nothing is said.
    pub(crate) tags: Vec<String>,
    /// A tag that is there never points elsewhere.
    pub(crate) immutable: Option<bool>,
    /// `firm` (a push fails before it goes), `loose` (it goes when its room is needed), or days, such as `30d`.
    pub(crate) keep: Option<String>,
}

impl Default for Registry {
    fn default() -> Self {
        let settings = oci::Settings::default();
        Self {
            namespace: settings.namespace,
            default_upstream: settings.default_upstream.unwrap_or_default(),
            sparse: settings.sparse,
            history_days: settings.history.as_secs() / (24 * 3600),
            token_minutes: settings.token.as_secs() / 60,
            rules: Vec::new(),
        }
    }
}

impl Registry {
    /// What the protocol takes.
    pub(crate) fn settings(&self) -> anyhow::Result<oci::Settings> {
        let days = |days: u64| Duration::from_secs(days.saturating_mul(24 * 3600));
        let rules =
            self.rules.iter().enumerate().map(|(index, rule)| {
                rule.read(days).with_context(|| format!("rule {} of [[registry.rules]]", index + 1))
            });
        Ok(oci::Settings {
            namespace: self.namespace.clone(),
            read_only: false,
            sparse: self.sparse,
            default_upstream: Some(self.default_upstream.clone()).filter(|host| !host.is_empty()),
            guessed: false,
            rules: rules.collect::<anyhow::Result<_>>()?,
            history: days(self.history_days),
            token: Duration::from_secs(self.token_minutes.saturating_mul(60)),
        })
    }
}

impl Rule {
    fn read(&self, days: impl Fn(u64) -> Duration) -> anyhow::Result<oci::Rule> {
        let patterns = |list: &[String]| list.iter().map(|text| text.parse()).collect::<model::Result<Vec<_>>>();
        let keep = match self.keep.as_deref() {
            None => None,
            Some("firm") => Some(oci::Keep::Firm),
            Some("loose") => Some(oci::Keep::Loose),
            Some(text) => match text.strip_suffix('d').and_then(|number| number.parse().ok()) {
                Some(number) => Some(oci::Keep::For(days(number))),
                None => bail!("keep = {text:?} is none of \"firm\", \"loose\" and a number of days such as \"30d\""),
            },
        };
        let (repositories, tags) = (patterns(&self.repositories)?, patterns(&self.tags)?);
        Ok(oci::Rule { repositories, tags, immutable: self.immutable, keep })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let rule = |keep: &str| Rule { keep: Some(keep.into()), ..Rule::default() };
        let read = |rule| Registry { rules: vec![rule], ..Registry::default() }.settings();
        assert_eq!(read(rule("30d")).expect("a rule").keep("a", "b"), oci::Keep::For(Duration::from_secs(2_592_000)));
        let error = read(rule("long")).map(drop).expect_err("no rule");
        assert!(format!("{error:#}").contains("rule 1") && format!("{error:#}").contains("30d"), "{error:#}");
    }
}
