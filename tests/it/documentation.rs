//! The documentation: its tables match the program, its links lead somewhere, and the README stays short.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sonorancad_exporter::client::labels;
use sonorancad_exporter::config::{Config, Setting, VARIABLES, Variable};

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::Running;
use crate::support::program::{run, text};

pub(crate) const FRESHNESS: &str = include_str!("../../docs/freshness.md");
const README: &str = include_str!("../../README.md");
const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const METRICS: &str = include_str!("../../docs/metrics.md");

/// A newcomer reads it to the end.
const MAX_README_LINES: usize = 130;

#[track_caller]
fn assert_contains(page: &str, table: &str) {
    assert!(page.contains(table), "the page should contain this table:\n\n{table}");
}

#[test]
fn the_table_of_variables_matches_the_program() {
    let mut table = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for variable in VARIABLES {
        let default = variable.default.map_or(String::new(), |default| format!("`{default}`"));
        writeln!(table, "| `{}` | {default} | {} |", variable.name(), variable.help).unwrap();
    }
    assert_contains(CONFIGURATION, &table);
}

#[tokio::test]
async fn the_table_of_metrics_matches_the_program() {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(include_str!("../fixtures/busy_v2.json")));
    let variables = [
        ("SONORANCAD_API_VERSION", "v2"),
        ("SONORANCAD_SERVER_IDS", "1=Main"),
        ("SONORANCAD_COLLECT", "calls,units"),
        ("SONORANCAD_CALL_CODES", "10-31"),
        ("SONORANCAD_DEPARTMENTS", "LSPD"),
    ];
    let mut text = Running::start(&cad, &variables).scrape().await;
    // There is no store, but its family is there.
    let replica = Running::start(&cad, &[("SONORANCAD_SHARED_STATE_URL", "redis://127.0.0.1:1")]);
    for line in replica
        .scrape()
        .await
        .lines()
        .filter(|line| line.contains("sonorancad_shared_state_up"))
    {
        text.push_str(line);
        text.push('\n');
    }

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
    assert_contains(METRICS, &table);
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
fn the_table_of_commands_is_the_programs() {
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
            CONFIGURATION.contains(&format!("`sonorancad-exporter {name}`")),
            "docs/configuration.md should say what `{name}` does"
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

#[test]
fn the_readme_is_short_and_names_the_first_commands() {
    let lines = README.lines().count();
    assert!(lines <= MAX_README_LINES, "{lines} lines");
    for command in [
        "cargo test",
        "cargo run --release -- demo",
        "docker compose -f deploy/compose.yaml up -d",
    ] {
        assert!(README.contains(command), "{command}");
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of the documentation.
fn pages() -> Vec<PathBuf> {
    let folders = ["", "docs", "docs/deployment", "fuzz"];
    let entries = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// Where the links of a page lead, without those to other hosts and to pictures.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.split("](").skip(1);
    let links = ends.filter_map(|rest| rest.split(')').next());
    links.filter(|link| !link.starts_with("http"))
}

/// The anchors of a page, as GitHub makes them from its headings.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(file.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let target = std::fs::read_to_string(&file).unwrap();
                assert!(
                    anchors(&target).iter().any(|known| known == anchor),
                    "{}: {link}",
                    page.display()
                );
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count} links");
}

/// The words of a page that begin so, as far as `is_part` goes.
fn words<'page>(text: &'page str, start: &str, is_part: fn(char) -> bool) -> Vec<&'page str> {
    let words = text.split(|letter: char| !is_part(letter));
    words.filter(|word| word.starts_with(start)).collect()
}

#[test]
fn every_variable_that_a_page_names_exists() {
    let mut count = 0;
    let example = root().join("deploy/.env.example");
    for page in pages().into_iter().chain([example]) {
        // The changelog remembers what is gone.
        if page.ends_with("CHANGELOG.md") {
            continue;
        }
        let text = std::fs::read_to_string(&page).unwrap();
        let is_part = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        for name in words(&text, "SONORANCAD_", is_part) {
            let is_known = name == "SONORANCAD_" || VARIABLES.iter().any(|variable| variable.name() == name);
            assert!(is_known, "{}: {name}", page.display());
            count += 1;
        }
    }
    assert!(count > 60, "{count} names");
}

/// Files that the reader makes.
const OWN_FILES: [&str; 5] = [
    "deploy/.env",
    "deploy/alertmanager/discord-webhook",
    "deploy/alertmanager/local.yml",
    "deploy/prometheus/local",
    "deploy/prometheus/local/",
];

#[test]
fn every_file_that_a_page_names_exists() {
    let mut count = 0;
    for page in pages() {
        if page.ends_with("CHANGELOG.md") {
            continue;
        }
        let text = std::fs::read_to_string(&page).unwrap();
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "._/-*".contains(letter);
        for folder in ["deploy/", "dashboards/", "tests/", "src/"] {
            for name in words(&text, folder, is_part) {
                let name = name.trim_end_matches('.');
                // A pattern: what comes before it is a folder.
                let name = name.split('*').next().unwrap();
                assert!(
                    OWN_FILES.contains(&name) || root().join(name).exists(),
                    "{}: {name}",
                    page.display()
                );
                count += 1;
            }
        }
    }
    assert!(count > 60, "{count} names");
}
