//! The workflows of GitHub: pins, the toolchain, and when a release is refused. Linters know the rest.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

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
fn the_configuration_of_dependabot_is_valid() {
    if has("check-jsonschema", &["--version"]) {
        run(
            "check-jsonschema",
            &["--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"],
        );
    }
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

/// The linters accept a token that is left behind, and permissions of a workflow whose jobs all have their own.
#[test]
fn jobs_have_no_permissions_by_default_and_leave_no_token_behind() {
    for name in WORKFLOWS {
        let workflow = yaml(name);
        assert_eq!(workflow["permissions"], json!({}), "{name}");
        for (job, content) in workflow["jobs"].as_object().unwrap() {
            for step in content["steps"].as_array().into_iter().flatten() {
                let is_checkout = step["uses"].as_str().is_some_and(|uses| uses.contains("/checkout@"));
                assert!(
                    !is_checkout || step["with"]["persist-credentials"] == false,
                    "{name}: {job}"
                );
            }
        }
    }
}

#[test]
fn ci_has_the_toolchain_of_the_image_and_a_release_waits_for_it() {
    let ci = yaml(".github/workflows/ci.yml");
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
fn a_release_is_refused_unless_its_tag_has_the_version_and_notes() {
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

/// The folder of the files that a release 9.8.7 packs.
fn collected() -> (TempDir, PathBuf) {
    let release = yaml(".github/workflows/release.yml");
    let steps = release["jobs"]["build"]["steps"].as_array().unwrap().clone();
    let step = steps.iter().find(|step| step["id"] == "collect").unwrap();
    let folder = tempdir().unwrap();
    for name in [
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "docs",
        "dashboards",
        "deploy",
    ] {
        let (from, to) = (path(name), folder.path().join(name));
        run("cp", &["-r", from.to_str().unwrap(), to.to_str().unwrap()]);
    }
    let result = Command::new("bash")
        .args(["-eo", "pipefail", "-c", step["run"].as_str().unwrap()])
        .current_dir(folder.path())
        .env("GITHUB_REF_NAME", "v9.8.7")
        .env("GITHUB_REPOSITORY", "Some/Body")
        .env("IMAGE", "ghcr.io/some/body")
        .env("VERSION", "9.8.7")
        .env("TARGET", "any")
        .output()
        .unwrap();
    assert!(result.status.success(), "{}", text(&result.stderr));
    let files = folder.path().join("files/sonorancad-exporter-9.8.7-any");
    (folder, files)
}

#[test]
fn the_files_of_a_release_lead_to_its_runbook_and_its_image() {
    let (_folder, files) = collected();
    let read = |name: &str| std::fs::read_to_string(files.join(name)).unwrap();
    let runbook = "https://github.com/Some/Body/blob/v9.8.7/docs/runbook.md#sonorancad";
    for name in [
        "deploy/prometheus/sonorancad.rules.yml",
        "deploy/prometheus/sonorancad-community.rules.yml",
        "deploy/kubernetes/base/prometheusrule.yaml",
    ] {
        let text = read(name);
        let links = text.matches("runbook_url: ").count();
        assert!(links > 5 && text.matches(runbook).count() == links, "{text}");
    }
    let compose: Value = serde_saphyr::from_str(&read("deploy/compose.yaml")).unwrap();
    let exporter = &compose["services"]["exporter"];
    assert_eq!(exporter["image"], "${EXPORTER_IMAGE:-ghcr.io/some/body:9.8.7}");
    assert_eq!(exporter["build"], Value::Null);
    assert!(read("deploy/.env.example").contains("EXPORTER_IMAGE=ghcr.io/some/body:9.8.7\n"));
    assert!(read("deploy/kubernetes/base/deployment.yaml").contains(" image: ghcr.io/some/body:9.8.7\n"));
    assert!(read("docs/deployment/windows.md").contains(" ghcr.io/some/body:9.8.7\n"));
}
