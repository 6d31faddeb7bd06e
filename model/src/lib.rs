//! The nouns of Entrepot: values and the traits between the layers. No I/O happens here.
//!
//! A [`Blob`] is bytes named by their SHA-256. A [`Name`] points at a Blob and may move.
//! A lease says that a namespace holds a Blob. A [`Kind`] tells which Blobs a Blob needs.
//! A [`Store`] keeps bytes, a [`Catalog`] keeps what is known, an [`Upstream`] brings what we lack.

mod blob;
mod body;
mod catalog;
mod change;
mod error;
mod kind;
mod name;
mod store;
mod time;
mod upstream;

pub use blob::{Blob, Digest, Span};
pub use body::{Body, Chunks};
pub use catalog::{Catalog, Idle, LeaseRow, NameRow, NamespaceId, NamespaceRow, TokenRow, UploadRow};
pub use change::{Binding, Change, Child, Outcome, Place, When};
pub use error::{Error, Meaning, Result};
pub use kind::{Kind, KindId, Link, Need};
pub use name::{Name, Pointer, Retention};
pub use store::{Epoch, Location, Room, Stage, Store, View};
pub use time::Time;
pub use upstream::{Found, Resolved, Upstream};
