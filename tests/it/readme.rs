//! The README's tables match the program.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sonorancad_exporter::client::labels;
use sonorancad_exporter::config::{Config, Setting, VARIABLES, Variable};

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::Running;
use crate::support::program::{run, text};

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

/// A variable that is in the table but not read would be accepted with any text.
#[test]
fn every_variable_is_read() {
    let least = [("SONORANCAD_COMMUNITY_ID", "x"), ("SONORANCAD_API_KEY", "y")];
    let is_refused = |variable: &&&Variable| {
        let nonsense = [(variable.name(), "\u{7f}?".to_owned())];
        let others = least.iter().filter(|(name, _)| *name != variable.name());
        let others = others.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let environment = others.chain(nonsense).map(|(name, text)| (name.into(), text.into()));
        Config::read(Setting::from_environment(environment)).is_err()
    };
    let unread: Vec<_> = VARIABLES
        .iter()
        .filter(|variable| !is_refused(variable))
        .map(|variable| variable.name())
        .collect();
    // Read as it is; the file is opened later.
    assert_eq!(unread, ["SONORANCAD_WEB_CONFIG_FILE"]);
}

#[test]
fn its_table_of_commands_is_the_programs() {
    let output = run(&["--help"], &[]);
    let help = text(&output.stdout);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let lines = commands.lines().take_while(|line| line.starts_with("  "));
    let names: Vec<_> = lines
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 4, "{help}");
    for name in names {
        assert!(
            README.contains(&format!("`sonorancad-exporter {name}`")),
            "the README should say what `{name}` does"
        );
    }
}

#[test]
fn the_runbook_says_what_to_do_about_each_error() {
    let runbook = include_str!("../../docs/runbook.md");
    let missing: Vec<_> = labels()
        .filter(|label| !runbook.contains(&format!("`{label}`")))
        .collect();
    assert_eq!(missing, [""; 0]);
}
