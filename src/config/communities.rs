//! The communities file: YAML that maps aliases to settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

use super::problem::{Location, Origin};
use super::variable::{self, RawConfig, VARIABLES};
use super::{Draft, Problems, read_community, value};
use crate::text;
use crate::yaml::{self, Entries};

/// The largest file, in bytes. Ten thousand communities take less than half of it.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The longest alias, in bytes. It becomes a label and part of addresses.
const MAX_ALIAS_LENGTH: usize = 64;

/// A community's settings. A key may have no value.
type Settings = Entries<Spanned<Option<String>>>;

/// Reads the communities of the file at `path`, by alias; each mistake becomes a problem, with its line.
pub(super) fn read(path: &Path, problems: &mut Problems) -> BTreeMap<String, Draft> {
    match value::secret_file(path, MAX_FILE_BYTES) {
        Ok(text) => parse(&text, path, problems),
        Err(reason) => {
            problems.report_without_example(&variable::COMMUNITIES_FILE, reason);
            BTreeMap::new()
        }
    }
}

/// Like [`read`], for the text of such a file at `path`, from whose folder relative paths start.
pub(super) fn parse(text: &str, path: &Path, problems: &mut Problems) -> BTreeMap<String, Draft> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let path = &*path.to_string_lossy();
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let entries: Entries<Settings> = match serde_saphyr::from_str_with_options(text, options) {
        Ok(entries) => entries,
        Err(error) => {
            let reason = format!("is not as it should be: {}", yaml::describe(&error));
            problems.report_other(path.to_owned(), reason);
            return BTreeMap::new();
        }
    };
    if entries.0.is_empty() {
        problems.report_other(path.to_owned(), "contains no community");
    }
    let mut aliases = BTreeSet::new();
    let mut drafts = BTreeMap::new();
    for (alias, settings) in entries.0 {
        let line = alias.referenced.line();
        let alias = alias.value;
        if !is_alias(&alias) {
            let reason = "must be 1 to 64 letters, digits, dots, dashes or underscores";
            problems.report_other(location(path, &alias, line).of_alias(), reason);
        }
        let draft = read_entry(location(path, &alias, line), folder, settings, problems);
        if !aliases.insert(alias.clone()) {
            problems.report_other(location(path, &alias, line).of_alias(), "is given twice");
        }
        if let Some(draft) = draft {
            drafts.insert(alias, draft);
        }
    }
    drafts
}

/// Reads one community.
fn read_entry(mut location: Location, folder: &Path, settings: Settings, problems: &mut Problems) -> Option<Draft> {
    let lines = settings
        .0
        .iter()
        .map(|(key, _)| (key.value.clone(), key.referenced.line()));
    location.lines = lines.collect();
    let mut own = Problems::of(Origin::File(location.clone()));
    let raw = gather(settings, &location, &mut own);
    let draft = read_community(&raw, folder, &mut own);
    problems.list.append(&mut own.list);
    draft
}

fn location(path: &str, alias: &str, line: u64) -> Location {
    // An invalid alias is not shown: it could be a misplaced key.
    let alias = if is_alias(alias) { alias } else { "the alias" };
    Location {
        path: path.to_owned(),
        alias: alias.to_owned(),
        line,
        lines: BTreeMap::new(),
    }
}

/// Collects the texts of the settings that exist, each once.
fn gather(settings: Settings, location: &Location, problems: &mut Problems) -> RawConfig {
    let mut keys = BTreeSet::new();
    let mut texts = BTreeMap::new();
    for (key, text) in settings.0 {
        let line = key.referenced.line();
        let key = key.value;
        let Some(variable) = variable::community_variables().find(|variable| variable.key == key) else {
            // The key itself is not shown: it could be a misplaced secret.
            problems.report_other(location.of_line(line), unknown_setting(&key));
            continue;
        };
        if !keys.insert(variable.key) {
            problems.report_other(location.of_setting(&key), "is given twice");
        }
        let text = text.value.unwrap_or_default();
        let value = text::value(&text);
        if let Err(oddity) = value {
            problems.report_without_example(variable, oddity.to_string());
        }
        if value != Ok(None) {
            // Even if it is odd: it is not missing.
            texts.insert(variable.name(), value.ok().flatten().unwrap_or(&text).to_owned());
        }
    }
    RawConfig::new(texts)
}

/// Why `key` cannot be a setting of a community.
fn unknown_setting(key: &str) -> String {
    match VARIABLES.iter().find(|variable| variable.key == key) {
        Some(variable) => format!("has a setting of the whole program, which is {}", variable.name()),
        None => format!(
            "has a setting that does not exist; the nearest one is {}",
            variable::nearest(key, variable::community_variables()).key
        ),
    }
}

fn is_alias(text: &str) -> bool {
    (1..=MAX_ALIAS_LENGTH).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}
