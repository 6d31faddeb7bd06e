//! A BuildStream project: elements as text, and a sandbox of busybox to build them in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::program;

/// What commands of elements may call.
const TOOLS: &str = "sh cat chmod cp date dd head ln mkdir od printf rm seq sleep tr true";

/// An element whose artifact has one of everything: its commands, and its tree.
const HELLO: &str = r##"mkdir -p "%{install-root}/empty-directory" "%{install-root}/a/b"
cd "%{install-root}"
printf 'one' > a/one
: > a/empty
printf '#!/bin/sh\n' > a/b/run
chmod 755 a/b/run
ln -s one a/link
dd if=/dev/zero bs=1000 count=300 | tr '\0' h > large"##;

/// A project in a directory of its own.
#[derive(Debug)]
pub struct Project {
    directory: tempfile::TempDir,
}

impl Project {
    /// A project without elements.
    pub fn new() -> Self {
        let project = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        project.configure("");
        project
    }

    /// A project with `hello.bst`, which is built in a sandbox, so that pulling it needs a download.
    pub fn hello() -> Self {
        let project = Self::new();
        project.sandbox();
        project.manual("hello.bst", HELLO);
        project
    }

    /// Adds `base.bst`: busybox under many names.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn sandbox(&self) {
        self.write("elements/base.bst", "kind: import\nsources:\n- kind: local\n  path: base\n");
        let programs = self.path().join("base/bin");
        std::fs::create_dir_all(&programs).expect("a directory");
        std::fs::copy(program("busybox"), programs.join("busybox")).expect("a copy of busybox");
        for tool in TOOLS.split_whitespace() {
            symlink("busybox", programs.join(tool)).expect("a link");
        }
    }

    /// Writes `project.conf` with these lines at its end.
    pub fn configure(&self, lines: &str) {
        self.write("project.conf", &format!("name: demo\nmin-version: 2.0\nelement-path: elements\n{lines}"));
    }

    /// Adds an element whose artifact is what the commands install.
    pub fn manual(&self, element: &str, commands: &str) {
        let mut text = "kind: manual\nbuild-depends:\n- base.bst\nconfig:\n  install-commands:\n  - |\n".to_owned();
        for line in commands.lines() {
            writeln!(text, "    {line}").expect("a text takes more text");
        }
        self.write(&format!("elements/{element}"), &text);
    }

    /// Adds an element whose artifact is one file of so many bytes that look random.
    pub fn sized(&self, element: &str, bytes: usize) {
        let directory = format!("files-{element}");
        self.write(
            &format!("elements/{element}"),
            &format!("kind: import\nsources:\n- kind: local\n  path: {directory}\n"),
        );
        let mut random = vec![0; bytes];
        rand::Rng::fill_bytes(&mut rand::rng(), &mut random);
        std::fs::create_dir_all(self.path().join(&directory)).expect("a directory");
        std::fs::write(self.path().join(directory).join(format!("{element}.bin")), random).expect("a file");
    }

    /// Writes a file of the project.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

/// What a checkout of `hello.bst` must be.
pub fn hello_tree() -> BTreeMap<String, String> {
    let large = "file 644 ae410a6425df720df39b4117216501e264a0247b6aeadbed1cdec809ffc2d2cc/300000";
    [
        ("a", "directory"),
        ("a/b", "directory"),
        ("a/b/run", r##"file 755 "#!/bin/sh\n""##),
        ("a/empty", r#"file 644 """#),
        ("a/link", "link to one"),
        ("a/one", r#"file 644 "one""#),
        ("empty-directory", "directory"),
        ("large", large),
    ]
    .map(|(path, what)| (path.into(), what.into()))
    .into()
}
