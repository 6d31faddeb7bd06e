//! What a registry asks for: the header `WWW-Authenticate` (RFC 9110, section 11.6.1).
//!
//! Registries write it in every way that the grammar allows and in some that it does not. This takes them all: schemes
//! and parameters in any case and order, several challenges in one header or in several, quoted and bare values (also
//! bare URLs), escapes, empty list elements, blanks around `=`, missing commas.

/// Longest header that is looked at; real ones have some hundred bytes.
const LONGEST: usize = 8 << 10;
/// Most challenges, and most parameters of one.
const MOST: usize = 32;

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme in lower case, such as `bearer`.
    pub scheme: String,
    /// Parameters; names in lower case. Of several with one name the first counts.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges in the values of all `WWW-Authenticate` headers of an answer, in order. What cannot be understood is
/// left out.
#[must_use]
pub fn challenges<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in values.into_iter().take(MOST) {
        let value = &value[..value.len().min(LONGEST)];
        read(&String::from_utf8_lossy(value), &mut found);
    }
    found
}

/// The rest of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|found| !is(found)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn blanks(&mut self) {
        self.take(|found| matches!(found, ' ' | '\t'));
    }

    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut characters = self.0[1..].char_indices();
        while let Some((at, found)) = characters.next() {
            match found {
                '"' => {
                    self.0 = &self.0[at + 2..];
                    return value;
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => value.push(found),
            }
        }
        // No closing quote: the header was cut, and what is there is taken.
        self.0 = "";
        value
    }
}

fn is_token(found: char) -> bool {
    found.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(found)
}

fn read(text: &str, found: &mut Vec<Challenge>) {
    let mut rest = Rest(text);
    let first = found.len();
    while found.len() < MOST {
        rest.take(|found| matches!(found, ' ' | '\t' | ','));
        if rest.0.is_empty() {
            return;
        }
        let word = rest.take(is_token);
        if word.is_empty() {
            // No scheme and no parameter begins like this: go on behind it.
            rest.0 = rest.0.get(rest.0.chars().next().map_or(1, char::len_utf8)..).unwrap_or_default();
            continue;
        }
        let behind = rest.0;
        rest.blanks();
        if !rest.0.starts_with('=') {
            rest.0 = behind;
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            continue;
        }
        rest.0 = &rest.0[1..];
        rest.blanks();
        let value = match rest.0.chars().next() {
            Some('"') => rest.quoted(),
            // The padding of a token68, which no scheme that we speak has.
            Some('=' | ',') | None => {
                rest.take(|found| found == '=');
                continue;
            }
            _ => rest.take(|found| !matches!(found, ' ' | '\t' | ',')).to_owned(),
        };
        // A parameter before any scheme of this header belongs to nothing.
        if let Some(challenge) = found[first..].last_mut().filter(|challenge| challenge.parameters.len() < MOST) {
            let name = word.to_ascii_lowercase();
            if challenge.get(&name).is_none() {
                challenge.parameters.push((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(header: &str) -> Vec<Challenge> {
        challenges([header.as_bytes()])
    }

    /// The realm and service of the only challenge.
    fn bearer(header: &str) -> (String, String) {
        let found = one(header);
        assert_eq!(found.len(), 1, "{header}: {found:?}");
        assert_eq!(found[0].scheme, "bearer", "{header}");
        let get = |name| found[0].get(name).unwrap_or_default().to_owned();
        (get("realm"), get("service"))
    }

    #[test]
    fn every_spelling_of_one_challenge_is_one_challenge() {
        let right = ("https://a.example/t?x=1,2".to_owned(), "s".to_owned());
        for header in [
            r#"Bearer realm="https://a.example/t?x=1,2",service="s""#,
            r#"bearer service="s", realm="https://a.example/t?x=1,2""#,
            r#"BEARER  Realm = "https://a.example/t?x=1,2" , SERVICE=s"#,
            r#"Bearer realm="https:\/\/a.example/t?x=1,2",,service=s,"#,
            r#", ,Bearer realm="https://a.example/t?x=1,2" service="s""#,
            "Bearer\trealm=\"https://a.example/t?x=1,2\",\tservice=\"s\", scope=\"*\"",
            r#"Bearer realm="https://a.example/t?x=1,2",service="s",realm="other""#,
            r#"Bearer service="s",realm="https://a.example/t?x=1,2"#,
        ] {
            assert_eq!(bearer(header), right, "{header}");
        }
        assert_eq!(bearer("Bearer realm=https://a/t?x=1").0, "https://a/t?x=1");
        assert_eq!(bearer(r#"Bearer realm="a\"b\\c""#).0, r#"a"b\c"#);
    }

    #[test]
    fn several_challenges_are_kept_apart() {
        let schemes = |found: Vec<Challenge>| {
            found.into_iter().map(|one| (one.get("realm").unwrap_or("-").to_owned(), one.scheme)).collect::<Vec<_>>()
        };
        let pair = |realm: &str, scheme: &str| (realm.to_owned(), scheme.to_owned());
        let wanted = [pair("a", "basic"), pair("-", "negotiate"), pair("b", "bearer")];
        assert_eq!(schemes(one(r#"Basic realm="a", Negotiate, Bearer realm="b""#)), wanted);
        let repeated: [&[u8]; 3] = [b"Basic realm=a", b"NEGOTIATE", b"Bearer realm=\"b\""];
        assert_eq!(schemes(challenges(repeated)), wanted);
        let padded = one("Negotiate YWJj==, Basic realm=\"a\"");
        assert_eq!(padded.last().and_then(|last| last.get("realm")), Some("a"));
        assert_eq!(one("foo"), [Challenge { scheme: "foo".into(), parameters: vec![] }]);
        assert!(one("").is_empty() && one(",,\u{7f}\u{e9},").is_empty());
        assert!(one(&"a ".repeat(100_000)).len() <= MOST);
    }

    proptest! {
        #[test]
        fn any_bytes_are_challenges_or_none(bytes: Vec<u8>) {
            for challenge in challenges([bytes.as_slice()]) {
                prop_assert!(!challenge.scheme.is_empty());
            }
        }

        #[test]
        fn what_is_understood_is_understood_again(text in "[a-cA ,=\"\\\\:\t]{0,60}") {
            for found in challenges([text.as_bytes()]) {
                let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
                let parts: Vec<_> =
                    found.parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quote(value))).collect();
                let written = format!("{} {}", found.scheme, parts.join(", "));
                prop_assert_eq!(challenges([written.as_bytes()]), vec![found]);
            }
        }

        #[test]
        fn what_is_quoted_comes_out(realm in "[ -~]{0,40}", service in "[ -~]{0,40}", swap: bool, upper: bool) {
            let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let (realm_name, scheme) = if upper { ("REALM", "BEARER") } else { ("realm", "Bearer") };
            let mut parts = [format!("{realm_name}={}", quote(&realm)), format!("service={}", quote(&service))];
            if swap {
                parts.swap(0, 1);
            }
            prop_assert_eq!(bearer(&format!("{scheme} {}", parts.join(" , "))), (realm, service));
        }
    }
}
