//! Writes a repository as an `archive-z2` directory that `ostree` and any web server can use. Objects that lie there
//! already are left as they are, so that a second export brings only what is new.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use kernel::{Hub, Namespace};
use model::{Blob, Body, Digest, Error, Meaning, Result};
use tokio::task::spawn_blocking;

use crate::object::{Commit, Dirtree, ObjectName, Sort};
use crate::render::{self, Renderer};
use crate::serve::CONFIG;
use crate::walk::read_all;
use crate::{Repository, payload, refs, summary};

/// What `ostree init --mode=archive-z2` makes.
const DIRECTORIES: [&str; 8] =
    ["objects", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp/cache", "extensions", "tmp/entrepot"];

/// What came of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Refs that were written.
    pub refs: usize,
    /// Objects that were written.
    pub objects: u64,
    /// Refs that were left out, and why.
    pub refused: Vec<(String, String)>,
}

/// Exports all refs. `say` is told how it goes, a line at a time.
///
/// # Errors
/// When the directory cannot be written. What is wrong with one ref is told in the answer, and the others are
/// exported.
pub async fn export(
    hub: &Hub,
    namespace: &Namespace,
    repository: &Repository,
    to: &Path,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<Exported> {
    let Repository { name: repo, namespace: space, .. } = repository;
    let at = to.to_owned();
    on_disk(move || make(&at)).await?;
    let renderer = Renderer::new(hub.clone());
    let mut export = Export { namespace, space, to, renderer, written: HashSet::new(), done: Exported::default() };
    let all = summary::list(namespace, repo).await?;
    let mut bound: Vec<(String, Digest)> = Vec::new();
    for (name, row) in &all {
        let blob = row.pointer.blob;
        match export.commit(repo, blob).await {
            Ok(()) => bound.push((name.clone(), blob.digest)),
            Err(error) if matches!(error.meaning(), Meaning::Full | Meaning::Denied | Meaning::Broken) => {
                return Err(error);
            }
            Err(error) => {
                say(format!("{name} is left out: {error}"));
                export.done.refused.push((name.clone(), error.to_string()));
            }
        }
        say(format!("{name}: {} objects written", export.done.objects));
    }
    // Objects before refs, refs before the summary.
    let at = to.to_owned();
    on_disk(move || sync(&at)).await?;
    for (name, commit) in &bound {
        let path = format!("refs/heads/{name}");
        match export.write(&path, Body::Bytes(format!("{commit}\n").into()), true).await {
            Ok(_) => export.done.refs += 1,
            // A ref that is a directory of another, which only a file system minds.
            Err(error) => export.done.refused.push((name.clone(), error.to_string())),
        }
    }
    let (mut rows, written) = (all, bound.iter().map(|(name, _)| name).collect::<HashSet<_>>());
    rows.retain(|(name, _)| written.contains(name));
    export.write("summary", Body::Bytes(summary::render(rows).bytes), true).await?;
    let at = to.to_owned();
    on_disk(move || {
        // A signature of another summary would hide this one.
        drop(std::fs::remove_file(at.join("summary.sig")));
        drop(std::fs::remove_dir(at.join("tmp/entrepot")));
        sync(&at)
    })
    .await?;
    Ok(export.done)
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|cause| Error::broken("write a repository").because(cause))?
}

fn cannot_write(path: &Path, cause: std::io::Error) -> Error {
    Error::io(format!("cannot write {}", path.display()), cause)
}

fn make(to: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        let path = to.join(directory);
        std::fs::create_dir_all(&path).map_err(|cause| cannot_write(&path, cause))?;
    }
    let config = to.join("config");
    match std::fs::read_to_string(&config) {
        Ok(text) if text.contains("mode=archive") => Ok(()),
        Ok(_) => Err(Error::unsupported(format!("{} is a repository of another mode than archive-z2", to.display()))),
        Err(_) => std::fs::write(&config, CONFIG).map_err(|cause| cannot_write(&config, cause)),
    }
}

fn sync(to: &Path) -> Result<()> {
    let directory = std::fs::File::open(to).map_err(|cause| cannot_write(to, cause))?;
    rustix::fs::syncfs(directory).map_err(|cause| cannot_write(to, cause.into()))
}

struct Export<'a> {
    namespace: &'a Namespace,
    space: &'a str,
    to: &'a Path,
    renderer: Renderer,
    /// Trees and commits that are there with all below them, and leaves that are there.
    written: HashSet<(Digest, Sort)>,
    done: Exported,
}

impl Export<'_> {
    /// Writes a commit, after all that it needs.
    async fn commit(&mut self, repo: &str, blob: Blob) -> Result<()> {
        let name = ObjectName { digest: blob.digest, sort: Sort::Commit };
        if self.written.contains(&(name.digest, name.sort)) {
            return Ok(());
        }
        let bytes = self.read(name).await?;
        let commit = Commit::read(&bytes)?;
        let mut metadata = vec![ObjectName { digest: commit.meta, sort: Sort::Dirmeta }];
        let mut trees = vec![commit.tree];
        while let Some(digest) = trees.pop() {
            let name = ObjectName { digest, sort: Sort::Dirtree };
            if !self.written.insert((digest, Sort::Dirtree)) {
                continue;
            }
            let bytes = self.read(name).await?;
            let tree = Dirtree::read(&bytes)?;
            for (_, file) in tree.files {
                self.file(ObjectName { digest: file, sort: Sort::File }).await?;
            }
            for (_, tree, meta) in tree.directories {
                trees.push(tree);
                metadata.push(ObjectName { digest: meta, sort: Sort::Dirmeta });
            }
            self.object(name, Body::Bytes(bytes)).await?;
        }
        for name in metadata {
            if self.written.insert((name.digest, name.sort)) {
                let bytes = self.read(name).await?;
                self.object(name, Body::Bytes(bytes)).await?;
            }
        }
        if let Ok(row) = self.namespace.find(&refs::meta_name(repo, &blob.digest, "commitmeta")?).await {
            let (_, body) = self.namespace.read(row.pointer.blob.digest, 0, None).await?;
            let path = format!("objects/{}", name.path().replace(".commit", ".commitmeta"));
            self.write(&path, body, true).await?;
        }
        self.object(name, Body::Bytes(bytes)).await?;
        self.written.insert((name.digest, name.sort));
        Ok(())
    }

    async fn read(&self, name: ObjectName) -> Result<bytes::Bytes> {
        let read = read_all(self.namespace, &[name]).await?.pop();
        read.map(|(_, bytes)| bytes).ok_or_else(|| Error::absent(format!("{name} is not here")))
    }

    async fn file(&mut self, name: ObjectName) -> Result<()> {
        if !self.written.insert((name.digest, name.sort)) || self.is_there(&name).await? {
            return Ok(());
        }
        let filez = self.renderer.render(self.namespace, self.space, name.digest).await?;
        let body = render::body(self.namespace, filez).await?;
        self.object(name, body).await
    }

    async fn is_there(&self, name: &ObjectName) -> Result<bool> {
        let path = self.to.join("objects").join(name.path());
        tokio::fs::try_exists(&path).await.map_err(|cause| cannot_write(&path, cause))
    }

    async fn object(&mut self, name: ObjectName, body: Body) -> Result<()> {
        if self.write(&format!("objects/{}", name.path()), body, false).await? {
            self.done.objects += 1;
        }
        Ok(())
    }

    /// Writes a file aside and moves it to its place. `false` when one is there that is not to be replaced.
    async fn write(&self, path: &str, body: Body, replace: bool) -> Result<bool> {
        let (path, aside) = (self.to.join(path), self.to.join("tmp/entrepot/writing"));
        if !replace && tokio::fs::try_exists(&path).await.map_err(|cause| cannot_write(&path, cause))? {
            return Ok(false);
        }
        let (sender, receiver) = std::sync::mpsc::sync_channel::<bytes::Bytes>(2);
        let target: (PathBuf, PathBuf) = (path.clone(), aside);
        let writing = spawn_blocking(move || write_down(&target.1, receiver).map(|()| target.1));
        let mut pieces = payload::pieces(body);
        while let Some(piece) = pieces.try_next().await? {
            let sender = sender.clone();
            // The queue is short, and waiting in it must not hold a thread of the runtime.
            if !matches!(spawn_blocking(move || sender.send(piece)).await, Ok(Ok(()))) {
                break;
            }
        }
        drop(sender);
        let aside = writing.await.map_err(|cause| Error::broken("write a repository").because(cause))??;
        on_disk(move || {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory).map_err(|cause| cannot_write(directory, cause))?;
            }
            std::fs::rename(&aside, &path).map_err(|cause| cannot_write(&path, cause))
        })
        .await?;
        Ok(true)
    }
}

fn write_down(path: &Path, pieces: std::sync::mpsc::Receiver<bytes::Bytes>) -> Result<()> {
    let mut file = std::fs::File::create(path).map_err(|cause| cannot_write(path, cause))?;
    for piece in pieces {
        file.write_all(&piece).map_err(|cause| cannot_write(path, cause))?;
    }
    Ok(())
}
