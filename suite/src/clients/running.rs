//! A program that runs beside a test. It ends with the test, and what it wrote is shown when the test fails.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

/// A child process.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Running {
    /// Starts it; its output goes into a file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let log = NamedTempFile::new().expect("a log file");
        let output = || Stdio::from(File::options().append(true).open(log.path()).expect("the log file"));
        let child = command.stdin(Stdio::null()).stdout(output()).stderr(output()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.into(), child, log }
    }

    /// What it wrote so far.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log.path()).expect("the log")).into_owned()
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Panics
    /// When the system does not do that.
    pub fn kill(&mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("the end of a child");
    }

    /// Asks it to end, and waits until it did.
    ///
    /// # Panics
    /// When the system does not do that.
    pub fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a signal");
        self.child.wait().expect("the end of a child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            println!("--- {} wrote:\n{}---", self.name, self.log());
        }
    }
}
