use std::fs;

use tempfile::TempDir;
use tokio::time::sleep;

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

/// The configuration in the file, which is watched from now on.
fn open(file: &File) -> Arc<ReloadingConfig> {
    let live = Arc::new(ReloadingConfig::open(Some(&file.path)).unwrap());
    tokio::spawn(live.clone().watch());
    live
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_once_it_has_stayed_the_same() {
    let file = File::new();
    file.write("{}");
    let live = open(&file);
    let headers = || live.current().headers.len();
    // Between two checks. No time passes while the file is read.
    sleep(INTERVAL * 3 / 2).await;
    file.write(HEADER);
    sleep(INTERVAL).await;
    assert_eq!(headers(), 0, "perhaps it is being written");
    file.write(&format!("{HEADER}# more\n"));
    sleep(INTERVAL).await;
    assert_eq!(headers(), 0, "it was being written");
    sleep(INTERVAL).await;
    assert_eq!(headers(), 1);
    let used = live.current();
    sleep(INTERVAL * 3).await;
    assert!(Arc::ptr_eq(&used, &live.current()), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_changes_nothing_until_it_can() {
    let file = File::new();
    file.write(HEADER);
    let live = open(&file);
    assert!(live.is_newest());
    sleep(INTERVAL / 2).await;
    file.write("nonsense");
    sleep(INTERVAL * 2).await;
    assert!(!live.is_newest());
    assert_eq!(live.current().headers.len(), 1);

    fs::remove_file(&file.path).unwrap();
    sleep(INTERVAL * 2).await;
    assert!(!live.is_newest());
    file.write(HEADER);
    sleep(INTERVAL * 2).await;
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
