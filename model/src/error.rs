//! The closed set of errors, by meaning: what should the other side do?

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Digest;

/// Result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error means to the one who asked. Each protocol maps these, exhaustively, to its own codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is not there. Ask elsewhere, or make it.
    Absent,
    /// Blobs that must be there first are not (at most a few hundred are listed). Send them, then ask again.
    Incomplete(Vec<Digest>),
    /// We do not know who you are. Say who; the text tells how.
    Unauthenticated,
    /// We know who you are and you may not.
    Denied,
    /// The request makes no sense. Correct it.
    Malformed,
    /// The range lies outside the bytes.
    OutOfRange,
    /// We do not do that.
    Unsupported,
    /// The bytes are not the ones that were announced. Send the right ones.
    Mismatch,
    /// Somebody else was first, or the state is another. Look again, then decide.
    Conflict,
    /// Larger than this can ever be.
    TooBig,
    /// No room: quota or disk.
    Full,
    /// Too much at once. Try again after this time.
    Busy(Duration),
    /// Somebody upstream of us failed.
    Upstream,
    /// We had the bytes and they are damaged. Bring them again.
    Lost,
    /// Our fault.
    Broken,
}

/// An error: its meaning, what we were doing, and the cause. Cheap to clone, because a group commit
/// may have to tell the same failure to many.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    meaning: Meaning,
    text: Cow<'static, str>,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

macro_rules! by_meaning {
    ($($(#[$doc:meta])* $name:ident => $meaning:expr;)*) => {
        impl Error {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(text: impl Into<Cow<'static, str>>) -> Self {
                Self::new($meaning, text)
            })*
        }
    };
}

by_meaning! {
    /// It is not there.
    absent => Meaning::Absent;
    /// We do not know who asks.
    unauthenticated => Meaning::Unauthenticated;
    /// The caller may not.
    denied => Meaning::Denied;
    /// The request makes no sense.
    malformed => Meaning::Malformed;
    /// The range lies outside the bytes.
    out_of_range => Meaning::OutOfRange;
    /// We do not do that.
    unsupported => Meaning::Unsupported;
    /// The caller's bytes are not what was announced.
    mismatch => Meaning::Mismatch;
    /// Somebody else was first.
    conflict => Meaning::Conflict;
    /// Larger than this can ever be.
    too_big => Meaning::TooBig;
    /// Quota or disk has no room.
    full => Meaning::Full;
    /// Somebody upstream failed.
    upstream => Meaning::Upstream;
    /// Our bytes are damaged.
    lost => Meaning::Lost;
    /// Our fault.
    broken => Meaning::Broken;
    /// Too much at once; a second is a polite time to wait.
    busy => Meaning::Busy(Duration::from_secs(1));
}

impl Error {
    /// An error of this meaning; `text` says what was wrong and, where there is something, what to do next.
    #[must_use]
    pub fn new(meaning: Meaning, text: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { meaning, text: text.into(), cause: None }))
    }

    /// These blobs have to be there first.
    #[must_use]
    pub fn incomplete(missing: Vec<Digest>) -> Self {
        let first = missing.first().map(ToString::to_string).unwrap_or_default();
        let text =
            format!("{} blobs that this needs are not here (the first: {first}): upload them first", missing.len());
        Self::new(Meaning::Incomplete(missing), text)
    }

    /// Our own failure with its cause; a full disk becomes `Full`.
    #[must_use]
    pub fn io(doing: impl Into<Cow<'static, str>>, cause: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let meaning = match cause.kind() {
            StorageFull | QuotaExceeded => Meaning::Full,
            _ => Meaning::Broken,
        };
        Self::new(meaning, doing).because(cause)
    }

    /// Attaches the cause.
    #[must_use]
    pub fn because(self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::new(Inner { meaning: self.0.meaning.clone(), text: self.0.text.clone(), cause: Some(cause.into()) }))
    }

    /// What it means to the one who asked.
    #[must_use]
    pub fn meaning(&self) -> &Meaning {
        &self.0.meaning
    }

    /// What was wrong, without causes: safe to show to a client.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// True when the meaning is `Absent`.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self.meaning(), Meaning::Absent)
    }

    /// True when the meaning is `Full`.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.meaning(), Meaning::Full)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        let mut cause: Option<&dyn std::error::Error> = self.0.cause.as_ref().map(|cause| &**cause as _);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.meaning)
    }
}

// No `source`: what is printed has the causes in it, and whoever walks the chain would print them twice.
impl std::error::Error for Error {}
