//! Who may do what. Grants are (namespace, name prefix, rights); [`crate::Hub::enter`] computes what a caller
//! has in a namespace, and every verb asserts one right before it looks at its arguments.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;
use std::sync::Arc;

use model::{Error, Name, Result};

/// A set of rights.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// None.
    pub const NONE: Self = Self(0);
    /// Find and list names; read what they point at.
    pub const READ: Self = Self(1);
    /// Bring blobs; bind names.
    pub const WRITE: Self = Self(2);
    /// Unbind names.
    pub const DELETE: Self = Self(4);
    /// Ask for any blob of the namespace by its digest alone, as REAPI callers do.
    pub const DIGEST: Self = Self(8);
    /// Look at and change what belongs to the hub: tokens, statistics, sweeps.
    pub const ADMIN: Self = Self(16);
    /// What a client that only pulls needs.
    pub const PULL: Self = Self(1 | 8);
    /// What a client that pushes needs.
    pub const PUSH: Self = Self(1 | 2 | 8);
    /// All.
    pub const ALL: Self = Self(31);

    const WORDS: [(&'static str, Self); 5] = [
        ("read", Self::READ),
        ("write", Self::WRITE),
        ("delete", Self::DELETE),
        ("digest", Self::DIGEST),
        ("admin", Self::ADMIN),
    ];

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True when all of `other` are in here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = Self::WORDS.iter().filter(|(_, right)| self.has(*right)).map(|(word, _)| *word).collect();
        f.write_str(&words.join(","))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl FromStr for Rights {
    type Err = Error;

    /// Words separated by commas; `pull`, `push` and `all` are short for the usual sets.
    fn from_str(text: &str) -> Result<Self> {
        let mut rights = Self::NONE;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let known = Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, right)| *right);
            rights = rights
                | match (known, word) {
                    (Some(right), _) => right,
                    (None, "pull") => Self::PULL,
                    (None, "push") => Self::PUSH,
                    (None, "all") => Self::ALL,
                    (None, other) => {
                        return Err(Error::malformed(format!(
                            "{other:?} is no right; the rights are read, write, delete, digest, admin, \
                             and pull, push, all for the usual sets"
                        )));
                    }
                };
        }
        Ok(rights)
    }
}

/// Rights on the names of a namespace that begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The namespace, or `*` for all.
    pub namespace: String,
    /// Names that begin with this; empty for all.
    pub prefix: String,
    /// What is granted.
    pub rights: Rights,
}

impl Grant {
    /// These rights everywhere.
    #[must_use]
    pub fn everywhere(rights: Rights) -> Self {
        Self { namespace: "*".into(), prefix: String::new(), rights }
    }

    fn covers(&self, namespace: &str) -> bool {
        self.namespace == "*" || self.namespace == namespace
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.rights, self.namespace, self.prefix)
    }
}

impl FromStr for Grant {
    type Err = Error;

    /// `RIGHTS[:NAMESPACE[:PREFIX]]`; the namespace is `*` and the prefix empty when they are left out.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, ':');
        let rights = parts.next().unwrap_or_default().parse()?;
        let namespace = parts.next().filter(|part| !part.is_empty()).unwrap_or("*").to_owned();
        Ok(Self { namespace, prefix: parts.next().unwrap_or_default().to_owned(), rights })
    }
}

/// Whoever asks, as the listener found out. Made only by `server/identity.rs` and the admin commands.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who, for the journal and the log: `anonymous`, `user:NAME`, `token:ID`, `cert:SUBJECT`, `admin`.
    pub who: Arc<str>,
    /// False for anonymous callers.
    pub known: bool,
    /// True where credentials could get more rights; decides between "who are you?" and "you may not".
    pub may_login: bool,
    /// What was granted.
    pub grants: Arc<[Grant]>,
}

impl Caller {
    /// A caller that was recognised.
    #[must_use]
    pub fn known(who: impl Into<Arc<str>>, grants: impl Into<Arc<[Grant]>>) -> Self {
        Self { who: who.into(), known: true, may_login: true, grants: grants.into() }
    }

    /// A caller that said nothing about itself.
    #[must_use]
    pub fn anonymous(grants: impl Into<Arc<[Grant]>>, may_login: bool) -> Self {
        Self { who: "anonymous".into(), known: false, may_login, grants: grants.into() }
    }
}

/// What one caller may do in one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    caller: Caller,
    grants: Vec<Grant>,
}

impl Granted {
    pub(crate) fn new(caller: &Caller, namespace: &str) -> Self {
        let grants = caller.grants.iter().filter(|grant| grant.covers(namespace)).cloned().collect();
        Self { caller: caller.clone(), grants }
    }

    /// What the hub does by itself, such as keeping what an upstream sent.
    pub(crate) fn own() -> Self {
        Self::new(&Caller::known("hub", vec![Grant::everywhere(Rights::ALL)]), "*")
    }

    pub(crate) fn who(&self) -> &str {
        &self.caller.who
    }

    /// Asserts a right that is not about one name. A right on some prefix suffices, except for `DIGEST`,
    /// which is its own right.
    pub(crate) fn assert(&self, right: Rights) -> Result<()> {
        self.answer(right, self.grants.iter().any(|grant| grant.rights.has(right)))
    }

    /// Asserts a right on one name.
    pub(crate) fn assert_on(&self, right: Rights, name: &Name) -> Result<()> {
        self.answer(right, self.on(right, name.as_str()))
    }

    /// True when the right covers all names that begin with `prefix`.
    pub(crate) fn on(&self, right: Rights, prefix: &str) -> bool {
        self.grants.iter().any(|grant| grant.rights.has(right) && prefix.starts_with(&grant.prefix))
    }

    /// An anonymous caller is asked who it is, whether or not the thing exists; a known one who may not even
    /// read is told that there is nothing; one who may read but not do this is told so.
    fn answer(&self, right: Rights, granted: bool) -> Result<()> {
        if granted {
            return Ok(());
        }
        let may_read = self.grants.iter().any(|grant| grant.rights.has(Rights::READ));
        let who = self.who();
        Err(if !self.caller.known && self.caller.may_login {
            Error::unauthenticated(format!("this needs the right to {right}: log in"))
        } else if self.caller.known && right == Rights::READ && !may_read {
            Error::absent("there is no such thing, or not for you")
        } else {
            Error::denied(format!("{who} may not {right} here"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Meaning;

    #[test]
    fn grants_are_read_as_they_are_printed() {
        for text in ["read,digest:main:", "read,write,delete,digest,admin:*:ac/"] {
            assert_eq!(text.parse::<Grant>().map(|grant| grant.to_string()).ok().as_deref(), Some(text));
        }
        assert_eq!("pull".parse::<Grant>().ok(), Some(Grant::everywhere(Rights::PULL)));
        assert!("fly".parse::<Grant>().is_err());
    }

    #[test]
    fn a_prefix_limits_names_but_not_the_kind_of_refusal() {
        let caller = Caller::known("token:x", vec!["read,write:main:ac/".parse().expect("a grant")]);
        let granted = Granted::new(&caller, "main");
        let name = |text: &str| Name::new(text).expect("a name");
        assert!(granted.assert_on(Rights::WRITE, &name("ac/1")).is_ok());
        assert_eq!(
            granted.assert_on(Rights::WRITE, &name("oci/1")).map_err(|error| error.meaning().clone()),
            Err(Meaning::Denied)
        );
        assert!(granted.assert(Rights::DIGEST).is_err(), "asking by digest is a right of its own");
        assert!(Granted::new(&caller, "other").assert(Rights::READ).is_err_and(|error| error.is_absent()));
    }

    #[test]
    fn anonymous_callers_learn_nothing() {
        let meaning = |may_login| {
            Granted::new(&Caller::anonymous(vec![], may_login), "main")
                .assert(Rights::WRITE)
                .map_err(|error| error.meaning().clone())
        };
        assert_eq!(meaning(true), Err(Meaning::Unauthenticated));
        assert_eq!(meaning(false), Err(Meaning::Denied));
    }
}
