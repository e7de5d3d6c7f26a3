//! Processes under test: what they cost, read from `/proc`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process that lives as long as this value.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program, with its output in a file at `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S], log: &Path) -> Self {
        let output = File::create(log).expect("a file for the output");
        let errors = output.try_clone().expect("the same file once more");
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors);
        Self(command.spawn().expect("the program starts"))
    }

    /// The CPU time that its threads have used, in nanoseconds resolution; right when they are at rest.
    pub(crate) fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0.id())).expect("the process lives");
        threads.filter_map(|thread| cpu(&thread.ok()?.path())).sum()
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> usize {
        resident_kib(&self.0.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The CPU time of all processes of one name that live, of each its first thread.
pub(crate) fn cpu_of_all(name: &str) -> Duration {
    let processes = fs::read_dir("/proc").expect("processes");
    let of_that_name = processes.filter_map(|process| {
        let path = process.ok()?.path();
        (fs::read_to_string(path.join("comm")).ok()?.trim_end() == name).then(|| cpu(&path))?
    });
    of_that_name.sum()
}

/// The CPU time of a thread, by its folder in `/proc`; `None` if it has ended.
fn cpu(folder: &Path) -> Option<Duration> {
    let text = fs::read_to_string(folder.join("schedstat")).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The resident memory of a process, by its id or `self`, in KiB.
pub(crate) fn resident_kib(process: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line about resident memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}
