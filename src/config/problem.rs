//! What is wrong with the settings, all of it at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::variable::Variable;

/// Everything that is wrong with the settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems {
    pub(super) list: Vec<Problem>,
    /// Where the settings come from that are being read.
    origin: Origin,
    /// Whether no setting names a community.
    pub(super) is_unconfigured: bool,
}

/// One thing that is wrong: which setting, why, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    subject: Subject,
    reason: Reason,
    /// How the names in subject and reason are spelled.
    origin: Origin,
    example: Option<&'static str>,
}

/// What a problem is about.
#[derive(Debug, PartialEq, Eq)]
enum Subject {
    Variable(&'static Variable),
    /// Anything else, by a name that the user knows.
    Other(String),
}

/// Where settings come from, which decides how their names are spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The environment, and the flags that were given, by the short names of their variables.
    Environment(BTreeMap<&'static str, &'static str>),
    /// One community of the communities file.
    File(Location),
}

/// Where a community is in the communities file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) path: String,
    /// The alias as messages show it.
    pub(super) alias: String,
    pub(super) line: u64,
    /// The line of each of its settings.
    pub(super) lines: BTreeMap<String, u64>,
}

/// Why something is wrong: a sentence without its subject, which may mention other variables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Cow<'static, str>),
    Variable(&'static Variable),
}

impl Problems {
    /// No problems yet, of settings that come from `origin`.
    pub(super) fn of(origin: Origin) -> Self {
        Self {
            list: Vec::new(),
            origin,
            is_unconfigured: false,
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Each problem; its `Display` is one line.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Where to begin, if nothing is configured.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.is_unconfigured.then_some(
            "The community's id and the API key are in the CAD, under Admin > Advanced > In-Game Integration > Web API. \
             To look around without them, run: sonorancad-exporter demo",
        )
    }

    /// Reads one setting, or its default. A text that cannot be read becomes a problem; one that is a problem already
    /// is not read.
    pub(super) fn read<T, E: Into<Reason>>(
        &mut self,
        variable: &'static Variable,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if self.has(variable) {
            return None;
        }
        parse(text.or(variable.default)?)
            .map_err(|reason| self.report(variable, reason))
            .ok()
    }

    /// Adds a problem of a variable, with an example of a good value.
    pub(super) fn report(&mut self, variable: &'static Variable, reason: impl Into<Reason>) {
        self.add(Subject::Variable(variable), reason.into(), Some(variable.example));
    }

    /// Adds a problem of a variable that a better value would not solve.
    pub(super) fn report_without_example(&mut self, variable: &'static Variable, reason: impl Into<Reason>) {
        self.add(Subject::Variable(variable), reason.into(), None);
    }

    /// Adds the problem that both a variable and the one that names a file with its value are set.
    pub(super) fn report_both(&mut self, variable: &'static Variable, file: &'static Variable) {
        let reason = Reason::from("and ")
            .variable(file)
            .text(" are both set; keep one of them");
        self.report_without_example(variable, reason);
    }

    /// Adds a problem of something that is not a variable.
    pub(super) fn report_other(&mut self, name: String, reason: impl Into<Reason>) {
        self.add(Subject::Other(name), reason.into(), None);
    }

    /// Whether a problem of this variable is known. There is never a second one: it would follow from the first.
    fn has(&self, variable: &'static Variable) -> bool {
        self.list
            .iter()
            .any(|problem| problem.subject == Subject::Variable(variable) && problem.origin == self.origin)
    }

    fn add(&mut self, subject: Subject, reason: Reason, example: Option<&'static str>) {
        if let Subject::Variable(variable) = subject
            && self.has(variable)
        {
            return;
        }
        self.list.push(Problem {
            subject,
            reason,
            origin: self.origin.clone(),
            example,
        });
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self::Environment(BTreeMap::new())
    }
}

impl Origin {
    fn name(&self, variable: &Variable) -> String {
        match self {
            Self::Environment(flags) => flags
                .get(variable.short)
                .map_or_else(|| variable.name(), |&flag| flag.to_owned()),
            Self::File(_) => variable.key.to_owned(),
        }
    }
}

impl Location {
    /// The alias and its line.
    pub(super) fn of_alias(&self) -> String {
        self.of_line(self.line)
    }

    /// The alias with the line of one of its settings.
    pub(super) fn of_line(&self, line: u64) -> String {
        format!("{}, line {line}: {}", self.path, self.alias)
    }

    /// A setting with its line, or the alias's if it is missing.
    pub(super) fn of_setting(&self, key: &str) -> String {
        let line = *self.lines.get(key).unwrap_or(&self.line);
        format!("{}: {key}", self.of_line(line))
    }
}

impl Reason {
    /// Continues with the name of a variable.
    pub(super) fn variable(mut self, variable: &'static Variable) -> Self {
        self.0.push(Part::Variable(variable));
        self
    }

    /// Continues with a text.
    pub(super) fn text(mut self, text: &'static str) -> Self {
        self.0.push(Part::Text(text.into()));
        self
    }
}

impl<T: Into<Cow<'static, str>>> From<T> for Reason {
    fn from(text: T) -> Self {
        Self(vec![Part::Text(text.into())])
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.list.iter().try_for_each(|problem| write!(f, "\n  {problem}"))?;
        self.hint().map_or(Ok(()), |hint| write!(f, "\n{hint}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.subject, &self.origin) {
            (Subject::Variable(variable), Origin::File(location)) => f.write_str(&location.of_setting(variable.key))?,
            (Subject::Variable(variable), origin) => f.write_str(&origin.name(variable))?,
            (Subject::Other(name), _) => f.write_str(name)?,
        }
        f.write_str(" ")?;
        for part in &self.reason.0 {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Variable(variable) => f.write_str(&self.origin.name(variable))?,
            }
        }
        self.example
            .map_or(Ok(()), |example| write!(f, "; for example: {example}"))
    }
}
