//! The options of a line of `authorized_keys` (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
//!
//! We give no terminal, no forwarding, no agent and no shell, so what takes those away is always obeyed, and what
//! grants them grants nothing. What narrows who may come in is honoured: `from`, `expiry-time`, `command`. An option
//! that we cannot honour refuses its key: a key must never be able to do more here than with sshd.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::origin::Network;

/// What a line says beside its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Runs instead of whatever the client asks for.
    pub(crate) command: Option<String>,
    /// Where the key may be used from; anywhere when it is not said.
    pub(crate) from: Option<Sources>,
    /// From then on the key is worth nothing.
    pub(crate) expires: Option<Timestamp>,
}

impl Options {
    /// Reads the comma-separated list.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for option in split(text)? {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(unquote(value)?)),
                None => (option, None),
            };
            let name = name.to_ascii_lowercase();
            match (name.as_str(), value) {
                // Taken away from everybody here, or a limit of what nobody has.
                (
                    "restrict"
                    | "no-pty"
                    | "no-port-forwarding"
                    | "no-agent-forwarding"
                    | "no-x11-forwarding"
                    | "no-user-rc",
                    None,
                )
                | ("permitopen" | "permitlisten" | "tunnel", Some(_)) => {}
                // Given to nobody, so that asking for it changes nothing.
                ("pty" | "port-forwarding" | "agent-forwarding" | "x11-forwarding" | "user-rc", None)
                | ("environment", Some(_)) => {}
                ("command", Some(command)) => once(&mut options.command, command, "command")?,
                ("from", Some(list)) => once(&mut options.from, Sources::read(&list)?, "from")?,
                ("expiry-time", Some(time)) => {
                    // sshd takes the earliest.
                    let time = expiry(&time)?;
                    options.expires = Some(options.expires.map_or(time, |other| other.min(time)));
                }
                ("cert-authority" | "principals", _) => {
                    return Err("certificates of users are not taken here: list each user's own key".into());
                }
                (_, _) => return Err(format!("the option {} is not one that can be honoured here", shown(&name))),
            }
        }
        Ok(options)
    }
}

fn once<T>(place: &mut Option<T>, value: T, name: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("the option {name} stands there twice")),
    }
}

/// Text of others as it may stand in a log.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).collect::<String>().escape_debug().to_string()
}

/// How many bytes of a line are its options: up to the first blank outside of quotes.
pub(super) fn length(line: &str) -> Option<usize> {
    let mut quoted = false;
    let mut bytes = line.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if line.as_bytes().get(at + 1) == Some(&b'"') => drop(bytes.next()),
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// The options between the commas that are outside of quotes.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut begin, mut quoted) = (0, false);
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if text.as_bytes().get(at + 1) == Some(&b'"') => drop(bytes.next()),
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(text.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err("a quotation mark of its options is not closed".into());
    }
    parts.push(text.get(begin..).unwrap_or_default());
    Ok(parts)
}

/// The text between quotation marks, where `\"` is one quotation mark.
fn unquote(value: &str) -> Result<String, String> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.filter(|inner| !inner.replace("\\\"", "").contains('"'));
    inner.map(|inner| inner.replace("\\\"", "\"")).ok_or_else(|| "the value of an option must stand in quotes".into())
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, in this machine's time zone, or with `Z` at the end in UTC.
fn expiry(text: &str) -> Result<Timestamp, String> {
    let wrong =
        || format!("expiry-time {} is no time: write YYYYMMDD or YYYYMMDDHHMM[SS], with Z for UTC", shown(text));
    let (digits, zone) = match text.strip_suffix('Z') {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(wrong());
    }
    let part = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), str::parse::<i8>).map_err(|_| wrong());
    let year = digits.get(..4).unwrap_or_default().parse().map_err(|_| wrong())?;
    let time = DateTime::new(year, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, 0)
        .map_err(|_| wrong())?;
    Ok(time.to_zoned(zone).map_err(|_| wrong())?.timestamp())
}

/// Where a key may be used from: addresses, networks and patterns with `*` and `?`, each perhaps excluded by `!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources(Vec<(bool, Source)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Network(Network),
    /// Compared with the address as text.
    Pattern(String),
}

impl Sources {
    fn read(list: &str) -> Result<Self, String> {
        let mut sources = Vec::new();
        for entry in list.split(',') {
            let (included, entry) = entry.strip_prefix('!').map_or((true, entry), |entry| (false, entry));
            let source = if let Ok(network) = entry.parse() {
                Source::Network(network)
            } else if !entry.is_empty() && entry.bytes().all(|byte| byte.is_ascii_hexdigit() || b".:*?".contains(&byte))
            {
                Source::Pattern(entry.to_ascii_lowercase())
            } else {
                return Err(format!(
                    "from={} cannot be honoured, because names of machines are not looked up: write addresses, networks \
                     as ADDRESS/BITS, or patterns of addresses",
                    shown(entry)
                ));
            };
            sources.push((included, source));
        }
        Ok(Self(sources))
    }

    /// True when some entry includes the address and none excludes it.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let text = address.to_string();
        let mut included = false;
        for (includes, source) in &self.0 {
            let hit = match source {
                Source::Network(network) => network.contains(address),
                Source::Pattern(pattern) => matches(pattern.as_bytes(), text.as_bytes()),
            };
            match (hit, includes) {
                (true, true) => included = true,
                (true, false) => return false,
                (false, _) => {}
            }
        }
        included
    }
}

/// `*` is any text, `?` any byte. Goes back to the last star only, so that it takes no more than the product of both
/// lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match (pattern.get(at), text.get(read)) {
            (Some(b'*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(b'?'), _) => (at, read) = (at + 1, read + 1),
            (Some(wanted), Some(found)) if wanted == found => (at, read) = (at + 1, read + 1),
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, read) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(list: &str, address: &str) -> bool {
        let options = Options::read(&format!("restrict,from=\"{list}\"")).expect("options");
        options.from.expect("sources").contain(address.parse().expect("an address"))
    }

    #[test]
    fn sources_include_and_exclude() {
        assert!(from("192.0.2.0/24", "192.0.2.7") && !from("192.0.2.0/24", "192.0.3.7"));
        assert!(from("10.0.0.0/8,!10.1.*", "10.2.0.1") && !from("10.0.0.0/8,!10.1.*", "10.1.0.1"));
        assert!(from("*,!::1", "127.0.0.1") && !from("*,!::1", "::1"));
        assert!(from("192.0.2.?", "::ffff:192.0.2.1") && !from("192.0.2.?", "192.0.2.11"));
        assert!(!from("!10.0.0.1", "10.0.0.2"), "nothing includes it");
        for wrong in ["build.example.org", "", "10.0.0.0/33", "10.0.0.1,"] {
            assert!(Options::read(&format!("from=\"{wrong}\"")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_of_each_length_and_zone() {
        let seconds = |text: &str| expiry(text).map(|time| time.as_second());
        assert_eq!(seconds("19700102Z"), Ok(86_400));
        assert_eq!(seconds("202402291200Z"), Ok(1_709_208_000));
        assert_eq!(seconds("20240229120001Z"), Ok(1_709_208_001));
        let local = TimeZone::system().to_timestamp(DateTime::constant(2030, 1, 1, 0, 0, 0, 0));
        assert_eq!(expiry("20300101").ok(), local.ok());
        for wrong in ["", "2024", "20240230Z", "2024-01-01", "20240101T000000Z", "+2024010Z", "99999999999999Z"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
        let both = Options::read("expiry-time=\"20400101Z\",expiry-time=\"20300101Z\"").expect("options");
        assert_eq!(both.expires, expiry("20300101Z").ok(), "the earliest counts");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for good in
            ["restrict,pty", "No-PTY", "environment=\"A=b,c\"", "permitopen=\"h:1\"", "command=\"a \\\"b\\\", c\""]
        {
            assert!(Options::read(good).is_ok(), "{good}");
        }
        for wrong in [
            "cert-authority",
            "principals=\"a\"",
            "verify-required",
            "command",
            "command=x",
            "no-pty=\"x\"",
            "new",
            ",",
        ] {
            assert!(Options::read(wrong).is_err(), "{wrong}");
        }
        assert!(Options::read("command=\"a").is_err() && Options::read("command=\"a\",command=\"b\"").is_err());
        let quoted = Options::read("command=\"say \\\"hi, you\\\"\"").expect("options");
        assert_eq!(quoted.command.as_deref(), Some("say \"hi, you\""));
    }

    proptest! {
        #[test]
        fn any_text_reads_or_is_refused(text in "\\PC{0,200}") {
            drop(Options::read(&text));
            if let Some(length) = length(&text) {
                prop_assert!(text.is_char_boundary(length));
            }
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[a-z \",=]{0,20}") {
            let text = format!("restrict,command=\"{}\"", value.replace('"', "\\\""));
            prop_assert_eq!(length(&format!("{text} rest")), Some(text.len()));
            prop_assert_eq!(Options::read(&text).expect("options").command, Some(value));
        }

        #[test]
        fn stars_match_as_a_plain_search_does(parts in prop::collection::vec("[ab]{0,3}", 1..4), text in "[ab]{0,12}") {
            // The pieces in order, the first at the beginning and the last at the end.
            fn search(parts: &[String], text: &str) -> bool {
                match parts {
                    [] => false,
                    [last] => text.is_empty() && last.is_empty() || text == last,
                    [first, rest @ ..] => text.strip_prefix(first.as_str()).is_some_and(|left| {
                        (0..=left.len()).any(|skip| search(rest, &left[skip..]))
                    }),
                }
            }
            prop_assert_eq!(matches(parts.join("*").as_bytes(), text.as_bytes()), search(&parts, &text));
        }
    }
}
