//! The README's tables match the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sonorancad_exporter::config::VARIABLES;

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::Running;

pub(crate) const README: &str = include_str!("../../README.md");

#[track_caller]
fn assert_in_readme(table: &str) {
    assert!(README.contains(table), "the README should hold this table:\n\n{table}");
}

#[test]
fn the_table_of_variables_in_the_readme_matches_the_program() {
    let mut table = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for variable in VARIABLES {
        let default = variable.default.map_or(String::new(), |default| format!("`{default}`"));
        writeln!(table, "| `{}` | {default} | {} |", variable.name(), variable.help).unwrap();
    }
    assert_in_readme(&table);
}

#[tokio::test]
async fn the_table_of_metrics_in_the_readme_matches_the_program() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(include_str!("../fixtures/busy_v2.json")));
    let variables = [("SONORANCAD_API_VERSION", "v2"), ("SONORANCAD_SERVER_IDS", "1=Main")];
    let text = Running::start(&cad, &variables).scrape().await;

    // Names of labels, by family, as the samples have them.
    let mut labels: BTreeMap<&str, String> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let name = name
            .trim_end_matches("_bucket")
            .trim_end_matches("_sum")
            .trim_end_matches("_count");
        let names = rest
            .split("\",")
            .filter_map(|label| Some(label.split_once("=\"")?.0))
            .filter(|label| *label != "le");
        labels.insert(
            name,
            names.map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", "),
        );
    }
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let kind = lines.next().unwrap().rsplit(' ').next().unwrap();
        writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels[name]).unwrap();
    }
    assert_in_readme(&table);
}
