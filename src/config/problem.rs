//! What is wrong with the settings, all of it at once.

use std::fmt;

use super::variable::Variable;

/// Everything that is wrong with the settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub(super) Vec<Problem>);

/// One thing that is wrong: which setting, why, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) name: String,
    pub(super) reason: String,
    pub(super) example: Option<&'static str>,
}

impl Problems {
    /// Each problem; shown, it is one line.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Reads one setting, or its default; a text that cannot be read becomes a problem.
    pub(super) fn read<T>(
        &mut self,
        variable: &'static Variable,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        parse(text.or(variable.default)?.trim())
            .map_err(|reason| self.report(variable, reason))
            .ok()
    }

    pub(super) fn report(&mut self, variable: &'static Variable, reason: impl Into<String>) {
        self.add(variable.name(), reason, Some(variable.example));
    }

    pub(super) fn add(&mut self, name: String, reason: impl Into<String>, example: Option<&'static str>) {
        self.0.push(Problem {
            name,
            reason: reason.into(),
            example,
        });
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.reason)?;
        self.example
            .map_or(Ok(()), |example| write!(f, "; for example: {example}"))
    }
}
