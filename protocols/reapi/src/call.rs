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
    pub(crate) fn enter(&self, instance: &str, right: Rights) -> Result<Namespace> {
        let name = self.settings.namespace(instance).ok_or_else(|| no_instance(instance))?;
        let namespace = self.hub.enter(&self.caller, name).map_err(|error| hidden(error, instance))?;
        if let Err(error) = namespace.may(right) {
            // One who may not even read here is told the same as if it did not exist.
            let blind = namespace.may(Rights::READ).err().filter(Error::is_absent);
            return Err(hidden(blind.unwrap_or(error), instance));
        }
        if right.has(Rights::WRITE) && !self.settings.push {
            return Err(Error::denied("nothing can be written here"));
        }
        Ok(if self.settings.index_only { namespace.foreign() } else { namespace })
    }
}

fn no_instance(instance: &str) -> Error {
    Error::malformed(format!("Invalid instance name \"{}\"", instance.chars().take(80).collect::<String>()))
}

/// What is not there, or not for this caller, as REAPI says it. Not so for the default instance: that it exists
/// is no secret, and "invalid argument" would tell BuildStream that its probe went well.
fn hidden(error: Error, instance: &str) -> Error {
    match instance {
        _ if !error.is_absent() => error,
        "" => Error::denied("the default instance is not for you"),
        other => no_instance(other),
    }
}
