//! A request, as far as all of its kinds need it.

use std::sync::Arc;

use http::request::Parts;
use kernel::{Caller, Hub, Namespace};
use model::{Error, Result};
use server::Origin;

use crate::Settings;
use crate::speak::Refused;

/// Most parameters of a query.
const PARAMETERS: usize = 32;

/// Who asks for what, of which hub.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) hub: Hub,
    pub(crate) settings: Arc<Settings>,
    pub(crate) caller: Caller,
    pub(crate) origin: Origin,
    /// It is a HEAD: whoever is about to push asks so for what is there already.
    pub(crate) looks: bool,
    query: Vec<(String, String)>,
}

impl Call {
    pub(crate) fn new(hub: Hub, settings: Arc<Settings>, head: &Parts) -> Result<Self, Refused> {
        let caller = head.extensions.get::<Caller>().cloned();
        let origin = head.extensions.get::<Origin>().cloned();
        // The server puts them there; a request without came past its identity check.
        let (Some(caller), Some(origin)) = (caller, origin) else {
            return Err(Error::broken("a request without a caller reached the registry").into());
        };
        let query = query(head.uri.query().unwrap_or_default())?;
        Ok(Self { hub, settings, caller, origin, looks: head.method == http::Method::HEAD, query })
    }

    /// The value of a parameter, where it is there and not empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let named = self.query.iter().find(|(key, value)| key == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.query.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The namespace that repositories lie in, as this caller.
    pub(crate) fn space(&self) -> Result<Namespace> {
        self.hub.enter(&self.caller, &self.settings.namespace)
    }
}

/// Takes a query apart (`application/x-www-form-urlencoded`).
fn query(text: &str) -> Result<Vec<(String, String)>> {
    let parts: Vec<&str> = text.split('&').filter(|part| !part.is_empty()).collect();
    if parts.len() > PARAMETERS {
        return Err(Error::malformed(format!("a query has at most {PARAMETERS} parameters")));
    }
    parts
        .into_iter()
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(key, true)?, decode(value, true)?))
        })
        .collect()
}

/// Undoes percent-encoding.
pub(crate) fn decode(text: &str, form: bool) -> Result<String> {
    let wrong = || Error::malformed("a % in an address is followed by two hexadecimal digits of UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(wrong);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high << 4 | low).map_err(|_| wrong())?
            }
            b'+' if form => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_apart() {
        let found = query("mount=sha256%3Aab&from=a%2Fb&from=&&x").expect("a query");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(found, [pair("mount", "sha256:ab"), pair("from", "a/b"), pair("from", ""), pair("x", "")]);
        assert!(query("a=%zz").is_err() && query("a=%e").is_err() && query("a=%ff").is_err());
        assert!(query(&"a=1&".repeat(33)).is_err());
    }
}
