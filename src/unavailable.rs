//! The one answer of dependencies that do not answer.

/// Something that we depend on could not answer: nobody's doing, worth a retry. 503 with `Retry-After`.
///
/// The cause is logged where it was met; nothing of it reaches a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unavailable {
    /// The store or guard did not answer, or answered something that we do not understand.
    #[error("a dependency does not answer")]
    Down,
    /// A bound was reached; live records are never dropped to make room.
    #[error("a bound was reached")]
    Full,
    /// Whoever asked had stopped waiting, so nothing was asked of a dependency and nothing was spent.
    #[error("the time for an answer was over")]
    Late,
}
