use std::fs;

use super::*;

/// A file of this test's own; removed when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("sonorancad-reload-{}-{name}", std::process::id())))
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const HEADER: &str = "http_server_config: {headers: {X-Frame-Options: deny}}\n";

#[test]
fn a_file_is_read_again_once_it_has_stayed_the_same() {
    let file = File::new("same");
    file.write("{}");
    let live = ReloadingConfig::open(Some(&file.0)).unwrap();
    let headers = || live.current().headers().len();
    let first = live.check(&file.0, &WatchedFiles::default());
    assert_eq!(live.check(&file.0, &first), first, "nothing has changed");

    file.write(HEADER);
    let second = live.check(&file.0, &first);
    assert_eq!(headers(), 0, "perhaps it is being written");
    file.write(&format!("{HEADER}# more\n"));
    let third = live.check(&file.0, &second);
    assert_eq!(headers(), 0, "it was being written");
    live.check(&file.0, &third);
    assert_eq!(headers(), 1);
}

#[test]
fn what_cannot_be_used_is_read_once_and_what_is_in_use_stays() {
    let file = File::new("broken");
    file.write(HEADER);
    let live = ReloadingConfig::open(Some(&file.0)).unwrap();
    assert!(live.is_newest());
    file.write("nonsense");
    let before = live.check(&file.0, &WatchedFiles::default());
    let last = live.check(&file.0, &before);
    assert!(!live.is_newest());
    assert_eq!(live.current().headers().len(), 1);
    let used = live.current();
    live.check(&file.0, &last);
    assert!(Arc::ptr_eq(&used, &live.current()));

    fs::remove_file(&file.0).unwrap();
    let before = live.check(&file.0, &last);
    live.check(&file.0, &before);
    assert!(!live.is_newest());
    file.write(HEADER);
    let before = live.check(&file.0, &before);
    live.check(&file.0, &before);
    assert!(live.is_newest());
}

#[test]
fn without_a_file_nothing_is_configured() {
    let live = ReloadingConfig::open(None).unwrap();
    assert!(live.is_newest() && live.current().tls().is_none() && live.current().users().is_empty());
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
