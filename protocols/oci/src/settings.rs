//! What an operator decides about the registry.

use std::time::Duration;

use crate::Pattern;

/// How long a tag that somebody pushed stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Until somebody deletes it: a push fails before it goes.
    #[default]
    Firm,
    /// Until its room is needed, least recently used first.
    Loose,
    /// So long after its push, or until its room is needed.
    For(Duration),
}

/// What holds for some tags. The first rule that matches counts, each of its parts for itself.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// In which repositories; all where nothing is said.
    pub repositories: Vec<Pattern>,
    /// Which tags; all where nothing is said.
    pub tags: Vec<Pattern>,
    /// A tag that is there never points elsewhere.
    pub immutable: Option<bool>,
    /// How long it stays.
    pub keep: Option<Keep>,
}

impl Rule {
    fn covers(&self, repository: &str, tag: &str) -> bool {
        let any = |list: &[Pattern], text: &str| list.is_empty() || list.iter().any(|pattern| pattern.matches(text));
        any(&self.repositories, repository) && any(&self.tags, tag)
    }
}

/// The settings of a listener's registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace that repositories lie in.
    pub namespace: String,
    /// Nothing can be pushed.
    pub read_only: bool,
    /// An index may be pushed before the manifests that it lists.
    pub sparse: bool,
    /// The registry that names without a host are looked for at, when they are in none of our repositories.
    pub default_upstream: Option<String>,
    /// Nobody chose that registry, it is a guess: where it cannot be reached, a hub without it is a plain registry.
    pub guessed: bool,
    /// What holds for which tags.
    pub rules: Vec<Rule>,
    /// How long it is remembered what a tag has pointed at; zero for not at all.
    pub history: Duration,
    /// How long a token of our token endpoint counts.
    pub token: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: "main".into(),
            read_only: false,
            sparse: false,
            default_upstream: Some("docker.io".into()),
            guessed: false,
            rules: Vec::new(),
            history: Duration::from_secs(30 * 24 * 3600),
            // Long enough for the largest layer of a push: docker shows the same token until its end.
            token: Duration::from_secs(3600),
        }
    }
}

impl Settings {
    /// Whether a tag, once there, never points elsewhere.
    #[must_use]
    pub fn is_immutable(&self, repository: &str, tag: &str) -> bool {
        let mut rules = self.rules.iter().filter(|rule| rule.covers(repository, tag));
        rules.find_map(|rule| rule.immutable).unwrap_or(false)
    }

    /// How long a pushed tag stays.
    #[must_use]
    pub fn keep(&self, repository: &str, tag: &str) -> Keep {
        let mut rules = self.rules.iter().filter(|rule| rule.covers(repository, tag));
        rules.find_map(|rule| rule.keep).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_says_something_counts() {
        let pattern = |text: &str| text.parse::<Pattern>().expect("a pattern");
        let rules = vec![
            Rule { tags: vec![pattern("#.#.#")], immutable: Some(true), ..Rule::default() },
            Rule { repositories: vec![pattern("ci/*")], keep: Some(Keep::Loose), ..Rule::default() },
        ];
        let settings = Settings { rules, ..Settings::default() };
        assert!(settings.is_immutable("ci/a", "1.2.3") && !settings.is_immutable("ci/a", "1.2"));
        assert_eq!((settings.keep("ci/a", "1.2.3"), settings.keep("a", "1.2.3")), (Keep::Loose, Keep::Firm));
    }
}
