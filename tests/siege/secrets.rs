//! Where the key may be: in no output of the program, in no core file, and in memory only
//! as long as it is needed.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use tempfile::tempdir;

use crate::support::authority::Authority;
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{eventually, failures, http};
use crate::support::program::{BINARY, KEY, Program, command, set_environment};

/// The password of the user below, with its bcrypt hash.
const PASSWORD: &str = "p4ssword-that-n0body-may-see";
const HASH: &str = "$2y$04$sp1QBeXamPM3A8NliLuCDepazCRnXGtsAR.YmDqWGyQ6yBoOpPuoy";

/// An API that echoes the key in every part of an answer.
fn echo_everywhere(cad: &Cad) {
    let headers = [
        ("X-Key", KEY),
        ("Location", KEY),
        ("Retry-After", KEY),
        ("Content-Type", KEY),
    ];
    let calls = format!("{{\"key\":\"{KEY}\",\"activeCalls\":[{{\"priority\":\"{KEY}\",\"status\":\"{KEY}\"}}]}}");
    for (server_id, answer) in [
        (1, Answer::status(200, &headers, &calls)),
        (2, Answer::status(400, &headers, KEY)),
        (3, Answer::status(400, &headers, &KEY.to_uppercase())),
        (4, Answer::status(302, &headers, KEY)),
        (5, Answer::status(404, &headers, KEY)),
        (6, Answer::status(500, &headers, KEY)),
        (7, Answer::status(200, &headers, KEY)),
        (
            8,
            Answer::status(200, &headers, &format!("{{\"activeCalls\":\"{KEY}\"}}")),
        ),
        (9, Answer::BytesThenEnd(format!("HTTP/1.1 {KEY}\r\n\r\n").into_bytes())),
        (10, Answer::BytesThenEnd(KEY.into())),
        (11, Answer::status(200, &[("Content-Encoding", KEY)], "")),
        (12, Answer::status(200, &[("Content-Encoding", "gzip")], KEY)),
    ] {
        cad.answer_server(server_id, answer);
    }
}

/// Every page, with the right password and without it.
async fn read_pages(program: &Program, authority: &Authority) -> String {
    let certificate = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    drop(http());
    let http = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([certificate])
        .build()
        .unwrap();
    let mut pages = String::new();
    for path in [
        "/metrics",
        "/probe?community=one",
        "/sd",
        "/",
        "/-/healthy",
        "/-/ready",
        "/nowhere",
    ] {
        let url = format!("https://localhost:{}{path}", program.address.port());
        // Only one wrong password: the answer to another one would be delayed.
        for password in [PASSWORD, KEY].iter().take(if path == "/metrics" { 2 } else { 1 }) {
            let request = http.get(&url).header("Accept", "application/openmetrics-text");
            let response = request.basic_auth("alice", Some(password)).send().await.unwrap();
            write!(pages, "{:?}", response.headers()).unwrap();
            pages += &response.text().await.unwrap();
        }
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_and_the_password_are_never_logged_or_shown() {
    for version in ["v1", "v2"] {
        let cad = Cad::start().await;
        echo_everywhere(&cad);
        let folder = tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let authority = Authority::new();
        authority.issue(&["localhost"]).write(folder.path(), "server");
        let web = format!(
            "tls_server_config: {{cert_file: server.crt, key_file: server.key}}\nbasic_auth_users: {{alice: {HASH}}}\n"
        );
        let community = format!(
            "one: {{community_id: c, api_version: {version}, api_url: '{}', api_key: {KEY}}}\n",
            cad.url()
        );
        write("web.yml", &web);
        write("communities.yml", &community);
        let mut program = Program::start(command(
            &cad,
            &[
                ("SONORANCAD_API_VERSION", version),
                ("SONORANCAD_LOG", "trace"),
                ("SONORANCAD_CACHE_TTL", "1s"),
                ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
                // The last one's answer has the key left alone: by then, all others have been asked.
                ("SONORANCAD_SERVER_IDS", "1,2,3,4,6,7,8,9,10,11,12,5"),
                ("SONORANCAD_WEB_CONFIG_FILE", &path("web.yml")),
                ("SONORANCAD_COMMUNITIES_FILE", &path("communities.yml")),
            ],
        ));
        let mut pages = read_pages(&program, &authority).await;
        assert!(cad.requests().len() >= 12, "every server was asked");
        assert!(!failures(&pages).is_empty(), "failures are shown");

        // Files with the key wherever it does not belong. They are refused.
        write(
            "web.yml",
            &format!("{web}http_server_config: {{headers: {{X-Frame-Options: {KEY}, {KEY}: deny}}}}\n"),
        );
        write(
            "communities.yml",
            &format!("one: {{api_key: \"{KEY} \", server_ids: {KEY}, api_url: {KEY}}}\n"),
        );
        Program::signal("HUP", program.child.id());
        program.wait_for("server_ids must list server ids");
        program.wait_for("X-Frame-Options: must be");
        pages += &read_pages(&program, &authority).await;
        write("web.yml", &web);
        write("communities.yml", &community.replace("one:", "two:"));
        Program::signal("HUP", program.child.id());
        program.wait_for("the web configuration has been read again");
        pages += &read_pages(&program, &authority).await;

        let command_line = fs::read_to_string(format!("/proc/{}/cmdline", program.child.id())).unwrap();
        Program::signal("TERM", program.child.id());
        assert_eq!(program.wait(), Some(0));
        let output = program.output();
        assert!(output.contains("TRACE"), "the trace level is on");
        for said in [&output, &pages, &command_line] {
            for secret in [KEY, PASSWORD, HASH] {
                let line = said
                    .lines()
                    .find(|line| line.to_lowercase().contains(&secret.to_lowercase()));
                assert_eq!(line, None, "{secret}");
            }
        }
    }
}

/// How often `text` is in the writable memory of a process.
fn count_in_memory(process: u32, text: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap()];
        memory.seek(SeekFrom::Start(begin)).unwrap();
        if memory.read_exact(&mut bytes).is_ok() {
            count += memchr::memmem::find_iter(&bytes, text).count();
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_key_is_wiped_from_memory() {
    let cad = Cad::start().await;
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (first, second) = ("f1rst-key-of-0ne-community", "s3cond-key-0f-one-community");
    let write = |key: &str| {
        let settings = format!("community_id: c, api_url: '{}'", cad.url());
        fs::write(path("key"), format!("{key}-file\n")).unwrap();
        fs::write(
            path("communities.yml"),
            format!(
                "inline: {{{settings}, api_key: {key}}}\nfile: {{{settings}, api_key_file: {}}}\n",
                path("key")
            ),
        )
        .unwrap();
    };
    write(first);
    let mut program = Program::start(command(
        &cad,
        &[("SONORANCAD_COMMUNITIES_FILE", &path("communities.yml"))],
    ));
    let process = program.child.id();
    if fs::File::open(format!("/proc/{process}/mem")).is_err() {
        // Only root may, since the program hides it; and CI is root.
        assert!(std::env::var_os("CI").is_none(), "the memory cannot be read");
        return;
    }
    let count = |text: &str| count_in_memory(process, text);
    // The log runs ahead: the configuration that was read goes when what it is for has been made.
    eventually("each key is in memory once", async || {
        (count(first), count(second)) == (2, 0)
    })
    .await;
    write(second);
    Program::signal("HUP", process);
    program.wait_for("has been read again");
    eventually("the new keys have replaced the old ones", async || {
        (count(first), count(second)) == (0, 2)
    })
    .await;
}

/// A shell that may write a core file, and then becomes the program.
fn with_core_files(program: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -c unlimited; {program}"), BINARY]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn no_core_file_is_written() {
    let folder = tempdir().unwrap();
    let mut control = with_core_files("kill -s ABRT $$");
    let status = control.current_dir(folder.path()).status().unwrap();
    if !status.core_dumped() {
        eprintln!("skipped: this machine writes no core files");
        return;
    }
    let cad = Cad::start().await;
    let mut command = with_core_files("exec \"$0\"");
    set_environment(&mut command, &cad, &[("PATH", "/usr/bin:/bin")]);
    command.current_dir(folder.path());
    let mut program = Program::start(command);
    program.scrape().await;
    Program::signal("ABRT", program.child.id());
    let status = program.child.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

/// What stands in every field that is personal, or a text that is compared and dropped.
const PERSONAL: &str = "p3rsonal-marker";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_personal_of_units_and_calls_is_seen() {
    let texts = |names: &[&str]| {
        let fields = names.iter().map(|name| format!("\"{name}\":\"{PERSONAL} {name}\""));
        fields.collect::<Vec<_>>().join(",")
    };
    let of_unit = texts(&["accId", "location", "coordinates", "aop"]);
    let of_data = texts(&[
        "apiId1",
        "apiId2",
        "apiIds",
        "communityUserId",
        "unitNum",
        "name",
        "district",
        "department",
        "subdivision",
        "rank",
        "group",
    ]);
    let units = format!(
        "[{{\"id\":1,\"status\":2,{of_unit},\"data\":{{\"page\":0,{of_data}}}}},\
         {{\"id\":\"{PERSONAL}\",\"status\":\"{PERSONAL}\",\"isPanic\":\"{PERSONAL}\",\"isDispatch\":\"{PERSONAL}\",\"data\":\"{PERSONAL}\"}},\
         \"{PERSONAL}\"]"
    );
    let of_call = texts(&[
        "code",
        "block",
        "address",
        "postal",
        "title",
        "description",
        "notes",
        "caller",
        "location",
    ]);
    let calls = format!(
        "{{\"activeCalls\":[{{\"callId\":1,\"priority\":1,\"status\":0,\"origin\":0,{of_call}}}],\
         \"emergencyCalls\":[{{\"callId\":1,\"isEmergency\":true,{of_call},\"metaData\":{{\"phone\":\"{PERSONAL}\"}}}}]}}"
    );
    for version in ["v1", "v2"] {
        let cad = Cad::start().await;
        cad.answer(Answer::ok(&calls));
        cad.answer_units(Answer::ok(&units));
        let mut program = Program::start(command(
            &cad,
            &[
                ("SONORANCAD_API_VERSION", version),
                ("SONORANCAD_LOG", "trace"),
                ("SONORANCAD_CACHE_TTL", "1s"),
                ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
                ("SONORANCAD_UNIT_REQUESTS_PER_MINUTE", "60"),
                ("SONORANCAD_COLLECT", "calls,units"),
                ("SONORANCAD_DEPARTMENTS", "LSPD"),
                ("SONORANCAD_CALL_CODES", "10-31"),
            ],
        ));
        let metrics = program.scrape().await;
        assert!(metrics.contains("sonorancad_units{server_id=\"1\",discipline=\"police\",status=\"available\"} 1"));
        assert!(metrics.contains("sonorancad_department_units{server_id=\"1\",department=\"other\"} 2"));
        // An answer that cannot be read must not be quoted either.
        cad.answer(Answer::ok(&calls[..calls.len() - 1]));
        cad.answer_units(Answer::status(400, &[], &units));
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let metrics = metrics + &program.scrape().await;
        let page = http().get(format!("http://{}/", program.address)).send().await.unwrap();
        let page = page.text().await.unwrap();
        assert!(page.contains("INVALID RESPONSE") && page.contains("HTTP 4XX"), "{page}");
        Program::signal("TERM", program.child.id());
        assert_eq!(program.wait(), Some(0));
        let output = program.output();
        assert!(output.contains("TRACE"), "the trace level is on");
        for said in [&output, &metrics, &page] {
            let line = said.lines().find(|line| line.to_lowercase().contains(PERSONAL));
            assert_eq!(line, None);
        }
    }
}
