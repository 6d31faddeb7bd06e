//! A remote cache as users name it: in a configuration file, or on a command line.

use super::Keys;

/// One remote: a list of keys and values.
#[derive(Clone, Debug)]
pub struct Remote {
    keys: Vec<(&'static str, String)>,
    auth: Vec<(&'static str, String)>,
    /// Lines for the file only.
    patience: &'static str,
}

impl Remote {
    /// A remote that is pulled from.
    pub fn at(url: impl Into<String>) -> Self {
        Self { keys: vec![("url", url.into())], auth: Vec::new(), patience: "" }
    }

    /// It is pushed to as well.
    #[must_use]
    pub fn push(self) -> Self {
        self.with("push", "true")
    }

    /// `index` or `storage`, where it is not both.
    #[must_use]
    pub fn kind(self, kind: &str) -> Self {
        self.with("type", kind)
    }

    /// An instance name.
    #[must_use]
    pub fn instance(self, name: &str) -> Self {
        self.with("instance-name", name)
    }

    /// The server is known by its certificate.
    #[must_use]
    pub fn trusting(mut self, keys: &Keys) -> Self {
        self.auth.push(("server-cert", keys.file("server.crt")));
        self
    }

    /// The client shows its certificate.
    #[must_use]
    pub fn showing(mut self, keys: &Keys) -> Self {
        self.auth.push(("client-cert", keys.file("client.crt")));
        self.auth.push(("client-key", keys.file("client.key")));
        self
    }

    /// An unreachable server is given up at once, not after ten seconds.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.patience = ", connection-config: {retry-limit: 1, retry-delay: 100}";
        self
    }

    fn with(mut self, key: &'static str, value: &str) -> Self {
        self.keys.push((key, value.into()));
        self
    }

    /// As `--artifact-remote` takes it.
    pub fn flag(&self) -> String {
        // A single key would be taken for a URL.
        if let ([(_, url)], []) = (&self.keys[..], &self.auth[..]) {
            return url.clone();
        }
        let keys: Vec<_> = self.keys.iter().chain(&self.auth).map(|(key, value)| format!("{key}={value}")).collect();
        keys.join(",")
    }

    /// As an item of a list in YAML.
    pub fn item(&self) -> String {
        let list = |keys: &[(&str, String)]| -> String {
            keys.iter().map(|(key, value)| format!("{key}: \"{value}\"")).collect::<Vec<_>>().join(", ")
        };
        format!("{{{}, auth: {{{}}}{}}}", list(&self.keys), list(&self.auth), self.patience).replace(", auth: {}", "")
    }
}

/// The part of a user's configuration that names artifact caches.
pub fn artifacts(remotes: &[Remote]) -> String {
    section("artifacts", remotes)
}

/// The part of a user's configuration that names source caches.
pub fn sources(remotes: &[Remote]) -> String {
    section("source-caches", remotes)
}

fn section(name: &str, remotes: &[Remote]) -> String {
    let items: String = remotes.iter().map(|remote| format!("  - {}\n", remote.item())).collect();
    format!("{name}:\n  servers:\n{items}")
}
