//! `entrepot pack`: a directory becomes a layer and the `layer.json` that adds it to images.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use image::{Compression, ContentDigest, ExtraLayer, LayerFile, Member, Node, Packing, Recipe};

/// Deepest directory that is looked into: no path that Linux takes has more parts.
const DEEPEST: usize = 2048;

/// What to pack, and what else images get.
#[derive(Debug, clap::Args)]
pub(crate) struct Pack {
    /// The directory whose content becomes the layer; its own name does not matter
    directory: PathBuf,
    /// Where `layers/layer.tar`, `layers/layer.tar.gzip` and `layers/layer.json` are written
    #[arg(long, short, value_name = "DIR", default_value = "pack")]
    output: PathBuf,
    /// How the layer is compressed
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Kind::Gzip)]
    compression: Kind,
    /// How hard: gzip 0 to 9, zstd 1 to 22
    #[arg(long, value_name = "LEVEL")]
    level: Option<u32>,
    /// The new entry point; once for each of its words
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// The new command; once for each of its words
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    cmd: Vec<String>,
    /// A variable; as often as needed
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    env: Vec<String>,
    /// The new working directory
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,
    /// A label; as often as needed
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    label: Vec<String>,
}

/// The compressions that engines read.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Gzip,
    Zstd,
}

impl Pack {
    /// Packs, and says what was made. What was there of an earlier run is replaced, file by file, `layer.json` last.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (compression, suffix) = match self.compression {
            Kind::Gzip => (Compression::Gzip, "gzip"),
            Kind::Zstd => (Compression::Zstd, "zstd"),
        };
        let moment = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}: write whole seconds"))?,
            Err(_) => 0,
        };
        let layers = self.output.join("layers");
        fs::create_dir_all(&layers).with_context(|| format!("{} cannot be made", layers.display()))?;
        let members = found(&self.directory, &self.output)?;
        let mut labels = BTreeMap::new();
        for label in &self.label {
            let Some((name, value)) = label.split_once('=') else { bail!("--label {label}: write NAME=VALUE") };
            labels.insert(name.to_owned(), value.to_owned());
        }
        let tar = Staged::make(&layers, "layer.tar")?;
        let packed = Staged::make(&layers, &format!("layer.tar.{suffix}"))?;
        let from = |member: &Member| File::open(self.directory.join(&member.path));
        let how = Packing { compression, level: self.level, moment };
        let done = image::pack(members, from, &tar.file, &packed.file, how)?;
        let digest = |blob: model::Blob| ContentDigest::from(blob.digest).to_string();
        let layer = ExtraLayer {
            location: format!("layer.tar.{suffix}"),
            gzip_digest: digest(done.packed),
            gzip_size: Some(done.packed.size),
            tar_digest: digest(done.tar),
            media_type: match compression {
                Compression::Gzip => None,
                other => Some(other.media_type(false).to_owned()),
            },
            ..ExtraLayer::default()
        };
        let recipe = Recipe {
            entrypoint: self.entrypoint,
            cmd: self.cmd,
            env: self.env,
            working_dir: self.workdir,
            layers: vec![layer],
            labels,
        };
        recipe.check()?;
        let json = Staged::make(&layers, "layer.json")?;
        (&json.file).write_all(LayerFile { recipe }.write()?.as_bytes()).context("layer.json cannot be written")?;
        tar.keep()?;
        packed.keep()?;
        json.keep()?;
        let text = format!(
            "{}: {} files, {} bytes packed as {}\n",
            layers.join("layer.json").display(),
            done.members,
            done.packed.size,
            digest(done.packed)
        );
        drop(std::io::stdout().write_all(text.as_bytes()));
        Ok(())
    }
}

/// A file that gets its name when it is whole; without [`Staged::keep`] it goes.
struct Staged {
    file: File,
    temporary: PathBuf,
    name: PathBuf,
}

impl Staged {
    fn make(directory: &Path, name: &str) -> anyhow::Result<Self> {
        let temporary = directory.join(format!(".{name}.{}", std::process::id()));
        let file = File::create(&temporary).with_context(|| format!("{} cannot be written", temporary.display()))?;
        Ok(Self { file, temporary, name: directory.join(name) })
    }

    fn keep(self) -> anyhow::Result<()> {
        let doing = || format!("{} cannot be written", self.name.display());
        self.file.sync_all().with_context(doing)?;
        fs::rename(&self.temporary, &self.name).with_context(doing)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename it is not there any more.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// What is in the directory, without what this program writes there.
fn found(directory: &Path, output: &Path) -> anyhow::Result<Vec<Member>> {
    let written = [output.to_owned(), output.join("layers")].map(fs::canonicalize);
    let written: Vec<PathBuf> = written.into_iter().flatten().filter(|path| !is_same(path, directory)).collect();
    let mut members = Vec::new();
    walk(directory, "", &written, &mut members)?;
    Ok(members)
}

fn is_same(canonical: &Path, other: &Path) -> bool {
    other.canonicalize().is_ok_and(|other| other == canonical)
}

fn walk(directory: &Path, below: &str, without: &[PathBuf], members: &mut Vec<Member>) -> anyhow::Result<()> {
    let doing = || format!("{} cannot be read", directory.display());
    if below.matches('/').count() > DEEPEST {
        bail!("{}: directories are nested too deep", directory.display());
    }
    for entry in fs::read_dir(directory).with_context(doing)? {
        let path = entry.with_context(doing)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            bail!("{}: a name in an image has to be UTF-8: rename the file", path.display());
        };
        let inside = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let metadata = path.symlink_metadata().with_context(|| format!("{} cannot be read", path.display()))?;
        let (kind, mode) = (metadata.file_type(), metadata.permissions().mode() & 0o7777);
        if kind.is_dir() {
            if without.iter().any(|without| is_same(without, &path)) {
                continue;
            }
            members.push(Member { path: inside.clone(), mode, node: Node::Directory });
            walk(&path, &inside, without, members)?;
        } else if kind.is_file() {
            members.push(Member { path: inside, mode, node: Node::File(metadata.len()) });
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            let Ok(target) = target.into_os_string().into_string() else {
                bail!("{}: it links to a name that is not UTF-8", path.display());
            };
            members.push(Member { path: inside, mode: 0o777, node: Node::Link(target) });
        } else {
            bail!("{}: only files, directories and symbolic links can be packed: remove it", path.display());
        }
    }
    Ok(())
}
