//! What the master says about a wait, for those who pass it on.

/// A reason why a framework gets no offers in a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitNote {
    /// A stable name for programs, such as `FILTER`.
    pub reason: Box<str>,
    /// A text for people.
    pub message: Box<str>,
}
