//! Patterns for repositories and tags: `*` is any text, `#` is one or more digits, all else is itself.

use std::fmt;
use std::str::FromStr;

use model::{Error, Result};

/// A pattern such as `runners/*`, `#.#.#`, `v#.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// True when all of `text` is as the pattern says.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        // Positions in the pattern that the text read so far may have led to: at most one for each of its bytes, so
        // that no pattern takes more than its length for each byte of the text.
        let pattern = self.0.as_bytes();
        let mut now = vec![false; pattern.len() + 1];
        now[0] = true;
        skip(pattern, &mut now);
        for byte in text.bytes() {
            let mut next = vec![false; pattern.len() + 1];
            for (at, wanted) in pattern.iter().enumerate().filter(|(at, _)| now[*at]) {
                match wanted {
                    b'*' => next[at] = true,
                    b'#' if byte.is_ascii_digit() => {
                        next[at] = true;
                        next[at + 1] = true;
                    }
                    wanted if *wanted == byte => next[at + 1] = true,
                    _ => {}
                }
            }
            skip(pattern, &mut next);
            now = next;
        }
        now[pattern.len()]
    }
}

/// `*` may stand for nothing.
fn skip(pattern: &[u8], at: &mut [bool]) {
    for (index, byte) in pattern.iter().enumerate() {
        if at[index] && *byte == b'*' {
            at[index + 1] = true;
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > 255 {
            return Err(Error::malformed("a pattern has 1 to 255 characters, of which * is any text and # a number"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_are_text_and_hashes_are_numbers() {
        let matches = |pattern: &str, text: &str| pattern.parse::<Pattern>().expect("a pattern").matches(text);
        assert!(matches("#.#.#", "1.22.333") && !matches("#.#.#", "1.2") && !matches("#.#.#", "1.2.x"));
        assert!(matches("v#.*", "v1.") && matches("v#.*", "v10.rc") && !matches("v#.*", "v.1"));
        assert!(matches("*", "") && matches("a/*/b", "a/x/y/b") && !matches("a/*/b", "a/b"));
        assert!(!matches("latest", "latest1") && matches("latest", "latest"));
        assert!(!matches(&"*a".repeat(100), &"b".repeat(1000)));
    }
}
