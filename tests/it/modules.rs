//! The modules: which may import which, and which crates each may use. No two files import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules along the path of the data; each imports only from those before it.
const MODULES: [&[&str]; 14] = [
    &["label", "clock", "histogram", "process", "text", "spelling"],
    &["secret_file"],
    &["yaml", "files"],
    &["config"],
    &["snapshot"],
    &["account"],
    &["tracker"],
    &["client"],
    &["cache"],
    &["report"],
    &["community"],
    &["exposition"],
    &["toolkit"],
    &["web"],
];

/// What `toolkit` may import: it serves any router and knows nothing of a CAD.
const TOOLKIT_IMPORTS: [&str; 5] = ["toolkit", "process", "text", "files", "yaml"];

/// The module beside the path, and all that it may import.
const BESIDE: (&str, &[&str]) = ("demo", &["clock"]);

/// The crates that may be used in certain modules only.
const HOMES: [(&str, &[&str]); 11] = [
    ("redis", &["account/shared"]),
    ("reqwest", &["client"]),
    ("axum", &["web", "toolkit", "demo"]),
    ("hyper", &["toolkit"]),
    ("prometheus_client", &["exposition"]),
    ("envy", &["config"]),
    ("serde_saphyr", &["yaml", "config", "toolkit"]),
    ("bcrypt", &["toolkit"]),
    ("tokio_rustls", &["toolkit"]),
    ("maud", &["web"]),
    ("fastrand", &["demo"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file with the name of its module: `client/error.rs` belongs to `client`.
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
                let module = Path::new(first.as_os_str())
                    .with_extension("")
                    .to_str()
                    .unwrap()
                    .to_owned();
                let text = fs::read_to_string(&path).unwrap();
                files.push((module, path, text));
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
fn modules_import_only_from_modules_before_them() {
    let rank: BTreeMap<_, _> = MODULES
        .iter()
        .enumerate()
        .flat_map(|(rank, modules)| modules.iter().map(move |module| (*module, rank)))
        .collect();
    let mut imports = 0;
    for (module, path, text) in files() {
        if module == BESIDE.0 {
            for name in imported(&code(&path, &text)) {
                let is_allowed = name == module || BESIDE.1.contains(&&*name);
                assert!(is_allowed, "{}: {module} imports {name}", path.display());
            }
            continue;
        }
        let Some(own) = rank.get(&*module) else {
            assert!(
                ["main", "lib", "cli"].contains(&&*module),
                "{module} is not in the list of modules"
            );
            continue;
        };
        for name in imported(&code(&path, &text)) {
            let is_allowed = module != "toolkit" || TOOLKIT_IMPORTS.contains(&&*name);
            assert!(is_allowed, "{}: toolkit imports {name}", path.display());
            let other = rank
                .get(&*name)
                .unwrap_or_else(|| panic!("{}: crate::{name} is not a module", path.display()));
            assert!(
                other < own || name == module,
                "{}: {module} imports {name}",
                path.display()
            );
            imports += 1;
        }
    }
    assert!(imports > 20, "the test sees the imports");
}

#[test]
fn crates_are_used_in_their_modules() {
    for (module, path, text) in files() {
        let code = code(&path, &text);
        for (name, homes) in HOMES {
            let is_used = code.contains(&format!("{name}::")) || code.contains(&format!("use {name};"));
            // A home is a module, or a file with those below it.
            let is_home = |home: &&str| *home == module || path.with_extension("").starts_with(source().join(home));
            assert!(
                !is_used || homes.iter().any(is_home),
                "{}: {name} lives in {homes:?}",
                path.display()
            );
        }
    }
}

#[test]
fn children_are_private_to_their_module() {
    for (module, path, text) in files() {
        let is_public = code(&path, &text)
            .lines()
            .any(|line| line.trim_start().starts_with("pub mod "));
        assert!(!is_public || module == "lib", "{}", path.display());
        assert!(!path.ends_with("mod.rs"), "{}", path.display());
    }
}

#[test]
fn every_module_is_on_the_map() {
    let map = fs::read_to_string(source().join("lib.rs")).unwrap();
    for module in MODULES.iter().copied().flatten().chain([&BESIDE.0]) {
        assert!(map.contains(&format!("[`{module}`]")), "{module} is not on the map");
        assert!(map.contains(&format!("pub mod {module};")), "{module} is not in lib.rs");
    }
}

/// The files that a file imports from, by the path of the module that each defines: `["config", "value"]`.
///
/// A path is resolved to the longest module that exists. A file that imports from its own parent or child is left out:
/// a parent re-exports its children, and children use the types that it defines.
fn imported_files(module: &[String], code: &str, modules: &BTreeSet<Vec<String>>) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for path in paths(code) {
        let mut segments = path.iter().map(String::as_str).peekable();
        let mut full: Vec<String> = match segments.peek() {
            Some(&"crate") => Vec::new(),
            Some(&"self" | &"super") => module.to_vec(),
            _ => continue,
        };
        for segment in segments {
            match segment {
                "crate" | "self" => {}
                "super" => drop(full.pop()),
                name => full.push(name.to_owned()),
            }
        }
        while !full.is_empty() && !modules.contains(&full) {
            full.pop();
        }
        if !full.is_empty() && !full.starts_with(module) && !module.starts_with(&full) {
            found.insert(full);
        }
    }
    found
}

/// Every path of the code that begins with `crate`, `self` or `super`, those in braces spelt out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_inside =
                code[..at].ends_with("::") || code[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_');
            if !is_inside {
                spell_out(&code[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Adds the paths at the start of `code` below `prefix`; returns how many bytes they take.
fn spell_out(code: &str, prefix: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = prefix.len();
    let mut at = 0;
    loop {
        let rest = &code[at..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut inside = at + 1;
            loop {
                inside += code[inside..].len() - code[inside..].trim_start_matches([' ', '\n', ',']).len();
                if list.is_empty() || code[inside..].starts_with('}') || inside >= code.len() {
                    break;
                }
                let taken = spell_out(&code[inside..], prefix, found);
                if taken == 0 {
                    break;
                }
                inside += taken;
            }
            prefix.truncate(depth);
            return (inside + 1).min(code.len());
        }
        let end = rest
            .find(|char: char| !char.is_alphanumeric() && char != '_')
            .unwrap_or(rest.len());
        prefix.push(rest[..end].to_owned());
        at += end;
        match code[at..].strip_prefix("::") {
            Some(next) if next.starts_with(|char: char| char.is_alphabetic() || "_{".contains(char)) => at += 2,
            _ => break,
        }
    }
    found.push(prefix.clone());
    prefix.truncate(depth);
    at
}

/// The pairs of files that import each other, directly.
fn circles(files: &[(Vec<String>, String)]) -> Vec<(String, String)> {
    let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.clone()).collect();
    let imports: BTreeMap<_, _> = files
        .iter()
        .map(|(module, code)| (module, imported_files(module, code, &modules)))
        .collect();
    let mut circles = Vec::new();
    for (one, others) in &imports {
        for other in others {
            if *one < other && imports[other].contains(*one) {
                circles.push((one.join("/"), other.join("/")));
            }
        }
    }
    circles
}

#[test]
fn no_two_files_import_each_other() {
    let files: Vec<_> = files()
        .into_iter()
        .filter(|(_, path, _)| !path.ends_with("tests.rs"))
        .map(|(_, path, text)| {
            let relative = path.strip_prefix(source()).unwrap().with_extension("");
            let module: Vec<String> = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            (module, code(&path, &text))
        })
        .collect();
    let modules: BTreeSet<Vec<String>> = files.iter().map(|(module, _)| module.clone()).collect();
    let count: usize = files
        .iter()
        .map(|(module, code)| imported_files(module, code, &modules).len())
        .sum();
    assert!(count > 100, "the test sees the imports: {count}");
    assert_eq!(circles(&files), []);
}

#[test]
fn files_that_import_each_other_are_found() {
    let file = |module: &str, code: &str| {
        let module: Vec<_> = module.split('/').map(str::to_owned).collect();
        (module, code.to_owned())
    };
    let found = circles(&[
        file("a", "mod b; mod c; pub use self::b::{B, b};"),
        file("a/b", "use super::c::{self, C};\nuse crate::d::{e, f::{G, H}};"),
        file("a/c", "fn c() -> super::b::B {}\nuse super::A;"),
        file("d", "mod f;"),
        file("d/f", "use crate::{a::b::X, z::Z};"),
    ]);
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(found, [pair("a/b", "a/c"), pair("a/b", "d/f")]);
}
