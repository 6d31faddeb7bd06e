//! A directory as text, to compare what was pulled with what was built.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Files up to this many bytes are shown, all others are hashed.
const SHOWN: usize = 100;

/// Every path below a directory, with what is there: kind, mode, contents or target.
///
/// # Panics
/// When it cannot be read.
pub fn tree(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(directory, "", &mut found);
    found
}

fn walk(directory: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let name = format!("{prefix}{name}");
        let kind = path.symlink_metadata().expect("metadata");
        let what = if kind.is_symlink() {
            format!("link to {}", std::fs::read_link(&path).expect("a link").display())
        } else if kind.is_dir() {
            walk(&path, &format!("{name}/"), found);
            "directory".into()
        } else {
            format!("file {:o} {}", kind.permissions().mode() & 0o777, contents(&path))
        };
        found.insert(name, what);
    }
}

fn contents(path: &Path) -> String {
    let bytes = std::fs::read(path).expect("a file");
    if bytes.len() <= SHOWN {
        return format!("{:?}", String::from_utf8_lossy(&bytes));
    }
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hash}/{}", bytes.len())
}
