//! The fuzzers' seeds, each read once: what a fuzzer has found stays true. `fuzz/README.md` says what that is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::foreign::READERS;

/// More would make the clone and these tests slow.
const MAX_BYTES: u64 = 300_000;

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// The files of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_seed_is_read_as_promised() {
    for (name, read) in READERS {
        let seeds = files(&seeds().join(name));
        assert!(seeds.len() > 1, "{name}");
        for seed in seeds {
            // The last one is that which breaks a promise.
            eprintln!("{}", seed.display());
            read(&fs::read(&seed).unwrap());
        }
    }
}

#[test]
fn every_reader_has_a_target_and_the_seeds_are_few() {
    let names: Vec<_> = READERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = files(&seeds()).into_iter();
    let folders: Vec<_> = folders
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(folders, names);
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    let bytes: u64 = folders
        .iter()
        .flat_map(|name| files(&seeds().join(name)))
        .map(|path| size(&path))
        .sum();
    assert!(bytes < MAX_BYTES, "{bytes} bytes");
    let fuzz = seeds().parent().unwrap().to_owned();
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let readme = fs::read_to_string(fuzz.join("README.md")).unwrap();
    for name in names {
        assert!(fuzz.join("dictionaries").join(&name).exists(), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(readme.contains(&format!("| `{name}` |")), "{name}");
    }
}
