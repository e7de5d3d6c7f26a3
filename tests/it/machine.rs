//! Somebody's machine with a home of its own, where the program runs, and what it says there.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a process may take for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A machine with a home, where the program runs.
pub struct Machine {
    pub home: TempDir,
}

/// What a command said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Machine {
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("tmp")).expect("a directory");
        Self { home }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("XDG_STATE_HOME", self.home.path())
            .env("TMPDIR", self.path("tmp"))
            .env("NO_COLOR", "1")
            .env_remove("TOLLGATE_CONFIG")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        let output = timeout(PATIENCE, self.command(arguments).output()).await.expect("an end in time");
        Said::of(&output.expect("the program starts"))
    }

    /// The command lines of processes that still work with files of this machine: an Envoy that outlived its demo.
    pub fn processes(&self) -> Vec<String> {
        let home = self.home.path().to_string_lossy().into_owned();
        let lines = fs::read_dir("/proc").expect("processes").flatten().filter_map(|process| {
            let line = fs::read(process.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(&home)).collect()
    }

    /// The files that are left in the state directory and among the temporary files.
    pub fn left(&self) -> Vec<PathBuf> {
        let files =
            |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path());
        files(self.path("tollgate")).chain(files(self.path("tmp"))).collect()
    }
}

impl Said {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn expect(self, code: i32, texts: &[&str]) -> Self {
        let all = unwrapped(&format!("{}\n{}", self.out, self.err));
        assert_eq!(self.code, code, "{all}");
        for text in texts {
            assert!(all.contains(text), "no `{text}` in:\n{all}");
        }
        self
    }
}

/// The text without the line breaks of reports, which fall where the terminal ends.
fn unwrapped(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches('│').trim_start());
    lines.collect::<Vec<_>>().join(" ").replace("  ", " ")
}

/// A program that goes on until it is told to stop.
pub struct Running {
    process: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self { process, lines }
    }

    /// What it says, up to a line that holds `text`.
    pub async fn until(&mut self, text: &str) -> String {
        read_until(&mut self.lines, text).await
    }

    /// The number of its process.
    pub fn id(&self) -> String {
        self.process.id().expect("it runs").to_string()
    }

    /// Tells it to stop, as a terminal or an orchestrator does, and waits for its end.
    pub async fn stop(mut self, signal: &str) -> i32 {
        let told = Command::new("kill").args([signal, &self.id()]).status().await.expect("kill starts");
        assert!(told.success());
        let ended = timeout(PATIENCE, self.process.wait()).await.expect("an end in time");
        ended.expect("an end").code().expect("an exit code")
    }
}

pub async fn read_until<R: AsyncRead + Unpin>(lines: &mut tokio::io::Lines<BufReader<R>>, text: &str) -> String {
    let reading = async {
        let mut said = String::new();
        loop {
            let line = lines.next_line().await.expect("text").unwrap_or_else(|| panic!("it ended after:\n{said}"));
            said.push_str(&line);
            said.push('\n');
            if line.contains(text) {
                return said;
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("it never said `{text}`"))
}

/// What stands between two texts.
#[track_caller]
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let begin = text.find(before).unwrap_or_else(|| panic!("no `{before}` in:\n{text}")) + before.len();
    text[begin..].split(after).next().expect("there is always a first part")
}
