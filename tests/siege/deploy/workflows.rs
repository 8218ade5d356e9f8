//! The workflows of GitHub: what they check, what they may do, and when a release is refused.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::tempdir;

use super::{path, run, texts, yaml};
use crate::support::program::text;
use crate::support::tools::has;

const WORKFLOWS: [&str; 2] = [".github/workflows/ci.yml", ".github/workflows/release.yml"];

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

#[test]
fn linters_accept_the_workflows() {
    // The second finds mistakes in the scripts, for the first.
    if has("actionlint", &["-version"]) && has("shellcheck", &["--version"]) {
        assert_eq!(run("actionlint", &WORKFLOWS), "");
    }
    if has("zizmor", &["--version"]) {
        let arguments = ["--offline", "--quiet", "--min-severity=medium", ".github"];
        run("zizmor", &arguments);
    }
}

#[test]
fn dependabot_accepts_its_configuration() {
    if has("check-jsonschema", &["--version"]) {
        run(
            "check-jsonschema",
            &["--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"],
        );
    }
    // Everything that a release is made of, and nothing that is not here.
    let updates = yaml(".github/dependabot.yml")["updates"].clone();
    let ecosystems: Vec<_> = updates.as_array().unwrap().iter().collect();
    let names = ecosystems.iter().map(|update| &update["package-ecosystem"]);
    assert!(names.eq(["cargo", "github-actions", "docker", "docker-compose"]));
}

#[test]
fn actions_are_pinned_to_a_commit() {
    let mut actions = 0;
    for name in WORKFLOWS {
        for line in read(name).lines() {
            let Some(action) = line.trim_start().trim_start_matches("- ").strip_prefix("uses: ") else {
                continue;
            };
            if action.starts_with("./") {
                continue;
            }
            let (_, reference) = action.split_once('@').unwrap();
            let (commit, version) = reference.split_once(" # v").unwrap_or((reference, ""));
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_commit && version.split('.').count() == 3, "{name}: {action}");
            actions += 1;
        }
    }
    assert!(actions > 10);
}

#[test]
fn each_job_may_do_what_it_names_only() {
    for name in WORKFLOWS {
        let workflow = yaml(name);
        assert_eq!(workflow["permissions"], json!({}), "{name}");
        for (job, content) in workflow["jobs"].as_object().unwrap() {
            // What a job runs after the checkout need not have its token.
            for step in content["steps"].as_array().into_iter().flatten() {
                let is_checkout = step["uses"].as_str().is_some_and(|uses| uses.contains("/checkout@"));
                assert!(
                    !is_checkout || step["with"]["persist-credentials"] == false,
                    "{name}: {job}"
                );
            }
            let permissions = content["permissions"].as_object().unwrap();
            assert!(!permissions.is_empty(), "{name}: {job}");
            // What is published is written by two jobs, which run no code of others but the Dockerfile's.
            let may_write = permissions.values().any(|permission| permission == "write");
            let publishes = name.ends_with("release.yml") && ["build", "publish"].contains(&job.as_str());
            assert_eq!(may_write, publishes, "{name}: {job}");
        }
    }
}

#[test]
fn changes_and_releases_pass_everything_with_the_images_toolchain() {
    let ci = yaml(".github/workflows/ci.yml");
    for event in ["push", "pull_request", "workflow_call"] {
        assert!(ci["on"].as_object().unwrap().contains_key(event), "{event}");
    }
    let job = &ci["jobs"]["run"];
    let last = job["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(last["run"], ".ci/run");
    let image = job["container"]["image"].as_str().unwrap();
    let version = image.strip_suffix("-bookworm").unwrap();
    assert!(read("Dockerfile").contains(&format!("\nFROM {version}-alpine AS build\n")));

    let release = yaml(".github/workflows/release.yml");
    let jobs = &release["jobs"];
    assert_eq!(jobs["ci"]["uses"], "./.github/workflows/ci.yml");
    assert!(texts(&jobs["build"]["needs"]).contains(&"ci"));
    assert!(texts(&jobs["publish"]["needs"]).contains(&"build"));
}

/// Runs the release's first check on this tag, with this changelog.
fn check(tag: &str, changelog: &str) -> (Output, String, String) {
    let release = yaml(".github/workflows/release.yml");
    let steps = release["jobs"]["version"]["steps"].as_array().unwrap().clone();
    let is_check = |step: &&Value| step["id"] == "version";
    let step = steps.iter().find(is_check).unwrap();
    let folder = tempdir().unwrap();
    std::fs::copy(path("Cargo.toml"), folder.path().join("Cargo.toml")).unwrap();
    std::fs::write(folder.path().join("CHANGELOG.md"), changelog).unwrap();
    let output = folder.path().join("output");
    let result = Command::new("bash")
        .args(["-eo", "pipefail", "-c", step["run"].as_str().unwrap()])
        .current_dir(folder.path())
        .env("GITHUB_REF_NAME", tag)
        .env("GITHUB_REPOSITORY", "Some/Body")
        .env("GITHUB_OUTPUT", &output)
        .output()
        .unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    (result, read("output"), read("notes.md"))
}

#[test]
fn a_release_has_the_version_and_the_notes_of_its_tag() {
    let version = env!("CARGO_PKG_VERSION");
    let tag = format!("v{version}");
    let changelog = format!(
        "# Changelog\n\n## [Unreleased]\n\n- Later.\n\n## [{version}] - 2030-01-01\n\n### Added\n\n- Now.\n\n\
         ## [0.0.1] - 2029-01-01\n\n- Before.\n"
    );
    let (result, output, notes) = check(&tag, &changelog);
    assert!(result.status.success(), "{}", text(&result.stdout));
    assert_eq!(output, format!("version={version}\nimage=ghcr.io/some/body\n"));
    assert_eq!(notes, "\n### Added\n\n- Now.\n\n");

    let (result, output, _) = check("v99.0.0", &changelog);
    assert!(!result.status.success() && output.is_empty());
    assert!(text(&result.stdout).contains("the tag is v99.0.0"));

    for nothing in [
        "## [Unreleased]\n\n- Later.\n",
        &format!("## [{version}]\n\n## [0.0.1]\n\n- Before.\n"),
    ] {
        let (result, output, _) = check(&tag, nothing);
        assert!(!result.status.success() && output.is_empty());
        assert!(text(&result.stdout).contains("CHANGELOG.md says nothing of"));
    }
}
