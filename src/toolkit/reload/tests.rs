use std::fs;

use tempfile::TempDir;

use super::*;

/// A file of this test's own, which does not exist yet; its folder is removed when it is dropped.
struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().join("web.yml"),
            _folder: folder,
        }
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }
}

const HEADER: &str = "http_server_config: {headers: {X-Frame-Options: deny}}\n";

#[test]
fn a_file_is_read_again_once_it_has_stayed_the_same() {
    let file = File::new();
    file.write("{}");
    let live = ReloadingConfig::open(Some(&file.path)).unwrap();
    let headers = || live.current().headers.len();
    let first = live.check(&file.path, &WatchedFiles::default());
    assert_eq!(live.check(&file.path, &first), first, "nothing has changed");

    file.write(HEADER);
    let second = live.check(&file.path, &first);
    assert_eq!(headers(), 0, "perhaps it is being written");
    file.write(&format!("{HEADER}# more\n"));
    let third = live.check(&file.path, &second);
    assert_eq!(headers(), 0, "it was being written");
    live.check(&file.path, &third);
    assert_eq!(headers(), 1);
}

#[test]
fn what_cannot_be_used_is_read_once_and_what_is_in_use_stays() {
    let file = File::new();
    file.write(HEADER);
    let live = ReloadingConfig::open(Some(&file.path)).unwrap();
    assert!(live.is_newest());
    file.write("nonsense");
    let before = live.check(&file.path, &WatchedFiles::default());
    let last = live.check(&file.path, &before);
    assert!(!live.is_newest());
    assert_eq!(live.current().headers.len(), 1);
    let used = live.current();
    live.check(&file.path, &last);
    assert!(Arc::ptr_eq(&used, &live.current()));

    fs::remove_file(&file.path).unwrap();
    let before = live.check(&file.path, &last);
    live.check(&file.path, &before);
    assert!(!live.is_newest());
    file.write(HEADER);
    let before = live.check(&file.path, &before);
    live.check(&file.path, &before);
    assert!(live.is_newest());
}

#[test]
fn without_a_file_nothing_is_configured() {
    let live = ReloadingConfig::open(None).unwrap();
    assert!(live.is_newest() && live.current().tls.is_none() && live.current().users.is_empty());
    assert!(ReloadingConfig::open(Some(Path::new("/nowhere/web.yml"))).is_err());
}

#[test]
fn what_cannot_be_read_is_the_same_until_it_changes() {
    let mut files = WatchedFiles::default();
    for path in ["/", "/nowhere"] {
        files.read(Path::new(path), 1).unwrap_err();
    }
    // Something else would be read, and complained of, at every look.
    assert_eq!(files.look_again(), files);
}
