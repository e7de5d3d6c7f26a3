//! What happened, in a few readable lines on standard error.

/// Tells what happens, or keeps quiet.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Talk {
    /// Tells.
    Tell,
    /// Keeps quiet.
    Quiet,
}

impl Talk {
    /// Something was sent: what it was for, the request, and what came of it.
    pub(in crate::cli) fn sent(self, purpose: &str, request: &str, outcome: &str) {
        self.line(&format!("> {purpose:<6} {request:<22} {outcome}"));
    }

    /// The answer that counts.
    pub(in crate::cli) fn received(self, status: u16, outcome: &str) {
        self.line(format!("< {status:<6} {outcome}").trim_end());
    }

    /// Anything else worth knowing.
    pub(in crate::cli) fn note(self, text: &str) {
        self.line(&format!("* {text}"));
    }

    fn line(self, text: &str) {
        match self {
            Self::Tell => eprintln!("{text}"),
            Self::Quiet => {}
        }
    }
}
