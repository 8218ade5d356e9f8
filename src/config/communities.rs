//! The file of communities: YAML, from aliases to the settings of each.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::setting::Texts;
use super::variable::{self, VARIABLES, Variable};
use super::{Draft, Problem, Problems, read_community, value};
use crate::yaml::{self, Entries};

/// The settings that a community has; the others are the program's.
pub(super) static SETTINGS: [&Variable; 11] = [
    &variable::COMMUNITY_ID,
    // Before what its name begins with.
    &variable::API_KEY_FILE,
    &variable::API_KEY,
    &variable::SERVER_IDS,
    &variable::API_VERSION,
    &variable::API_URL,
    &variable::API_TIMEOUT,
    &variable::CACHE_TTL,
    &variable::MAX_STALE,
    &variable::REQUESTS_PER_MINUTE,
    &variable::ALLOW_HTTP,
];

/// The largest file: ten thousand communities take less than half of it.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The longest alias: it becomes a label and a part of addresses.
const MAX_ALIAS: usize = 64;

/// A community's settings. A text may be missing behind its key.
type Settings = Entries<Spanned<Option<String>>>;

/// Reads the communities of the file at `path`, by alias; all that is wrong becomes a problem, with its line.
pub(super) fn read(path: &str, problems: &mut Problems) -> BTreeMap<String, Draft> {
    match value::secret_file(path, MAX_FILE_BYTES) {
        Ok(text) => parse(&text, path, problems),
        Err(reason) => {
            problems.report(&variable::COMMUNITIES_FILE, reason);
            BTreeMap::new()
        }
    }
}

/// The same of the text of such a file, which is called `path`.
pub(super) fn parse(text: &str, path: &str, problems: &mut Problems) -> BTreeMap<String, Draft> {
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let entries: Entries<Settings> = match serde_saphyr::from_str_with_options(text, options) {
        Ok(entries) => entries,
        Err(error) => {
            let reason = format!("is not as it should be: {}", yaml::describe(&error));
            problems.add(path.to_owned(), reason, None);
            return BTreeMap::new();
        }
    };
    if entries.0.is_empty() {
        problems.add(path.to_owned(), "holds no community", None);
    }
    let mut aliases = BTreeSet::new();
    let mut drafts = BTreeMap::new();
    for (alias, settings) in entries.0 {
        let mut file = Place {
            path,
            alias: &alias.value,
            line: alias.referenced.line(),
            lines: BTreeMap::new(),
        };
        if !is_alias(&alias.value) {
            let reason = "must be 1 to 64 letters, digits, dots, dashes or underscores";
            problems.add(file.of_alias(), reason, None);
        }
        let mut own = Problems(Vec::new());
        let texts = file.gather(settings, problems);
        let draft = read_community(&texts, &mut own);
        problems.0.extend(own.0.into_iter().map(|problem| file.place(problem)));
        if !aliases.insert(alias.value.clone()) {
            problems.add(file.of_alias(), "is there twice", None);
        }
        if let Some(draft) = draft {
            drafts.insert(alias.value, draft);
        }
    }
    drafts
}

fn is_alias(text: &str) -> bool {
    (1..=MAX_ALIAS).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Where a community stands in the file.
struct Place<'a> {
    path: &'a str,
    alias: &'a str,
    line: u64,
    /// The line of each setting.
    lines: BTreeMap<String, u64>,
}

impl Place<'_> {
    fn of_alias(&self) -> String {
        format!("{}, line {}: {}", self.path, self.line, self.shown_alias())
    }

    fn of_setting(&self, key: &str) -> String {
        let line = self.lines.get(key).unwrap_or(&self.line);
        format!("{}, line {line}: {}: {key}", self.path, self.shown_alias())
    }

    /// The alias, unless it is none: it could be a key that has lost its place.
    fn shown_alias(&self) -> &str {
        if is_alias(self.alias) { self.alias } else { "the alias" }
    }

    /// The texts of the settings that exist, each once.
    fn gather(&mut self, settings: Settings, problems: &mut Problems) -> Texts {
        let mut texts = BTreeMap::new();
        for (key, text) in settings.0 {
            let line = key.referenced.line();
            let key = key.value;
            let is_new = self.lines.insert(key.clone(), line).is_none();
            let Some(variable) = SETTINGS.iter().find(|variable| variable.key() == key) else {
                let of_program = VARIABLES.iter().find(|variable| variable.key() == key);
                let reason = match of_program {
                    Some(variable) => format!("has a setting of the whole program, which is {}", variable.name()),
                    None => format!(
                        "has a setting that does not exist; the nearest one is {}",
                        variable::nearest(&key, &SETTINGS).key()
                    ),
                };
                // The key itself may be a secret that has lost its place.
                problems.add(
                    format!("{}, line {line}: {}", self.path, self.shown_alias()),
                    reason,
                    None,
                );
                continue;
            };
            if !is_new {
                problems.add(self.of_setting(&key), "is there twice", None);
            }
            match text.value {
                Some(text) if !text.is_empty() => drop(texts.insert(variable.name(), text)),
                _ => problems.add(self.of_setting(&key), "is empty", Some(variable.example)),
            }
        }
        Texts::new(texts)
    }

    /// A problem of a variable, as one of this file.
    fn place(&self, problem: Problem) -> Problem {
        let in_file = |text: String| {
            SETTINGS
                .iter()
                .fold(text, |text, variable| text.replace(&variable.name(), &variable.key()))
        };
        Problem {
            name: self.of_setting(&in_file(problem.name)),
            reason: in_file(problem.reason),
            example: problem.example,
        }
    }
}
