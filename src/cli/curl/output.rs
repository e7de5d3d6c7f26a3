//! The answer, by curl's flags.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Args;
use reqwest::Response;

use crate::cli::client::Talk;

/// Flags with the names and meanings they have in curl.
#[derive(Debug, Args)]
pub(super) struct OutputOptions {
    /// Write the status and the headers of the answer before its body
    #[arg(short, long)]
    include: bool,
    /// Write the body to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say nothing on standard error
    #[arg(short, long, conflicts_with = "verbose")]
    silent: bool,
    /// Show the headers of the answer on standard error
    #[arg(short, long)]
    verbose: bool,
}

/// Why an answer was not written.
pub(super) enum WriteError {
    /// It did not arrive whole.
    Read(reqwest::Error),
    /// It could not be written.
    Write(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl OutputOptions {
    /// Whether to tell what happens.
    pub(super) fn talk(&self) -> Talk {
        if self.silent { Talk::Quiet } else { Talk::Tell }
    }

    /// Writes the answer as it arrives.
    pub(super) async fn write(&self, mut response: Response) -> Result<(), WriteError> {
        if self.verbose {
            write_head(&mut io::stderr().lock(), &response, "< ")?;
        }
        let mut out: Box<dyn Write> = match &self.output {
            Some(path) => Box::new(std::fs::File::create(path)?),
            None => Box::new(io::stdout()),
        };
        if self.include {
            write_head(&mut out, &response, "")?;
            out.write_all(b"\r\n")?;
        }
        let mut last = b'\n';
        while let Some(chunk) = response.chunk().await.map_err(WriteError::Read)? {
            out.write_all(&chunk)?;
            out.flush()?;
            last = chunk.last().copied().unwrap_or(last);
        }
        // A prompt belongs on a line of its own. Files and pipes get the body as it is.
        if last != b'\n' && self.output.is_none() && io::stdout().is_terminal() {
            writeln!(out)?;
        }
        Ok(())
    }
}

fn write_head(out: &mut dyn Write, response: &Response, mark: &str) -> io::Result<()> {
    write!(out, "{mark}{:?} {}\r\n", response.version(), response.status())?;
    for (name, value) in response.headers() {
        write!(out, "{mark}{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(())
}
