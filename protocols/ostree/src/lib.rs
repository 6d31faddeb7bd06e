//! OSTree repositories, as BuildStream 1 used them for its artifact cache: read over HTTP by any `ostree`, filled by
//! pushes over a pair of streams ([`receive()`]) or from a directory. Wire → verbs:
//!
//! | wire | verbs |
//! |---|---|
//! | GET `config` | `may` |
//! | GET `summary` | `list` of `ostree/<repo>/ref/`, and a rendering |
//! | GET `summary.sig`, `deltas/…`, `delta-indexes/…` | not offered: 404 |
//! | GET `refs/heads/<ref>` | `find` of `ostree/<repo>/ref/<ref>` |
//! | GET `objects/….commit`, `.dirtree`, `.dirmeta` | `has`, `read_small` |
//! | GET `objects/….commitmeta` | `find` of `ostree/<repo>/meta/<commit>.commitmeta`, `read` |
//! | GET `objects/….filez` | `find` of `memo/<hex>`, `read`; else `read` and a rendering, `upload`, `follow`, `bind` |
//! | push: info | `may`, `find` |
//! | push: update | `may`, `list`, `find` |
//! | push: an object | `put`, or `upload`, `append`, `commit` |
//! | push: done | `has`, `read_small`, `bind` of all refs at once |
//!
//! An object's checksum is the digest of its blob: a file is stored as its canonical content stream, and `.filez` is
//! what that looks like on its way (`object/file.rs`).

mod answer;
mod export;
mod filez;
pub mod gvariant;
mod import;
mod intake;
mod kinds;
mod memo;
pub mod object;
mod payload;
pub mod receive;
pub mod refs;
mod render;
mod serve;
mod speak;
mod summary;
mod walk;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use kernel::Hub;
use model::Kind;
use server::Protocol;

pub use export::{Exported, export};
pub use import::{Imported, import};
pub use kinds::{COMMIT, DIRMETA, DIRTREE, FILE};
pub use receive::{Ended, ReceiveOptions, receive};

use crate::render::Renderer;
use crate::serve::Shelf;
use crate::summary::Summaries;

/// A repository, and where it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The path of its address, such as `/artifacts`.
    pub path: String,
    /// The namespace that it lies in.
    pub namespace: String,
    /// Its name there: refs are bound as `ostree/<name>/ref/<ref>`.
    pub name: String,
}

/// The protocol.
#[derive(Clone, Debug, Default)]
pub struct Ostree {
    repositories: Vec<Repository>,
}

impl Ostree {
    /// Serves these repositories.
    #[must_use]
    pub fn new(repositories: Vec<Repository>) -> Self {
        Self { repositories }
    }
}

/// What OSTree's objects mean: the kinds 0x0301 and 0x0302; files and dirmetas need no reading.
#[must_use]
pub fn kinds() -> Vec<Box<dyn Kind>> {
    kinds::all()
}

impl Protocol for Ostree {
    fn name(&self) -> &'static str {
        "ostree"
    }

    fn kinds(&self) -> Vec<Box<dyn Kind>> {
        kinds::all()
    }

    fn prefixes(&self) -> Vec<String> {
        self.repositories.iter().map(|repository| repository.path.clone()).collect()
    }

    fn routes(self: Arc<Self>, hub: Hub) -> Router {
        let shelf = Arc::new(Shelf {
            renderer: Renderer::new(hub.clone()),
            hub,
            repositories: self.repositories.clone(),
            summaries: Summaries::default(),
        });
        Router::new().fallback(move |request: Request| Arc::clone(&shelf).answer(request))
    }
}
