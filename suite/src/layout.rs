//! Images made by tests: OCI image layouts (image specification, "OCI Image Layout") in directories of their own.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// An image's manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A list of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image's configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer without compression.
pub const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout that grows.
#[derive(Debug)]
pub struct Layout {
    directory: tempfile::TempDir,
}

/// A layer, and what its bytes are when they are unpacked.
#[derive(Clone, Debug)]
pub struct Layer {
    /// How a manifest names it.
    pub descriptor: Value,
    /// How a configuration names it.
    pub diff_id: String,
}

impl Layout {
    /// A layout without anything.
    ///
    /// # Panics
    /// When the files cannot be written; the others here too.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for algorithm in ["sha256", "sha512"] {
            fs::create_dir_all(directory.path().join("blobs").join(algorithm)).expect("a directory");
        }
        fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
        Self { directory }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the blob of a descriptor lies.
    #[must_use]
    pub fn file(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.path().join("blobs").join(digest.replacen(':', "/", 1))
    }

    /// Adds a blob, and says how it is named.
    pub fn blob(&self, media: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha256:{}", hex(&Sha256::digest(bytes)));
        self.named(media, digest, bytes)
    }

    /// The same under its SHA-512.
    pub fn blob512(&self, media: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha512:{}", hex(&Sha512::digest(bytes)));
        self.named(media, digest, bytes)
    }

    fn named(&self, media: &str, digest: String, bytes: &[u8]) -> Value {
        let descriptor = json!({ "mediaType": media, "digest": digest, "size": bytes.len() });
        fs::write(self.file(&descriptor), bytes).expect("a blob");
        descriptor
    }

    /// Adds a document.
    pub fn document(&self, media: &str, document: &Value) -> Value {
        self.blob(media, &serde_json::to_vec(document).expect("JSON"))
    }

    /// Adds a layer without compression that has one file.
    pub fn layer(&self, path: &str, mode: u32, content: &[u8]) -> Layer {
        self.packed(TAR, &tar(path, mode, content), |tar| tar.to_vec())
    }

    /// Adds a layer of a tar archive that is packed somehow.
    pub fn packed(&self, media: &str, tar: &[u8], pack: impl Fn(&[u8]) -> Vec<u8>) -> Layer {
        let diff_id = format!("sha256:{}", hex(&Sha256::digest(tar)));
        Layer { descriptor: self.blob(media, &pack(tar)), diff_id }
    }

    /// Adds a layer of one file of so many bytes: each mebibyte begins with 64 that are like no other, and the rest is
    /// a hole, so that a disk keeps little of it.
    pub fn large(&self, size: u64) -> Layer {
        const PIECE: u64 = 1 << 20;
        let place = self.path().join("large");
        let mut file = File::options().create_new(true).read(true).write(true).open(&place).expect("a file");
        file.write_all(&header("large", 0o644, size)).expect("a header");
        for piece in 0..size / PIECE {
            file.seek(SeekFrom::Start(512 + piece * PIECE)).expect("a place");
            file.write_all(hex(&Sha256::digest(piece.to_be_bytes())).as_bytes()).expect("some bytes");
        }
        // Filled up to a whole block, and two blocks of zeros at the end.
        file.set_len(512 + size.next_multiple_of(512) + 1024).expect("a length");
        file.rewind().expect("the begin");
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).expect("bytes") {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        let digest = format!("sha256:{}", hex(&hash.finalize()));
        let size = file.metadata().expect("a size").len();
        let descriptor = json!({ "mediaType": TAR, "digest": digest, "size": size });
        fs::rename(place, self.file(&descriptor)).expect("a name");
        Layer { descriptor, diff_id: digest }
    }

    /// Adds the configuration of an image for amd64 that runs a command.
    pub fn config(&self, layers: &[Layer], command: &[&str]) -> Value {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| &*layer.diff_id).collect();
        let document = json!({
            "architecture": "amd64", "os": "linux", "config": { "Cmd": command },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": layers.iter().map(|_| json!({ "created_by": "a test" })).collect::<Vec<_>>(),
        });
        self.document(CONFIG, &document)
    }

    /// Adds an image.
    pub fn image(&self, layers: &[Layer], command: &[&str]) -> Value {
        let document = self.manifest(&self.config(layers, command), layers);
        self.document(MANIFEST, &document)
    }

    /// A manifest that is not added yet.
    #[must_use]
    pub fn manifest(&self, config: &Value, layers: &[Layer]) -> Value {
        let layers: Vec<&Value> = layers.iter().map(|layer| &layer.descriptor).collect();
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
    }

    /// Adds an index of these.
    pub fn index(&self, manifests: &[Value]) -> Value {
        self.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
    }

    /// Says what the layout's name `1` is: only now programs can read it.
    #[must_use]
    pub fn tagged(self, root: &Value) -> Self {
        let mut root = root.clone();
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [root] });
        fs::write(self.path().join("index.json"), index.to_string()).expect("a file");
        self
    }

    /// The descriptor that [`Self::tagged`] named.
    #[must_use]
    pub fn root(&self) -> Value {
        let text = fs::read(self.path().join("index.json")).expect("an index");
        let mut root = serde_json::from_slice::<Value>(&text).expect("JSON")["manifests"][0].take();
        root.as_object_mut().expect("a descriptor").remove("annotations");
        root
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> String {
        self.root()["digest"].as_str().expect("a digest").to_owned()
    }

    /// Busybox, which says `it runs` and a word, in one layer.
    pub fn busybox(word: &str) -> Self {
        let layout = Self::new();
        let program = fs::read(crate::clients::program("busybox")).expect("busybox");
        let layers = [layout.layer("bin/busybox", 0o755, &program), layout.layer("word", 0o644, word.as_bytes())];
        let root = layout.image(&layers, &["/bin/busybox", "echo", "it runs", word]);
        layout.tagged(&root)
    }

    /// A small image with a file of its own.
    pub fn small(word: &str) -> Self {
        let layout = Self::new();
        let root = layout.image(&[layout.layer("word", 0o644, word.as_bytes())], &["/word"]);
        layout.tagged(&root)
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

/// A tar archive with one file (POSIX ustar).
#[must_use]
pub fn tar(path: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(path, mode, content.len() as u64).to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

fn header(path: &str, mode: u32, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    // The checksum is made with spaces in its own place.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
