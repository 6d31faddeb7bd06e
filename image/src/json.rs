//! JSON that is edited in a few places and otherwise stays as it was written: the order of keys, unknown fields and
//! the spelling of numbers survive; white space does not.
//!
//! Values that are not looked into are kept as text, so that nothing is lost on the way through a type. What is
//! written is ASCII: characters beyond it become `\uxxxx`, so that lengths and digests do not depend on an encoding.

use std::fmt::{self, Write as _};

use model::{Error, Result};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A JSON value as text that has been checked.
pub(crate) type Raw = Box<RawValue>;

/// An object: its members in the order in which they were written.
#[derive(Debug, Default, Clone)]
pub(crate) struct Object(Vec<(String, Raw)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, Raw>()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Object {
    /// Reads a document; `what` names it in errors.
    pub(crate) fn read(bytes: &[u8], what: &str) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|cause| Error::malformed(format!("{what} is not understood: {cause}")))
    }

    /// The member of this name, unless it is absent or null. `Malformed` if it is there twice: readers would differ
    /// about which one counts.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&RawValue>> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        let first = found.next().map(|(_, value)| &**value);
        if found.next().is_some() {
            return Err(Error::malformed(format!("the field {name:?} is there twice")));
        }
        Ok(first.filter(|value| value.get() != "null"))
    }

    /// The member of this name in a type; `what` names it in errors.
    pub(crate) fn typed<T: DeserializeOwned>(&self, name: &str, what: &str) -> Result<Option<T>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|cause| Error::malformed(format!("{what} is not understood: {cause}")))
    }

    /// Sets a member where it is, or as the last one. `Malformed` if it is there twice.
    pub(crate) fn set(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        self.get(name)?;
        let value = raw(value)?;
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// How many members it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes members away.
    pub(crate) fn remove(&mut self, names: &[&str]) {
        self.0.retain(|(key, _)| !names.contains(&key.as_str()));
    }

    /// The document without white space.
    pub(crate) fn write(&self) -> Result<Vec<u8>> {
        let raw = raw(self)?;
        let mut compact = String::with_capacity(raw.get().len());
        write_compact(raw.get(), &mut compact)?;
        Ok(compact.into_bytes())
    }
}

impl Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// A value as text.
pub(crate) fn raw(value: &impl Serialize) -> Result<Raw> {
    serde_json::value::to_raw_value(value).map_err(|cause| Error::broken("a value cannot be written").because(cause))
}

/// Copies JSON that was parsed before, without white space and with one spelling of each string.
fn write_compact(json: &str, to: &mut String) -> Result<()> {
    let mut rest = json;
    while let Some(at) = rest.find(['"', ' ', '\t', '\n', '\r']) {
        to.push_str(&rest[..at]);
        rest = &rest[at..];
        if !rest.starts_with('"') {
            rest = &rest[1..];
            continue;
        }
        let string = &rest[..string_length(rest)];
        let text: String = serde_json::from_str(string)
            .map_err(|cause| Error::malformed(format!("a text is not understood: {cause}")))?;
        write_string(&text, to);
        rest = &rest[string.len()..];
    }
    to.push_str(rest);
    Ok(())
}

/// How many bytes the string has that the text begins with, its quotation marks with it.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The spelling of Wave's documents: short escapes where JSON has them, `\uxxxx` for other controls and from DEL on.
fn write_string(text: &str, to: &mut String) {
    to.push('"');
    for character in text.chars() {
        match character {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\u{8}' => to.push_str("\\b"),
            '\u{c}' => to.push_str("\\f"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            ' '..='~' => to.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(to, "\\u{unit:04x}");
                }
            }
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(text: &str) -> String {
        String::from_utf8(Object::read(text.as_bytes(), "it").expect("JSON").write().expect("text")).expect("ASCII")
    }

    #[test]
    fn only_white_space_and_spelling_change() {
        assert_eq!(
            compact("{ \"b\" : [ 1.50 , 1e400,\n-0 ], \"a\\/\":\"\\u003c\\/é\u{1f600}\\u0001\\u007f\",\"n\":null }"),
            r#"{"b":[1.50,1e400,-0],"a/":"</\u00e9\ud83d\ude00\u0001\u007f","n":null}"#
        );
        assert_eq!(compact(r#"{"a":"\"\\\b\f\n\r\t"}"#), r#"{"a":"\"\\\b\f\n\r\t"}"#);
    }

    #[test]
    fn members_keep_their_places() {
        let mut object = Object::read(br#"{"z":1,"a":{"x":12345678901234567890123},"m":null}"#, "it").expect("JSON");
        object.set("a", &2).expect("set");
        object.set("new", &["x"]).expect("set");
        object.remove(&["z"]);
        assert!(object.get("m").expect("once").is_none());
        assert_eq!(object.write().expect("text"), br#"{"a":2,"m":null,"new":["x"]}"#);
    }

    #[test]
    fn what_readers_would_differ_about_is_refused() {
        let mut object = Object::read(br#"{"a":1,"a":2}"#, "it").expect("JSON");
        assert!(object.set("a", &3).is_err());
        assert!(object.get("a").expect_err("twice").text().contains("\"a\""));
        assert!(Object::read(b"[1]", "it").is_err() && Object::read(b"{} x", "it").is_err());
        let lone = Object::read(br#"{"a":"\ud800"}"#, "it").and_then(|object| object.write());
        assert!(lone.is_err());
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(compact(&deep), deep);
    }

    proptest! {
        #[test]
        fn texts_survive(text: String) {
            let json = serde_json::json!({ "a": text }).to_string();
            let again: serde_json::Value = serde_json::from_str(&compact(&json)).expect("JSON");
            prop_assert_eq!(again["a"].as_str(), Some(text.as_str()));
        }
    }
}
