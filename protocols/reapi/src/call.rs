//! One call: who asks, and of what.

use std::sync::Arc;

use kernel::{Caller, Hub, Namespace, Rights};
use model::{Error, Result};

use crate::Settings;

/// One call: who asks, and of what.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) hub: Hub,
    pub(crate) settings: Arc<Settings>,
    pub(crate) caller: Caller,
}

impl Call {
    /// The namespace behind an instance name, once the caller is known to have the right. Every method begins
    /// with this, before it looks at its other arguments: BuildStream probes with empty requests and takes
    /// "invalid argument" for "you may" (specs, section 6).
    ///
    /// # Errors
    /// `Malformed` for an instance that is not there or not for this caller; what the right demands.
    pub(crate) async fn enter(&self, instance: &str, right: Rights) -> Result<Namespace> {
        let unknown = || {
            let shown: String = instance.chars().take(80).collect();
            Error::malformed(format!("Invalid instance name \"{shown}\""))
        };
        let name = self.settings.namespace(instance).ok_or_else(unknown)?;
        let namespace = match self.hub.enter(&self.caller, name) {
            // The default instance is no secret, and "invalid argument" would say that the probe went well.
            Err(error) if error.is_absent() && instance.is_empty() => {
                return Err(Error::denied("you may not use the default instance"));
            }
            Err(error) if error.is_absent() => return Err(unknown()),
            other => other?,
        };
        namespace.may(right)?;
        if right.has(Rights::WRITE) && !self.settings.push {
            return Err(Error::denied("nothing can be written here"));
        }
        Ok(if self.settings.index_only { namespace.foreign() } else { namespace })
    }
}
