//! Records the revision of the source in the binary.
//!
//! It is `BUILD_REVISION` if the build sets it (a container has no `.git`), else the revision that git reports,
//! else "unknown". The variable does not have the prefix of the program's own variables, because `cargo run` passes
//! it on to the program.

use std::process::Command;

const REVISION: &str = "BUILD_REVISION";

fn main() {
    println!("cargo::rerun-if-env-changed={REVISION}");
    if std::path::Path::new(".git/logs/HEAD").exists() {
        println!("cargo::rerun-if-changed=.git/logs/HEAD");
    } else {
        println!("cargo::rerun-if-changed=build.rs");
    }
    let revision = std::env::var(REVISION)
        .ok()
        .filter(|revision| !revision.is_empty())
        .or_else(revision_of_checkout)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={REVISION}={revision}");
}

fn revision_of_checkout() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let revision = String::from_utf8(output.stdout).ok()?;
    Some(revision.trim().to_owned()).filter(|revision| !revision.is_empty())
}
