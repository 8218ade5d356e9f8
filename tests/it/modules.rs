//! The rooms of the house: which may import which, and what lives only where.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms along the path of the data; each imports only from those before it.
const ROOMS: [&[&str]; 11] = [
    &["label", "clock", "histogram", "process"],
    &["config"],
    &["snapshot"],
    &["account"],
    &["tracker"],
    &["client"],
    &["cache"],
    &["report"],
    &["community"],
    &["exposition"],
    &["web"],
];

/// The room beside the path, and all that it may import.
const BESIDE: (&str, &[&str]) = ("demo", &["clock"]);

/// The crates that live in certain rooms only.
const HOMES: [(&str, &[&str]); 10] = [
    ("reqwest", &["client"]),
    ("axum", &["web", "demo"]),
    ("hyper", &["web"]),
    ("prometheus_client", &["exposition"]),
    ("envy", &["config"]),
    ("serde_saphyr", &["config", "web"]),
    ("bcrypt", &["web"]),
    ("tokio_rustls", &["web"]),
    ("maud", &["web"]),
    ("fastrand", &["demo"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file with the name of its room: `client/error.rs` belongs to `client`.
fn files() -> Vec<(String, PathBuf, String)> {
    let mut folders = vec![source()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let first = path.strip_prefix(source()).unwrap().components().next().unwrap();
                let room = Path::new(first.as_os_str())
                    .with_extension("")
                    .to_str()
                    .unwrap()
                    .to_owned();
                let text = fs::read_to_string(&path).unwrap();
                files.push((room, path, text));
            }
        }
    }
    files
}

/// The code of a file without its tests, which may look anywhere, and without comments.
fn code(path: &Path, text: &str) -> String {
    if path.ends_with("tests.rs") {
        return String::new();
    }
    let code = text.split("#[cfg(test)]").next().unwrap();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The names that follow `crate::`, also within braces.
fn imported(code: &str) -> Vec<String> {
    let word = |text: &str| {
        text.split(|char: char| !char.is_alphanumeric() && char != '_')
            .next()
            .unwrap()
            .to_owned()
    };
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list.split('}').next().unwrap().split(',').map(|item| word(item.trim()))),
            None => names.push(word(rest)),
        }
    }
    names
}

#[test]
fn rooms_import_only_from_rooms_before_them() {
    let rank: BTreeMap<_, _> = ROOMS
        .iter()
        .enumerate()
        .flat_map(|(rank, rooms)| rooms.iter().map(move |room| (*room, rank)))
        .collect();
    let mut imports = 0;
    for (room, path, text) in files() {
        if room == BESIDE.0 {
            for name in imported(&code(&path, &text)) {
                let is_allowed = name == room || BESIDE.1.contains(&&*name);
                assert!(is_allowed, "{}: {room} imports {name}", path.display());
            }
            continue;
        }
        let Some(own) = rank.get(&*room) else {
            assert!(
                ["main", "lib", "cli"].contains(&&*room),
                "{room} is no room of the house"
            );
            continue;
        };
        for name in imported(&code(&path, &text)) {
            let other = rank
                .get(&*name)
                .unwrap_or_else(|| panic!("{}: crate::{name} is no room", path.display()));
            assert!(other < own || name == room, "{}: {room} imports {name}", path.display());
            imports += 1;
        }
    }
    assert!(imports > 20, "the test sees the imports");
}

#[test]
fn crates_live_in_their_rooms() {
    for (room, path, text) in files() {
        let code = code(&path, &text);
        for (name, homes) in HOMES {
            let is_used = code.contains(&format!("{name}::")) || code.contains(&format!("use {name};"));
            assert!(
                !is_used || homes.contains(&&*room),
                "{}: {name} lives in {homes:?}",
                path.display()
            );
        }
    }
}

#[test]
fn children_are_private_to_their_room() {
    for (room, path, text) in files() {
        let is_public = code(&path, &text)
            .lines()
            .any(|line| line.trim_start().starts_with("pub mod "));
        assert!(!is_public || room == "lib", "{}", path.display());
        assert!(!path.ends_with("mod.rs"), "{}", path.display());
    }
}

#[test]
fn every_room_is_on_the_map() {
    let map = fs::read_to_string(source().join("lib.rs")).unwrap();
    for room in ROOMS.iter().copied().flatten().chain([&BESIDE.0]) {
        assert!(map.contains(&format!("[`{room}`]")), "{room} is not on the map");
        assert!(map.contains(&format!("pub mod {room};")), "{room} is not in the house");
    }
}
