//! Takes an `archive-z2` repository in from a directory. Each object is checked; each ref is bound once all of it is
//! here. What is here already is not read again, so that a broken import goes on where it stopped.

use std::path::{Path, PathBuf};

use kernel::Namespace;
use model::{Digest, Error, Meaning, Result, When};
use tokio::fs;

use crate::intake::Intake;
use crate::object::{Commit, Dirtree, LARGEST, ObjectName, Sort};
use crate::receive::{check_binding, detached};
use crate::{refs, walk};

/// Objects that are remembered as checked between refs: 40 bytes of memory each.
const REMEMBERED: usize = 4 << 20;
/// Files between two lines about what goes on.
const OFTEN: u64 = 10_000;

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Refs that are bound now.
    pub refs: usize,
    /// Refs that were bound to the same commit before.
    pub before: usize,
    /// Objects that were read and stored.
    pub objects: u64,
    /// Refs that were left out, and why.
    pub refused: Vec<(String, String)>,
}

/// Imports all refs below `refs/heads`. `say` is told how it goes, a line at a time.
///
/// # Errors
/// When the directory is no archive repository or cannot be read, or there is no room. What is wrong with one ref is
/// told in the answer, and the others are imported.
pub async fn import(
    namespace: &Namespace,
    repo: &str,
    from: &Path,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<Imported> {
    check_mode(from).await?;
    let found = list(from).await?;
    say(format!("{} refs in {}", found.len(), from.display()));
    let mut import =
        Import { from, intake: Intake::new(namespace.clone()), namespace, repo, done: Imported::default() };
    let all = found.len();
    for (number, name) in found.into_iter().enumerate() {
        match import.one(&name, say).await {
            Ok(()) => {}
            Err(error) if matches!(error.meaning(), Meaning::Full | Meaning::Denied | Meaning::Broken) => {
                return Err(error);
            }
            Err(error) => {
                say(format!("{name} is left out: {error}"));
                import.done.refused.push((name.clone(), error.to_string()));
            }
        }
        if (number + 1) % 100 == 0 || number + 1 == all {
            say(format!("{} of {all} refs, {} objects stored", number + 1, import.done.objects));
        }
        import.intake.forget(REMEMBERED);
    }
    Ok(import.done)
}

fn cannot_read(path: &Path, cause: std::io::Error) -> Error {
    let absent = cause.kind() == std::io::ErrorKind::NotFound;
    let text = format!("cannot read {}", path.display());
    if absent { Error::new(Meaning::Incomplete(Vec::new()), text).because(cause) } else { Error::io(text, cause) }
}

async fn check_mode(from: &Path) -> Result<()> {
    let path = from.join("config");
    let text = fs::read_to_string(&path).await.map_err(|cause| {
        Error::malformed(format!("{} is no OSTree repository: it has no readable config", from.display()))
            .because(cause)
    })?;
    let value = |line: &str| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "mode").then(|| value.trim().to_owned())
    };
    match text.lines().find_map(value).as_deref() {
        Some("archive-z2" | "archive") => Ok(()),
        other => Err(Error::unsupported(format!(
            "the repository {} has the mode {}: only archive-z2 can be imported. Make one of it with `ostree init \
             --mode=archive-z2 --repo=NEW` and `ostree pull-local --repo=NEW {}`",
            from.display(),
            other.unwrap_or("bare"),
            from.display()
        ))),
    }
}

/// The refs, as paths below `refs/heads`, in order.
async fn list(from: &Path) -> Result<Vec<String>> {
    let top = from.join("refs/heads");
    let (mut found, mut directories) = (Vec::new(), vec![String::new()]);
    while let Some(directory) = directories.pop() {
        let path = top.join(&directory);
        let mut entries = fs::read_dir(&path).await.map_err(|cause| cannot_read(&path, cause))?;
        while let Some(entry) = entries.next_entry().await.map_err(|cause| cannot_read(&path, cause))? {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let kind = entry.file_type().await.map_err(|cause| cannot_read(&path, cause))?;
            if kind.is_dir() { directories.push(name) } else { found.push(name) }
        }
    }
    found.sort();
    Ok(found)
}

struct Import<'a> {
    from: &'a Path,
    namespace: &'a Namespace,
    repo: &'a str,
    intake: Intake,
    done: Imported,
}

impl Import<'_> {
    async fn one(&mut self, name: &str, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        refs::check(name)?;
        let path = self.from.join("refs/heads").join(name);
        let text = fs::read_to_string(&path).await.map_err(|cause| cannot_read(&path, cause))?;
        let commit: Digest = text.trim_end_matches('\n').parse()?;
        if fs::try_exists(self.from.join(format!("state/{commit}.commitpartial"))).await.unwrap_or(false) {
            return Err(Error::malformed("its commit is marked as partial: objects of it are missing there"));
        }
        match self.namespace.find(&refs::name(self.repo, name)?).await {
            Ok(row) if row.pointer.blob.digest == commit => {
                self.done.before += 1;
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error),
        }
        self.bring(commit, say).await?;
        self.intake.finish().await?;
        let whole = walk::walk(self.namespace, commit, self.intake.taken()).await?;
        check_binding(name, &whole)?;
        let mut list = vec![(refs::name(self.repo, name)?, refs::pointer(whole.blob, &whole.commit), When::Always)];
        let meta = self.path(&commit, "commitmeta");
        if let Ok(bytes) = fs::read(&meta).await {
            list.push(detached(self.namespace, self.repo, whole.blob, bytes).await?);
        }
        self.namespace.bind(list).await?;
        self.done.refs += 1;
        Ok(())
    }

    /// Brings all that a commit reaches.
    async fn bring(&mut self, commit: Digest, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let bytes = self.metadata(ObjectName { digest: commit, sort: Sort::Commit }).await?;
        let root = Commit::read(&bytes)?;
        self.metadata(ObjectName { digest: root.meta, sort: Sort::Dirmeta }).await?;
        let mut trees = vec![root.tree];
        let mut seen = std::collections::HashSet::from([root.tree]);
        while let Some(tree) = trees.pop() {
            let tree = Dirtree::read(&self.metadata(ObjectName { digest: tree, sort: Sort::Dirtree }).await?)?;
            self.files(tree.files.into_iter().map(|(_, file)| file).collect(), say).await?;
            for (_, tree, meta) in tree.directories {
                if seen.insert(tree) {
                    trees.push(tree);
                }
                if self.intake.has(&meta).is_none() {
                    self.metadata(ObjectName { digest: meta, sort: Sort::Dirmeta }).await?;
                }
            }
        }
        Ok(())
    }

    fn path(&self, digest: &Digest, extension: &str) -> PathBuf {
        let hex = digest.to_string();
        self.from.join("objects").join(&hex[..2]).join(format!("{}.{extension}", &hex[2..]))
    }

    /// A metadata object from the directory, checked and stored.
    async fn metadata(&mut self, name: ObjectName) -> Result<Vec<u8>> {
        let path = self.path(&name.digest, name.sort.extension());
        let size = fs::metadata(&path).await.map_err(|cause| cannot_read(&path, cause))?.len();
        if size > LARGEST {
            return Err(Error::too_big(format!(
                "{} has {size} bytes, and at most {LARGEST} are taken",
                path.display()
            )));
        }
        let bytes = fs::read(&path).await.map_err(|cause| cannot_read(&path, cause))?;
        if self.intake.has(&name.digest).is_none() {
            self.intake.take(name, bytes.len() as u64, &mut &bytes[..]).await?;
            self.done.objects += 1;
        }
        Ok(bytes)
    }

    /// The files of a directory. Those that are here are only looked at.
    async fn files(&mut self, files: Vec<Digest>, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let here = self.namespace.has(&files).await?;
        for (digest, here) in files.into_iter().zip(here) {
            let name = ObjectName { digest, sort: Sort::File };
            if self.intake.has(&digest).is_some() {
                continue;
            }
            if here.is_some() && walk::check_file(self.namespace, digest).await.is_ok() {
                self.intake.note(name);
                continue;
            }
            let path = self.path(&digest, name.sort.extension());
            let mut file = fs::File::open(&path).await.map_err(|cause| cannot_read(&path, cause))?;
            let size = file.metadata().await.map_err(|cause| cannot_read(&path, cause))?.len();
            let taken = self.intake.take(name, size, &mut file).await;
            taken.map_err(|error| Error::new(error.meaning().clone(), format!("{}: {error}", path.display())))?;
            self.done.objects += 1;
            if self.done.objects.is_multiple_of(OFTEN) {
                say(format!("{} objects stored", self.done.objects));
            }
        }
        Ok(())
    }
}
