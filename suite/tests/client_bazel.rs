//! Debian's Bazel (4.2.3, which speaks REAPI 2.0) with the hub as its remote cache.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use suite::clients::{Hub, installed, program};
use tempfile::{TempDir, tempdir};

/// Actions of the workspace.
const RULES: usize = 40;

/// A workspace, and the server of Bazel that belongs to it.
struct Workspace {
    directory: TempDir,
}

impl Workspace {
    /// Rules that need no toolchain, in chains of eight.
    fn new() -> Self {
        let directory = tempdir().expect("a directory");
        let mut rules = String::new();
        for rule in 0..RULES {
            let source = if rule % 8 == 0 { String::new() } else { format!("\"{}.txt\"", rule - 1) };
            writeln!(
                rules,
                "genrule(name = \"rule{rule}\", srcs = [{source}], outs = [\"{rule}.txt\"], cmd = \"cat $(SRCS) \
                 /dev/null > $@; echo {rule} >> $@\")"
            )
            .expect("a text takes more text");
        }
        std::fs::create_dir(directory.path().join("workspace")).expect("a directory");
        std::fs::write(directory.path().join("workspace/BUILD"), rules).expect("a file");
        std::fs::write(directory.path().join("workspace/WORKSPACE"), "").expect("a file");
        Self { directory }
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Runs Bazel with the words of a command line; what it says.
    fn bazel(&self, line: &str) -> String {
        let mut command = Command::new(program("bazel"));
        // Debian's own rc file says where its repositories are. The server ends by itself, should the test be killed.
        command.args(["--nohome_rc", "--max_idle_secs=60"]);
        command.arg(format!("--output_user_root={}", self.root().join("output").display()));
        command.args(line.split_whitespace()).current_dir(self.root().join("workspace")).stdin(Stdio::null());
        let done = command.output().expect("bazel runs");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "bazel {line}\n{said}");
        said
    }

    /// Builds all, and says how many actions ran and how many of them were cache hits.
    fn build(&self, hub: &Hub) -> (usize, usize) {
        let said = self.bazel(&format!("build --remote_cache=grpc://127.0.0.1:{} //:all", hub.port()));
        let last = std::fs::read_to_string(self.root().join("workspace/bazel-bin/7.txt")).expect("an output");
        assert_eq!(last, "0\n1\n2\n3\n4\n5\n6\n7\n");
        // "INFO: 41 processes: 40 remote cache hit, 1 internal."
        let line = said.lines().find(|line| line.contains(" processes: ")).expect("a summary of processes");
        let counts = line.split_once(": ").expect("a summary").1.replace(" processes: ", " all, ");
        let count = |what: &str| -> usize {
            let found = counts.split(", ").find_map(|part| part.trim_end_matches('.').strip_suffix(what));
            found.map_or(0, |number| number.trim().parse().expect("a number"))
        };
        (count("all") - count("internal"), count("remote cache hit"))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.bazel("shutdown");
        }
    }
}

#[test]
fn a_second_build_from_clean_hits_the_cache_after_a_restart() {
    if !installed(&["bazel"]) {
        return;
    }
    let (data, workspace) = (tempdir().expect("a directory"), Workspace::new());
    let mut hub = Hub::serve(data.path(), "");
    assert_eq!(workspace.build(&hub), (RULES, 0), "the first build");
    workspace.bazel("clean --expunge");
    hub.stop();
    let hub = Hub::serve_at(hub.port(), data.path(), "");
    let (ran, hits) = workspace.build(&hub);
    println!("bazel: {hits} of {ran} actions were remote cache hits");
    assert_eq!(ran, RULES);
    assert!(hits * 100 >= ran * 95, "{hits} hits in {ran} actions");
}
