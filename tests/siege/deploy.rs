//! The files to deploy the exporter with: that they fit each other and the program.
//!
//! What a linter or a schema knows is left to it.

mod kubernetes;
mod messages;
mod systemd;
mod workflows;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sonorancad_exporter::config::{Config, Setting, VARIABLES};

use crate::support::tools::has;

/// Where the links of all alerts lead: the one setting that a copy of this project changes.
const RUNBOOK: &str = "https://github.com/OWNER/sonorancad-exporter/blob/main/docs/runbook.md#";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn yaml(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn texts(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap()).collect()
}

/// The port that the exporter listens on by default.
fn default_port() -> u64 {
    let mut variables = VARIABLES.iter();
    let listen = variables
        .find(|variable| variable.name() == "SONORANCAD_LISTEN_ADDRESS")
        .unwrap();
    listen.default.unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

/// The stack, what puts Grafana on the internet, and a stack of replicas.
const COMPOSE_FILES: [&str; 3] = [
    "deploy/compose.yaml",
    "deploy/compose.caddy.yaml",
    "deploy/compose.replicas.yaml",
];

/// A service of the stack.
fn service(name: &str) -> Value {
    yaml("deploy/compose.yaml")["services"][name].clone()
}

/// The mounts of a service: source and target, as written.
fn mounts(service: &Value) -> Vec<(String, String)> {
    let volumes = texts(&service["volumes"]).into_iter();
    let pair = |volume: &str| {
        let mut parts = volume.split(':');
        (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned())
    };
    volumes.map(pair).collect()
}

/// The file of this repository that a service sees under this path.
fn mounted(service: &Value, seen: &str) -> PathBuf {
    let mounts = mounts(service);
    let (source, target) = mounts
        .iter()
        .find(|(_, target)| Path::new(seen).starts_with(target))
        .unwrap();
    let rest = Path::new(seen).strip_prefix(target).unwrap();
    path("deploy").join(source).join(rest)
}

/// The output of a command, which must succeed.
fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .current_dir(path(""))
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{tool} {arguments:?}: {said}");
    said
}

#[test]
fn the_compose_files_are_valid() {
    if has("check-jsonschema", &["--version"]) {
        let schema = ["--builtin-schema", "vendor.compose-spec"];
        run("check-jsonschema", &[&schema[..], &COMPOSE_FILES].concat());
    }
}

#[test]
fn images_are_pinned_and_mounted_files_exist() {
    for file in COMPOSE_FILES {
        let compose = yaml(file);
        for (name, service) in compose["services"].as_object().unwrap() {
            // Pinned to a version, or built from here, or only completed.
            let version = service["image"].as_str().and_then(|image| image.rsplit_once(':'));
            let is_pinned = version.is_some_and(|(_, version)| {
                let parts: Vec<_> = version.trim_start_matches('v').split('.').collect();
                parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
            });
            let is_completed = file != COMPOSE_FILES[0] && !self::service(name).is_null();
            assert!(is_pinned || service["build"] == ".." || is_completed, "{name}");
            assert_eq!(service["cap_drop"].is_array(), !is_completed, "{name}");
            // Mounted files exist and can be read on a host with SELinux; only volumes can be written.
            for volume in texts(&service["volumes"]) {
                let source = volume.split(':').next().unwrap();
                let is_here =
                    source.starts_with('.') && path("deploy").join(source).exists() && volume.ends_with(":ro,z");
                assert!(
                    is_here || compose["volumes"].as_object().unwrap().contains_key(source),
                    "{name}: {volume}"
                );
            }
        }
    }
}

#[test]
fn grafana_on_the_internet_has_accounts_and_the_rest_stays_on_this_machine() {
    let public = yaml("deploy/compose.caddy.yaml")["services"].clone();
    assert_eq!(public["grafana"]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"], "false");
    assert_eq!(texts(&public["caddy"]["command"]).last(), Some(&"grafana:3000"));
    let compose = yaml("deploy/compose.yaml");
    for (name, service) in compose["services"].as_object().unwrap() {
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
}

#[test]
fn the_demo_runs_unless_an_env_file_is_filled_in() {
    let exporter = service("exporter");
    assert_eq!(exporter["command"], json!(["${EXPORTER_COMMAND:-demo}"]));
    assert_eq!(exporter["env_file"], json!([{"path": ".env", "required": false}]));
    let example = std::fs::read_to_string(path("deploy/.env.example")).unwrap();
    let lines = example
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let variables: Vec<_> = lines.map(|line| line.split_once('=').unwrap()).collect();
    assert!(variables.contains(&("EXPORTER_COMMAND", "serve")));
    let problems = |key: &str| {
        let filled_in = variables.iter().map(|(name, value)| {
            let value = if *name == "SONORANCAD_API_KEY" { key } else { value };
            ((*name).into(), value.into())
        });
        Config::read(Setting::from_environment(filled_in))
            .err()
            .map(|problems| problems.to_string())
    };
    assert_eq!(problems("the-key"), None);
    // What is not filled in is a problem, rather than a demo.
    assert!(problems("").unwrap().contains("SONORANCAD_API_KEY"));
    // The file with the key stays out of the repository and of the image.
    assert!(
        std::fs::read_to_string(path(".gitignore"))
            .unwrap()
            .lines()
            .any(|line| line == ".env")
    );
    assert!(
        std::fs::read_to_string(path(".dockerignore"))
            .unwrap()
            .starts_with("*\n")
    );
}

#[test]
fn grafana_is_provisioned_with_the_dashboards() {
    let grafana = service("grafana");
    let home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
        .as_str()
        .unwrap();
    assert!(mounted(&grafana, home).is_file());
    let providers = yaml("deploy/grafana/provisioning/dashboards/sonorancad.yaml");
    let dashboards = mounted(&grafana, providers["providers"][0]["options"]["path"].as_str().unwrap());
    assert_eq!(
        dashboards.canonicalize().unwrap(),
        path("dashboards").canonicalize().unwrap()
    );

    let sources = yaml("deploy/grafana/provisioning/datasources/prometheus.yaml");
    let source = &sources["datasources"][0];
    let scraping = yaml("deploy/prometheus/prometheus.yml");
    assert_eq!(
        source["jsonData"]["timeInterval"],
        scraping["global"]["scrape_interval"]
    );
}

/// What the shell of Grafana's container sets as the password of "admin".
fn admin_password(variable: &str) -> String {
    let grafana = service("grafana");
    let entrypoint = texts(&grafana["entrypoint"]);
    let [shell, option, script] = entrypoint[..] else {
        panic!("{entrypoint:?}")
    };
    // Compose reads "$$" as "$".
    let script = script
        .replace("$$", "$")
        .replace("exec /run.sh", "printenv GF_SECURITY_ADMIN_PASSWORD");
    let output = Command::new(shell)
        .args([option, &script])
        .env("GRAFANA_ADMIN_PASSWORD", variable)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn nobody_knows_the_password_of_grafanas_admin_unless_it_is_set() {
    assert_eq!(admin_password("mine, with \"quotes\""), "mine, with \"quotes\"");
    let (one, other) = (admin_password(""), admin_password(""));
    assert!(one.len() == 32 && one != other, "{one} {other}");
    let grafana = service("grafana");
    assert_eq!(
        grafana["environment"]["GRAFANA_ADMIN_PASSWORD"],
        "${GRAFANA_ADMIN_PASSWORD:-}"
    );
}

#[test]
fn a_released_image_can_be_chosen_and_one_is_built_without_it() {
    let exporter = service("exporter");
    assert_eq!(exporter["image"], "${EXPORTER_IMAGE:-sonorancad-exporter}");
    assert_eq!(exporter["build"], "..");
}

#[test]
fn prometheus_sends_alerts_to_the_shipped_alertmanager() {
    let alertmanager = service("alertmanager");
    let flags = texts(&alertmanager["command"]).join(" ");
    let flags = flags.replace("${ALERTMANAGER_CONFIG:-alertmanager.yml}", "alertmanager.yml");
    let config = flags.split("--config.file=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(mounted(&alertmanager, config).is_file());
    let config = yaml("deploy/alertmanager/alertmanager.yml");
    let receiver = &config["receivers"][0];
    let webhook = receiver["discord_configs"][0]["webhook_url_file"].as_str().unwrap();
    let file = mounted(&alertmanager, webhook);
    // The address is a secret: whoever knows it can write in the channel.
    let name = file.strip_prefix(path("deploy").join(".")).unwrap();
    let line = format!("/deploy/{}", name.display());
    let ignored = std::fs::read_to_string(path(".gitignore")).unwrap();
    assert!(ignored.lines().any(|ignored| ignored == line), "{line}");
    assert!(!file.exists(), "{}", file.display());
    let prometheus = yaml("deploy/prometheus/prometheus.yml");
    assert_eq!(
        prometheus["alerting"]["alertmanagers"],
        json!([{"static_configs": [{"targets": ["alertmanager:9093"]}]}])
    );
}

/// Debian's is older; `.ci/run` has this one as well.
#[test]
fn the_amtool_of_the_compose_files_version_accepts_the_configuration_as_it_is() {
    if !has("amtool", &["--version"]) {
        return;
    }
    let version = image_version("alertmanager");
    if run("amtool", &["--version"]).contains(&format!("version {version} ")) {
        run("amtool", &["check-config", "deploy/alertmanager/alertmanager.yml"]);
    } else {
        eprintln!("skipped: amtool is not of version {version}");
    }
}

/// The version of an image in the Compose file.
fn image_version(name: &str) -> String {
    let service = service(name);
    let (_, version) = service["image"].as_str().unwrap().split_once(":v").unwrap();
    // A digest may follow.
    version.split('@').next().unwrap().to_owned()
}

#[test]
fn ci_tests_the_versions_of_the_compose_file() {
    let version = image_version("prometheus");
    let [major, minor, patch] = version.split('.').collect::<Vec<_>>()[..] else {
        panic!("{version}")
    };
    // Go's modules of Prometheus 3.16.0 are called 0.316.0.
    let module = format!("github.com/prometheus/prometheus@v0.{major}{minor:0>2}.{patch}");
    let script = std::fs::read_to_string(path(".ci/run")).unwrap();
    assert!(script.contains(&module), "{module}");
    let version = image_version("alertmanager");
    let tool = format!("version.Version={version}' github.com/prometheus/alertmanager/cmd/amtool@v{version}\n");
    assert!(script.contains(&tool), "{tool}");
}

#[test]
fn prometheus_scrapes_the_exporters_default_port() {
    let prometheus = service("prometheus");
    let flags = texts(&prometheus["command"]).join(" ");
    let config = flags.split("--config.file=").nth(1).unwrap().split(' ').next().unwrap();
    assert!(mounted(&prometheus, config).is_file());
    let config = yaml("deploy/prometheus/prometheus.yml");
    assert_eq!(config["scrape_configs"][0]["job_name"], "sonorancad");
    assert_eq!(
        config["scrape_configs"][0]["static_configs"][0]["targets"],
        json!([format!("exporter:{}", default_port())])
    );
}

#[test]
fn promtool_accepts_the_configuration_and_the_alerts() {
    if !has("promtool", &["--version"]) {
        return;
    }
    for file in ["prometheus/prometheus", "victoriametrics/scrape"] {
        run("promtool", &["check", "config", &format!("deploy/{file}.yml")]);
    }
    let syntax_only = ["check", "config", "--syntax-only", "deploy/replicas/prometheus.yml"];
    run("promtool", &syntax_only);
    for file in ["sonorancad", "sonorancad-community"] {
        run(
            "promtool",
            &[
                "check",
                "rules",
                "--lint-fatal",
                &format!("deploy/prometheus/{file}.rules.yml"),
            ],
        );
        run(
            "promtool",
            &["test", "rules", &format!("deploy/prometheus/{file}.test.yml")],
        );
    }
}

/// A file with the alert that is commented out in it.
fn with_every_alert(name: &str) -> String {
    let text = std::fs::read_to_string(path(name)).unwrap();
    let mut is_inside = false;
    let lines = text.lines().map(|line| {
        let comment = line.trim_start().strip_prefix("# ");
        is_inside = comment.is_some_and(|comment| is_inside || comment.starts_with("- alert: "));
        if is_inside {
            line.replacen("# ", "", 1)
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_alert_on_a_missing_target_can_be_enabled() {
    let rules = with_every_alert("deploy/prometheus/sonorancad.rules.yml");
    let parsed: Value = serde_saphyr::from_str(&rules).unwrap();
    let manifest: Value =
        serde_saphyr::from_str(&with_every_alert("deploy/kubernetes/base/prometheusrule.yaml")).unwrap();
    assert_eq!(manifest["spec"], parsed);
    let count = |rules: &Value| rules["groups"][0]["rules"].as_array().unwrap().len();
    assert_eq!(
        count(&parsed),
        1 + count(&yaml("deploy/prometheus/sonorancad.rules.yml"))
    );
    let runbook = std::fs::read_to_string(path("docs/runbook.md")).unwrap();
    assert!(runbook.contains("\n## SonoranCadTargetMissing\n"));
    if !has("promtool", &["--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let file = write("sonorancad.rules.yml", &rules);
    run("promtool", &["check", "rules", "--lint-fatal", &file]);
    // There, lost at minute 5 and found again at minute 20; another job is no substitute, and a target that is down is
    // not missing.
    let cases = r#"
rule_files: [sonorancad.rules.yml]
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="sonorancad-probe", instance="cad:10911"}', values: 1x4 stale _x13 1x20}
      - {series: 'up{job="node", instance="cad:9100"}', values: 1x40}
    alert_rule_test:
      - {eval_time: 4m, alertname: SonoranCadTargetMissing, exp_alerts: []}
      - {eval_time: 14m, alertname: SonoranCadTargetMissing, exp_alerts: []}
      - eval_time: 15m
        alertname: SonoranCadTargetMissing
        exp_alerts:
          - exp_labels: {severity: critical}
            exp_annotations:
              summary: Prometheus has lost the exporter
              description: For 10 minutes, Prometheus has had no target of a job whose name begins with "sonorancad".
              runbook_url: https://github.com/OWNER/sonorancad-exporter/blob/main/docs/runbook.md#sonorancadtargetmissing
      - {eval_time: 20m, alertname: SonoranCadTargetMissing, exp_alerts: []}
  - interval: 1m
    input_series:
      - {series: 'up{job="sonorancad", instance="cad:10911"}', values: 0x40}
    alert_rule_test:
      - {eval_time: 30m, alertname: SonoranCadTargetMissing, exp_alerts: []}
"#;
    run("promtool", &["test", "rules", &write("sonorancad.test.yml", cases)]);
}

/// Every alert of both files.
fn alerts() -> Vec<Value> {
    let files = ["sonorancad", "sonorancad-community"];
    let files = files.map(|file| yaml(&format!("deploy/prometheus/{file}.rules.yml")));
    let groups = files.iter().flat_map(|file| file["groups"].as_array().unwrap());
    groups
        .flat_map(|group| group["rules"].as_array().unwrap())
        .cloned()
        .collect()
}

#[test]
fn every_alert_has_a_runbook_section_and_tests_of_both_outcomes() {
    let runbook = std::fs::read_to_string(path("docs/runbook.md")).unwrap();
    let tests = ["sonorancad", "sonorancad-community"].map(|file| yaml(&format!("deploy/prometheus/{file}.test.yml")));
    let cases: Vec<&Value> = tests
        .iter()
        .flat_map(|file| file["tests"].as_array().unwrap())
        .flat_map(|test| test["alert_rule_test"].as_array().unwrap())
        .collect();
    let alerts = alerts();
    assert_eq!(alerts.len(), 13);
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        assert!(name.starts_with("SonoranCad"), "{name}");
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert_eq!(url, format!("{RUNBOOK}{}", name.to_lowercase()));
        assert!(
            runbook.contains(&format!("\n## {name}\n")),
            "{name} is not in the runbook"
        );
        let fires = |case: &&&Value| case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
        let own: Vec<_> = cases.iter().filter(|case| case["alertname"] == name).collect();
        let firing = own.iter().filter(|case| fires(case)).count();
        assert!(
            firing > 0 && firing < own.len(),
            "{name} needs a case that fires and one that does not"
        );
    }
}
