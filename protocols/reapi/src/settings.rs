//! What an operator chooses.

use std::collections::BTreeMap;

/// Segments that the resource names of REAPI need for themselves, so that no instance name may have them
/// (remote_execution.proto, "Resource names").
pub(crate) const RESERVED: [&str; 7] =
    ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"];

/// Longest instance name in bytes; longer ones are nobody's.
const LONGEST: usize = 255;

/// What an operator chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which namespace stands behind an instance name. The empty name is the default instance, which is the
    /// namespace `main` unless it is listed here. A name that is not listed is the namespace of that name.
    pub instances: BTreeMap<String, String>,
    /// Whether clients may push at all. Without it the Push service is not there (`UNIMPLEMENTED`, from which
    /// BuildStream learns that it cannot push) and all other writes are refused whatever the caller's rights.
    pub push: bool,
    /// Only Capabilities, Fetch and Push: an index beside a storage elsewhere, so that binds check nothing.
    pub index_only: bool,
    /// Most bytes in one batch, as advertised. Clients need room for the rest of the message below their own
    /// 4 MiB limit; the default of 1 MiB is what BuildStream's own server says.
    pub batch: u64,
    /// Largest request message in bytes. Larger than the 4 MiB that gRPC clients are used to, because some
    /// ask for 70,000 blobs at once.
    pub message: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { instances: BTreeMap::new(), push: true, index_only: false, batch: 1 << 20, message: 16 << 20 }
    }
}

impl Settings {
    /// The namespace behind an instance name; `None` for one that nothing can be behind.
    pub(crate) fn namespace<'a>(&'a self, instance: &'a str) -> Option<&'a str> {
        match self.instances.get(instance) {
            Some(namespace) => Some(namespace),
            None if instance.is_empty() => Some("main"),
            None => is_instance(instance).then_some(instance),
        }
    }
}

/// Whether a client can name such an instance: then a namespace of that name can be reached.
#[must_use]
pub fn is_instance(name: &str) -> bool {
    let plain = |segment: &str| !segment.is_empty() && !RESERVED.contains(&segment);
    name.len() <= LONGEST && !name.contains(char::is_control) && name.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_a_namespace() {
        let mut settings = Settings::default();
        assert_eq!(settings.namespace(""), Some("main"));
        assert_eq!(settings.namespace("team/a"), Some("team/a"));
        for bad in ["/", "a/", "/a", "a//b", "a/blobs", "uploads", "a\nb", &"x".repeat(256)] {
            assert_eq!(settings.namespace(bad), None, "{bad:?}");
        }
        settings.instances.insert(String::new(), "other".into());
        assert_eq!(settings.namespace(""), Some("other"));
    }
}
