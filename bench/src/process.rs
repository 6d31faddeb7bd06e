//! What a process has used, from /proc (proc(5)).

use anyhow::Context;

/// A process that is watched.
pub(crate) struct Watched {
    pid: u32,
}

impl Watched {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// User and system time in seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).context("the server is gone")?;
        // The name may hold spaces; what follows the last parenthesis is numbers.
        let numbers = stat.rsplit_once(')').context("an unknown /proc/PID/stat")?.1;
        let ticks = |index: usize| -> anyhow::Result<f64> {
            Ok(numbers.split_whitespace().nth(index).context("a short /proc/PID/stat")?.parse()?)
        };
        #[expect(clippy::cast_precision_loss, reason = "a hundred, usually")]
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok((ticks(11)? + ticks(12)?) / per_second)
    }

    /// Resident memory that is not shared with files.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).context("the server is gone")?;
        let line = status.lines().find(|line| line.starts_with("RssAnon")).context("no RssAnon")?;
        let kib: f64 = line.split_whitespace().nth(1).context("an empty RssAnon")?.parse()?;
        Ok(kib / 1024.0)
    }
}
