//! What is found while a web configuration is read.

/// What is wrong with it, and what is accepted but may surprise.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Each keeps the file from being used.
    pub(super) problems: Vec<String>,
    /// Each is logged whenever the file is read.
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// The outcome of a step, if it has one; else its error becomes a problem.
    pub(super) fn keep<T>(&mut self, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|problem| self.problem(problem)).ok()
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}
