//! The messages in Discord: a real Alertmanager with the shipped configuration, and a webhook on this machine.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::{path, run, yaml};
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{Running, eventually, http};
use crate::support::tools::{Prometheus, free_port, has};

const PROGRAM: &str = "prometheus-alertmanager";

const RED: u64 = 0x99_2D22;
const GREEN: u64 = 0x2E_CC71;

/// Whether it is night, by the shipped configuration.
#[derive(Clone, Copy)]
enum Time {
    Day,
    Night,
}

/// A running Alertmanager; killed when dropped, with its data.
struct Alertmanager {
    child: Child,
    port: u16,
    folder: TempDir,
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// Replaces a part of a shipped file, which must be there.
#[track_caller]
fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old} is not in:\n{text}");
    text.replace(old, new)
}

/// The shipped configuration, with this webhook, without long waits, and with a night that is now or not.
fn config(webhook: &str, time: Time) -> String {
    let hours = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600;
    let far = (hours + 12) % 24;
    let night = match time {
        Time::Day => (format!("{far:02}:00"), format!("{:02}:00", far + 1)),
        Time::Night => ("00:00".to_owned(), "24:00".to_owned()),
    };
    // Debian's Alertmanager is older than the one of the Compose file, and does not read the webhook from a file.
    let text = replaced(
        &read("deploy/alertmanager/alertmanager.yml"),
        "webhook_url_file: /etc/alertmanager/discord-webhook",
        &format!("webhook_url: {webhook}"),
    );
    let text = replaced(&text, "start_time: \"02:00\"", &format!("start_time: \"{}\"", night.0));
    let text = replaced(&text, "end_time: \"09:00\"", &format!("end_time: \"{}\"", night.1));
    let text = replaced(&text, "group_wait: 15s", "group_wait: 1s");
    replaced(&text, "group_interval: 1m", "group_interval: 1s")
}

impl Alertmanager {
    fn start(webhook: &str, time: Time) -> Self {
        let folder = tempdir().unwrap();
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, config(webhook, time)).unwrap();
        std::fs::copy(
            path("deploy/alertmanager/discord.tmpl"),
            folder.path().join("discord.tmpl"),
        )
        .unwrap();
        run("amtool", &["check-config", file.to_str().unwrap()]);
        let port = free_port();
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--cluster.listen-address=", "--log.level=debug"])
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, port, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Sends alerts as Prometheus does.
    async fn send(&self, alerts: &Value) {
        let url = format!("http://127.0.0.1:{}/api/v2/alerts", self.port);
        let body = alerts.to_string();
        eventually("Alertmanager takes the alerts", async || {
            let request = http().post(&url).header("content-type", "application/json");
            let response = request.body(body.clone()).send().await;
            response.is_ok_and(|response| response.status().is_success())
        })
        .await;
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The messages that have come to a webhook: title, text and colour.
fn messages(webhook: &Cad) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let bodies = webhook.requests().into_iter().map(|request| request.body);
    let message = |body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let embed = &body["embeds"][0];
        (
            text(&embed["title"]),
            without_times(&text(&embed["description"])),
            embed["color"].as_u64().unwrap(),
        )
    };
    bodies.map(message).collect()
}

/// A text with `T` in the place of each Unix time that Discord shows in the reader's own: `<t:T:R>`.
fn without_times(text: &str) -> String {
    let mut parts = text.split("<t:");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|character: char| character.is_ascii_digit());
        // A time of this century: ten digits.
        assert_eq!(part.len() - rest.len(), 10, "{text}");
        all.push_str("<t:T");
        all.push_str(rest);
    }
    all
}

/// An alert as a case of the rules' tests expects it, on its way to Alertmanager.
fn expected(rules: &str, alertname: &str, eval_time: &str, index: usize) -> Value {
    let tests = yaml(&format!("deploy/prometheus/{rules}.test.yml"));
    let tests = tests["tests"].as_array().unwrap();
    let mut cases = tests
        .iter()
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let case = cases
        .find(|case| {
            case["alertname"] == alertname
                && case["eval_time"] == eval_time
                && case["exp_alerts"].as_array().is_some_and(|alerts| alerts.len() > index)
        })
        .unwrap_or_else(|| panic!("{alertname} does not fire at {eval_time}"));
    let alert = &case["exp_alerts"][index];
    let mut labels = alert["exp_labels"].clone();
    labels["alertname"] = json!(alertname);
    json!({"labels": labels, "annotations": alert["exp_annotations"]})
}

/// The text of an alert, with the time since when it fires, and its link.
fn text(description: &str, alertname: &str) -> String {
    let link = format!("{}{}", super::RUNBOOK, alertname.to_lowercase());
    format!("{description} Since <t:T:t>, <t:T:R>. [What to do]({link})")
}

const UNTAKEN: &str = "It is on the emergency line, and no dispatcher has taken it.";

/// A Prometheus with the shipped configuration and rules, for which every emergency call has waited for six minutes.
fn prometheus(exporter: &Running, alertmanager: &Alertmanager) -> Prometheus {
    let folder = tempdir().unwrap();
    std::fs::create_dir(folder.path().join("local")).unwrap();
    let rules = replaced(
        &read("deploy/prometheus/sonorancad-community.rules.yml"),
        r#"(time() - (sonorancad_oldest_emergency_call_timestamp_seconds{kind="emergency"} > 0)) / 60 > 5"#,
        r#"(sonorancad_oldest_emergency_call_timestamp_seconds{kind="emergency"} > bool 0) * 6 > 5"#,
    );
    std::fs::write(folder.path().join("local/sonorancad-community.rules.yml"), rules).unwrap();
    let name = "sonorancad.rules.yml";
    std::fs::copy(path("deploy/prometheus").join(name), folder.path().join(name)).unwrap();
    let config = read("deploy/prometheus/prometheus.yml");
    let config = replaced(&config, "exporter:10911", &exporter.address.to_string());
    let config = replaced(
        &config,
        "alertmanager:9093",
        &format!("127.0.0.1:{}", alertmanager.port),
    );
    let config = replaced(&config, "30s", "1s");
    Prometheus::start(folder, &config)
}

/// From the CAD to Discord, with everything that is shipped in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_911_call_becomes_a_message_and_so_does_its_end() {
    if !has("prometheus", &["--version"]) || !has(PROGRAM, &["--version"]) {
        return;
    }
    let webhook = Cad::start().await;
    let alertmanager = Alertmanager::start(&webhook.url(), Time::Day);
    let cad = Cad::start().await;
    cad.answer(Answer::ok(
        r#"{"activeCalls":[],"emergencyCalls":[{"callId":7,"isEmergency":true}],"closedCalls":[]}"#,
    ));
    let variables = [
        ("SONORANCAD_SERVER_IDS", "1=Main"),
        ("SONORANCAD_CACHE_TTL", "1s"),
        ("SONORANCAD_REQUESTS_PER_MINUTE", "60"),
    ];
    let exporter = Running::start(&cad, &variables);

    let _prometheus = prometheus(&exporter, &alertmanager);

    eventually("the message has come", async || !messages(&webhook).is_empty()).await;
    let waiting = (
        "911 call waiting for 6 min on Main".to_owned(),
        text(UNTAKEN, "SonoranCadEmergencyWaiting"),
        RED,
    );
    assert_eq!(messages(&webhook), std::slice::from_ref(&waiting));

    cad.answer(Answer::ok(r#"{"activeCalls":[],"emergencyCalls":[],"closedCalls":[]}"#));
    eventually("the end has come", async || messages(&webhook).len() > 1).await;
    let over = (
        "All clear".to_owned(),
        "Over: 911 call waiting for 6 min on Main".to_owned(),
        GREEN,
    );
    assert_eq!(messages(&webhook), [waiting, over]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_of_a_community_are_one_message() {
    if !has(PROGRAM, &["--version"]) {
        return;
    }
    let webhook = Cad::start().await;
    let alertmanager = Alertmanager::start(&webhook.url(), Time::Day);
    let community = "sonorancad-community";
    let unnamed = expected(community, "SonoranCadEmergencyWaiting", "7m", 0);
    let emergency = expected(community, "SonoranCadEmergencyWaiting", "7m", 1);
    let call = expected(community, "SonoranCadCallWaiting", "12m", 1);
    let limited = expected("sonorancad", "SonoranCadRateLimited", "30m", 0);
    alertmanager.send(&json!([emergency, unnamed, limited, call])).await;
    eventually("both messages have come", async || messages(&webhook).len() > 1).await;
    let mut sent = messages(&webhook);
    sent.sort();
    let of_blaine = [
        text(
            "**Call waiting for 11 min on server 2 of blaine**\n\
             A call of another priority than 1 to 3 is pending: no unit has taken it.",
            "SonoranCadCallWaiting",
        ),
        text(
            &format!("**911 call waiting for 6 min on server 2 of blaine**\n{UNTAKEN}"),
            "SonoranCadEmergencyWaiting",
        ),
        text(
            "**The API limits requests for calls of server 1 of blaine**\n\
             The API has said for more than 20 minutes that it is asked too often with this key, so data is old. \
             Look for a second exporter, a bot or a game server with the same key.",
            "SonoranCadRateLimited",
        ),
    ];
    let of_main = text(UNTAKEN, "SonoranCadEmergencyWaiting");
    assert_eq!(sent[0], ("3 alerts in blaine".to_owned(), of_blaine.join("\n"), RED));
    assert_eq!(sent[1], ("911 call waiting for 6 min on Main".to_owned(), of_main, RED));

    // One of the three is over.
    let mut over = call;
    let now = jiff::Timestamp::now();
    over["startsAt"] = json!((now - Duration::from_secs(60)).to_string());
    over["endsAt"] = json!(now.to_string());
    alertmanager.send(&json!([over])).await;
    eventually("the update has come", async || messages(&webhook).len() > 2).await;
    let (title, text, colour) = messages(&webhook).pop().unwrap();
    assert_eq!((title.as_str(), colour), ("2 alerts in blaine", RED));
    let rest = [
        &of_blaine[1],
        &of_blaine[2],
        "Over: Call waiting for 11 min on server 2 of blaine",
    ];
    assert_eq!(text, rest.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_at_night() {
    if !has(PROGRAM, &["--version"]) {
        return;
    }
    let webhook = Cad::start().await;
    let alertmanager = Alertmanager::start(&webhook.url(), Time::Night);
    let alert = expected("sonorancad-community", "SonoranCadEmergencyWaiting", "7m", 0);
    alertmanager.send(&json!([alert])).await;
    eventually("Alertmanager holds it back", async || {
        alertmanager.log().contains("route is within mute time")
    })
    .await;
    assert_eq!(messages(&webhook), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_is_down_is_one_alert() {
    if !has(PROGRAM, &["--version"]) {
        return;
    }
    let webhook = Cad::start().await;
    let alertmanager = Alertmanager::start(&webhook.url(), Time::Day);
    let down = expected("sonorancad", "SonoranCadExporterDown", "10m", 0);
    let stale = expected("sonorancad", "SonoranCadDataStale", "18m", 0);
    alertmanager.send(&json!([down])).await;
    alertmanager.send(&json!([stale])).await;
    eventually("the message has come", async || !messages(&webhook).is_empty()).await;
    let sent = messages(&webhook);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, "The exporter at cad:10911 is down");
}
