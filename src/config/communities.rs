//! The communities file: YAML that maps aliases to settings.

mod labels;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use zeroize::Zeroizing;

use super::problem::{Location, Origin};
use super::variable::{self, RawConfig, VARIABLES, Variable};
use super::{Draft, Problems, community, value};
use crate::files::WatchedFiles;
use crate::text;
use crate::yaml::{self, Key, Node};

/// The largest file, in bytes. Ten thousand communities with every setting take half of it.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// The longest alias, in bytes. It becomes a label and part of addresses.
const MAX_ALIAS_LENGTH: usize = 64;

/// A community's settings.
type Settings = Vec<(Key, Node)>;

/// Reads the communities of the file at `path`, by alias; each mistake becomes a problem, with its line.
pub(super) fn read(path: &Path, files: &mut WatchedFiles, problems: &mut Problems) -> BTreeMap<String, Draft> {
    match value::secret_file(path, MAX_FILE_BYTES, files) {
        Ok(text) => parse(&text, path, files, problems),
        Err(reason) => {
            problems.report_without_example(&variable::COMMUNITIES_FILE, reason);
            BTreeMap::new()
        }
    }
}

/// Like [`read`], for the text of such a file at `path`, from whose folder relative paths start.
pub(super) fn parse(
    text: &str,
    path: &Path,
    files: &mut WatchedFiles,
    problems: &mut Problems,
) -> BTreeMap<String, Draft> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let path = &*path.to_string_lossy();
    let entries = entries(text).unwrap_or_else(|reason| {
        problems.report_other(path.to_owned(), reason);
        Vec::new()
    });
    let mut aliases = BTreeSet::new();
    let mut drafts = BTreeMap::new();
    for (key, node) in entries {
        let alias = key.text.unwrap_or_default();
        let location = location(path, &alias, key.line);
        if !is_alias(&alias) {
            let reason = "must be 1 to 64 letters, digits, dots, dashes or underscores";
            problems.report_other(location.of_alias(), reason);
        }
        if !aliases.insert(alias.clone()) {
            problems.report_other(location.of_alias(), "is given twice");
        }
        let settings = match node {
            Node::Mapping(settings) => settings,
            Node::Text(None) => Vec::new(),
            Node::Text(Some(_)) | Node::List(_) => {
                let reason = "must be followed by settings, a line each; for example: community_id: mycommunity";
                problems.report_other(location.of_alias(), reason);
                continue;
            }
        };
        if let Some(draft) = read_entry(location, folder, settings, files, problems) {
            drafts.insert(alias, draft);
        }
    }
    drafts
}

/// The aliases of a file, with what follows them.
fn entries(text: &str) -> Result<Vec<(Key, Node)>, String> {
    match yaml::parse(text) {
        Ok(Node::Mapping(entries)) if !entries.is_empty() => Ok(entries),
        Ok(Node::Mapping(_) | Node::Text(None)) => Err("contains no community".to_owned()),
        Ok(Node::Text(Some(_)) | Node::List(_)) => {
            Err("must map an alias to the settings of each community".to_owned())
        }
        Err(error) => Err(format!("cannot be read: {}", yaml::describe(&error))),
    }
}

/// Reads one community.
fn read_entry(
    mut location: Location,
    folder: &Path,
    mut settings: Settings,
    files: &mut WatchedFiles,
    problems: &mut Problems,
) -> Option<Draft> {
    let lines = settings
        .iter()
        .filter_map(|(key, _)| Some((key.text.clone()?, key.line)));
    location.lines = lines.collect();
    let mut own = Problems::of(Origin::File(location.clone()));
    let labels = labels::take(&mut settings, &location, &mut own);
    let raw = gather(settings, &location, &mut own);
    let mut draft = community::read(&raw, folder, files, &mut own);
    problems.list.append(&mut own.list);
    if let Some(draft) = &mut draft {
        draft.community.labels = labels;
    }
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
    for (Key { text: key, line }, node) in settings {
        let Some(key) = key else {
            problems.report_other(location.of_line(line), "has a setting whose name is not a text");
            continue;
        };
        let Some(variable) = variable::community_variables().find(|variable| variable.key == key) else {
            // The key itself is not shown: it could be a misplaced secret.
            problems.report_other(location.of_line(line), unknown_setting(&key, &node));
            continue;
        };
        if !keys.insert(variable.key) {
            problems.report_other(location.of_setting(&key), "is given twice");
        }
        let text = match flatten(variable, node) {
            Ok(text) => text,
            Err(reason) => {
                problems.report(variable, reason);
                // It is not missing.
                Some("odd".to_owned())
            }
        };
        // It may be the key.
        let text = Zeroizing::new(text.unwrap_or_default());
        let value = text::value(&text);
        if let Err(oddity) = value {
            problems.report_without_example(variable, oddity.to_string());
        }
        // Empty counts as not set, as in the environment.
        if value != Ok(None) {
            texts.insert(variable.name(), value.ok().flatten().unwrap_or(&text).to_owned());
        }
    }
    RawConfig::new(texts)
}

/// The text of a setting. A list becomes one as the variable has it, with commas.
fn flatten(variable: &Variable, node: Node) -> Result<Option<String>, String> {
    let lists = [
        &variable::SERVER_IDS,
        &variable::COLLECT,
        &variable::CALL_CODES,
        &variable::DEPARTMENTS,
    ];
    let is_list = lists.contains(&variable);
    let form = if is_list { "a text or a list" } else { "a text" };
    match node {
        Node::Text(text) => Ok(text),
        Node::List(items) if is_list => {
            let items = items.into_iter().map(|item| {
                let Node::Text(Some(text)) = item else {
                    return Err("contains an item that is neither a number nor a text".to_owned());
                };
                match text::value(&text) {
                    Ok(Some(value)) if value.contains(',') => {
                        Err("contains an item with a comma, which would divide it".to_owned())
                    }
                    Ok(value) => Ok(value.unwrap_or_default().to_owned()),
                    Err(oddity) => Err(format!("contains an item that {oddity}")),
                }
            });
            Ok(Some(items.collect::<Result<Vec<_>, _>>()?.join(",")))
        }
        Node::List(_) => Err(format!("must be {form}, not a list")),
        Node::Mapping(_) => Err(format!("must be {form}, not a mapping")),
    }
}

/// Why `key` cannot be a setting of a community.
fn unknown_setting(key: &str, value: &Node) -> String {
    if matches!(value, Node::Mapping(_)) {
        return "contains a mapping; the alias of a community must be at the start of its line".to_owned();
    }
    if let Some(variable) = VARIABLES.iter().find(|variable| variable.key == key) {
        return format!("has a setting of the whole program, which is {}", variable.name());
    }
    let known = || variable::community_variables();
    if let Some(variable) = variable::nearest(key, known()) {
        return format!("has a setting that does not exist; the nearest one is {}", variable.key);
    }
    let keys: Vec<_> = known().map(|variable| variable.key).chain([labels::KEY]).collect();
    format!("has a setting that does not exist; these do: {}", keys.join(", "))
}

fn is_alias(text: &str) -> bool {
    (1..=MAX_ALIAS_LENGTH).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}
