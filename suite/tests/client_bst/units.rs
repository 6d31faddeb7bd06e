//! Both systemd units of the seed document.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use suite::clients::{
    BUILDSTREAM, Hub, Keys, Machine, PULL_UNIT, PUSH_UNIT, Project, Remote, entrepot, free_port, installed, program,
    until,
};
use tempfile::{TempDir, tempdir};

use crate::stage::{pull_hello, push_hello};

/// `/usr/local/bin` of a machine on which `bst-artifact-server` was installed.
fn programs() -> TempDir {
    let directory = tempdir().expect("a directory");
    std::os::unix::fs::symlink(entrepot(), directory.path().join("bst-artifact-server")).expect("a link");
    directory
}

/// A command that sees these programs in `/usr/local/bin`.
fn with(programs: &TempDir) -> Command {
    let mut command = Command::new(program("bwrap"));
    command.args(["--die-with-parent", "--dev-bind", "/", "/", "--ro-bind"]).arg(programs.path());
    command.arg("/usr/local/bin");
    command
}

fn filled(unit: &str, keys: &Keys, data: &Path) -> String {
    unit.replace("{{certs_path}}", &keys.path().display().to_string())
        .replace("{{artifacts_path}}", &data.display().to_string())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_seed_s_units() {
    if !installed(&["systemd-analyze", "bwrap", "openssl"]) {
        return;
    }
    let (data, keys, programs) = (tempdir().expect("a directory"), Keys::new().authorized(), programs());
    let mut verify = with(&programs);
    verify.arg(program("systemd-analyze")).arg("verify");
    for (name, unit) in [("bst-artifact-serve", PULL_UNIT), ("bst-artifact-serve-receive", PUSH_UNIT)] {
        let file = keys.path().join(format!("{name}.service"));
        std::fs::write(&file, filled(unit, &keys, data.path())).expect("a unit");
        verify.arg(file);
    }
    let done = verify.output().expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_exec_start_lines_of_the_seed_s_units_serve_one_directory() {
    if !installed(BUILDSTREAM) {
        return;
    }
    let (data, keys, programs) = (tempdir().expect("a directory"), Keys::new().authorized(), programs());
    let run = |unit: &str, told: &str| {
        let unit = filled(unit, &keys, data.path());
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("an ExecStart line");
        let port = free_port();
        assert!(line.contains(told), "{line}");
        let line = line.replace(told, &format!("--port {port}"));
        Hub::start(port, with(&programs).env("LC_ALL", "C.UTF-8").args(line.split_whitespace()))
    };
    let public = run(PULL_UNIT, "--port 11001");
    let private = run(PUSH_UNIT, "--port 11002");
    for hub in [&public, &private] {
        until("the journal shows that it serves", Duration::from_secs(10), || hub.log().contains("serves"));
        assert_eq!(hub.log().lines().count(), 1, "{}", hub.log());
    }
    let project = Project::hello();
    let builder = Machine::new("");
    builder.bst(&project, "build hello.bst").ok();
    push_hello(&builder, &project, &Remote::at(private.secure_url()).trusting(&keys).showing(&keys));
    pull_hello(&project, &Remote::at(public.secure_url()).trusting(&keys));
}
