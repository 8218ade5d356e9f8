//! The labels of a community: what its targets have besides `community`, for the routing of alerts.

use std::collections::BTreeMap;

use crate::config::problem::{Location, Problems};
use crate::text;
use crate::yaml::{Key, Node};

/// The setting that contains them. It is none of the variables: the environment describes one community, whose labels
/// are in Prometheus' configuration.
pub(super) const KEY: &str = "labels";

/// The most labels of a community.
const MAX_LABELS: usize = 16;

/// The longest name or value, in bytes.
const MAX_LENGTH: usize = 128;

/// Labels that a target or a metric has already. Prometheus would rename those of the metrics, which breaks dashboards
/// and alerts.
const TAKEN: [&str; 20] = [
    "alertname",
    "api_endpoint",
    "api_version",
    "code",
    "community",
    "department",
    "discipline",
    "error",
    "field",
    "instance",
    "job",
    "kind",
    "le",
    "name",
    "origin",
    "priority",
    "revision",
    "server_id",
    "status",
    "version",
];

/// A community's settings.
type Settings = Vec<(Key, Node)>;

/// Removes the labels from the settings of a community, and checks them. No message quotes a name or a value: either may
/// be a misplaced secret.
pub(super) fn take(settings: &mut Settings, location: &Location, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let is_labels = |(key, _): &(Key, Node)| key.text.as_deref() == Some(KEY);
    let (taken, rest): (Settings, Settings) = std::mem::take(settings).into_iter().partition(is_labels);
    *settings = rest;
    if taken.len() > 1 {
        problems.report_other(location.of_setting(KEY), "is given twice");
    }
    for (Key { line, .. }, node) in taken {
        let entries = match node {
            Node::Mapping(entries) => entries,
            Node::Text(None) => continue,
            Node::Text(Some(_)) | Node::List(_) => {
                let reason = "must map names to texts; for example: {team: north}";
                problems.report_other(location.of_setting(KEY), reason);
                continue;
            }
        };
        if entries.len() > MAX_LABELS {
            problems.report_other(location.of_line(line), format!("has more than {MAX_LABELS} labels"));
        }
        for (Key { text: name, line }, node) in entries {
            let label = read(name.unwrap_or_default(), node);
            let is_new = |name: &String| !labels.contains_key(name);
            match label {
                Ok((name, Some(value))) if is_new(&name) => drop(labels.insert(name, value)),
                Ok((_, Some(_))) => problems.report_other(location.of_line(line), "has a label that is given twice"),
                // Empty counts as not set, as in Prometheus.
                Ok((_, None)) => {}
                Err(reason) => problems.report_other(location.of_line(line), format!("has a label {reason}")),
            }
        }
    }
    labels
}

/// A name and its value, `None` if it is empty; or what is wrong with them.
fn read(name: String, node: Node) -> Result<(String, Option<String>), String> {
    let is_word = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !(1..=MAX_LENGTH).contains(&name.len())
        || !is_word(&name)
        || name.starts_with(|first: char| first.is_ascii_digit())
    {
        return Err("whose name is not made of letters, digits and underscores, with a letter first".to_owned());
    }
    if name.starts_with("__") {
        return Err("whose name begins with two underscores, which Prometheus keeps for itself".to_owned());
    }
    if TAKEN.contains(&&*name) {
        return Err("whose name a target or a metric has already".to_owned());
    }
    let Node::Text(value) = node else {
        return Err("whose value is not a text".to_owned());
    };
    let value = value.unwrap_or_default();
    let value = text::value(&value).map_err(|oddity| format!("whose value {oddity}"))?;
    match value {
        Some(value) if value.len() > MAX_LENGTH => Err(format!("whose value has more than {MAX_LENGTH} bytes")),
        Some(value) if value.chars().any(char::is_control) => Err("whose value has more than one line".to_owned()),
        value => Ok((name, value.map(str::to_owned))),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse_communities;

    fn read(labels: &str) -> Result<Vec<(String, String)>, String> {
        let file = format!("a:\n  api_key: k\n  labels: {labels}\n");
        match parse_communities(&file) {
            Ok(mut communities) => Ok(communities.remove("a").unwrap().labels.into_iter().collect()),
            Err(problems) => Err(problems.to_string()),
        }
    }

    #[test]
    fn labels_are_read_as_they_are_written() {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("").unwrap(), []);
        assert_eq!(
            read("{team: north, tier_2: 007, _a: ' ä ', empty: , other: ''}").unwrap(),
            [label("_a", "ä"), label("team", "north"), label("tier_2", "007")]
        );
    }

    #[test]
    fn what_cannot_be_a_label_is_a_problem_and_is_not_quoted() {
        let long = "x".repeat(129);
        for (labels, reason) in [
            ("north", "must map names to texts"),
            ("[north]", "must map names to texts"),
            ("{secret-1: north}", "whose name is not made of letters"),
            ("{1secret: north}", "whose name is not made of letters"),
            ("{'': north}", "whose name is not made of letters"),
            ("{[secret]: north}", "whose name is not made of letters"),
            ("{__address__: secret}", "begins with two underscores"),
            ("{job: secret}", "a target or a metric has already"),
            ("{instance: secret}", "a target or a metric has already"),
            ("{community: secret}", "a target or a metric has already"),
            ("{priority: secret}", "a target or a metric has already"),
            ("{team: [secret]}", "whose value is not a text"),
            ("{team: {secret: 1}}", "whose value is not a text"),
            ("{team: \"secret\\nsecret\"}", "whose value has more than one line"),
            ("{team: '\"secret\"'}", "whose value has quotes around it"),
            ("{team: north, team: secret}", "a label that is given twice"),
            (&format!("{{team: {long}}}"), "whose value has more than 128 bytes"),
            (&format!("{{{long}: north}}"), "whose name is not made of letters"),
        ] {
            let message = read(labels).unwrap_err();
            assert!(
                message.contains(reason) && message.contains("line 3"),
                "{labels}: {message}"
            );
            assert!(
                !message.contains("secret") && !message.contains(&long),
                "{labels}: {message}"
            );
        }
        let many: Vec<_> = (0..17).map(|number| format!("l{number}: x")).collect();
        assert!(
            read(&format!("{{{}}}", many.join(", ")))
                .unwrap_err()
                .contains("more than 16 labels")
        );
        let twice = "{team: north}\n  labels: {team: south}";
        assert!(read(twice).unwrap_err().contains("labels is given twice"));
    }
}
