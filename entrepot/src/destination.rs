//! Which repository a push is meant for, by the path that the client or the operator wrote.

use serde::{Deserialize, Serialize};

use crate::repository::Plan;

/// The repositories that can be pushed to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Destinations(Vec<Plan>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// The namespace.
    pub(crate) namespace: String,
    /// The name of the repository in there.
    pub(crate) name: String,
    /// From where to pull, where that is known.
    pub(crate) pull_url: Option<String>,
}

impl Destinations {
    /// These. Where to pull from is below `base`, the URL of an HTTP listener, where nothing is said.
    pub(crate) fn new(mut plans: Vec<Plan>, base: Option<&str>) -> Self {
        for plan in &mut plans {
            if plan.pull_url.is_none() {
                plan.pull_url = base.map(|base| format!("{base}{}", plan.path));
            }
        }
        Self(plans)
    }

    /// The repository at a path.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn at(&self, path: &str) -> Result<Destination, String> {
        let path = path.trim_matches('/');
        let found = self.0.iter().find(|plan| plan.path.trim_matches('/') == path);
        found.map(destination).ok_or_else(|| {
            let known: Vec<&str> = self.0.iter().map(|plan| plan.path.as_str()).collect();
            let shown: String = path.chars().take(100).collect();
            match known.as_slice() {
                [] => "this server has no repository to push to".to_owned(),
                known => format!("there is no repository at {shown:?}; there is: {}", known.join(", ")),
            }
        })
    }

    /// As [`Destinations::at`]; but where there is one only, that is meant whatever the path: behind sshd the path of
    /// the URL never mattered, and it may be that of a home directory.
    pub(crate) fn meant(&self, path: Option<&str>) -> Result<Destination, String> {
        match (self.0.as_slice(), path) {
            ([only], _) => Ok(destination(only)),
            (_, path) => self.at(path.unwrap_or("artifacts")),
        }
    }
}

fn destination(plan: &Plan) -> Destination {
    Destination { namespace: plan.namespace.clone(), name: plan.name().to_owned(), pull_url: plan.pull_url.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Destinations {
        let second = Plan { path: "/team/b".into(), pull_url: Some("https://b.example".into()), ..Plan::default() };
        Destinations::new(vec![Plan::default(), second], Some("http://127.0.0.1:9090"))
    }

    #[test]
    fn paths_lead_to_repositories() {
        let first = two().at("/artifacts").expect("it is there");
        assert_eq!(first.pull_url.as_deref(), Some("http://127.0.0.1:9090/artifacts"));
        assert_eq!((first.namespace.as_str(), first.name.as_str()), ("main", "artifacts"));
        let second = two().at("team/b/").expect("it is there");
        assert_eq!((second.name.as_str(), second.pull_url.as_deref()), ("b", Some("https://b.example")));
        let refused = two().at("/other").expect_err("it is not there");
        assert!(refused.contains("/artifacts, /team/b"), "{refused}");
    }

    #[test]
    fn behind_sshd_the_only_one_is_meant() {
        let one = Destinations::new(vec![Plan::default()], None);
        assert_eq!(one.meant(Some("/home/artifacts/x")).expect("the only one").name, "artifacts");
        assert_eq!(two().meant(None).expect("the usual one").name, "artifacts");
        assert!(two().meant(Some("/x")).is_err() && Destinations::default().meant(None).is_err());
    }
}
