//! The manifests of Kubernetes: valid, and fitting the image and the program.

use serde_json::{Value, json};
use sonorancad_exporter::config::{Config, Setting, VARIABLES};
use tempfile::tempdir;

use super::{default_port, path, run, texts, yaml};
use crate::support::tools::has;

const BASE: &str = "deploy/kubernetes/base";
const REPLICAS: &str = "deploy/kubernetes/replicas";
const COMMUNITIES: &str = "deploy/kubernetes/overlays/communities";

fn manifest(name: &str) -> Value {
    yaml(&format!("{BASE}/{name}.yaml"))
}

/// The pod that the Deployment makes.
fn pod() -> Value {
    manifest("deployment")["spec"]["template"]["spec"].clone()
}

#[test]
fn kubernetes_accepts_the_manifests() {
    if has("kubernetes-validate", &["--version"]) {
        // Fields that the schema does not know are mistakes.
        let of_base = ["deployment", "service", "networkpolicy"].map(|name| format!("{BASE}/{name}.yaml"));
        let of_replicas = ["poddisruptionbudget", "service", "networkpolicy"];
        let of_replicas = of_replicas.map(|name| format!("{REPLICAS}/{name}.yaml"));
        let files = [of_base, of_replicas].concat();
        let mut arguments = vec!["--strict"];
        arguments.extend(files.iter().map(String::as_str));
        let said = run("kubernetes-validate", &arguments);
        assert_eq!(said.matches(" passed for resource ").count(), files.len(), "{said}");
    }
}

#[test]
fn the_kustomizations_list_every_manifest() {
    for folder in [BASE, REPLICAS] {
        let kustomization = yaml(&format!("{folder}/kustomization.yaml"));
        let mut listed = texts(&kustomization["resources"]);
        let patches = kustomization["patches"].as_array().into_iter().flatten();
        listed.extend(patches.map(|patch| patch["path"].as_str().unwrap()));
        listed.push("kustomization.yaml");
        listed.sort_unstable();
        let files = std::fs::read_dir(path(folder)).unwrap();
        let mut files: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, listed);
    }
}

#[test]
fn replicas_share_their_state_and_each_is_scraped_for_what_is_its_own() {
    let of_replicas = |name: &str| yaml(&format!("{REPLICAS}/{name}.yaml"));
    let deployment = of_replicas("deployment");
    assert_eq!(deployment["spec"]["strategy"]["type"], "RollingUpdate");
    assert!(deployment["spec"]["replicas"].as_u64().unwrap() > 1);
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let variable = &container["env"][0];
    let name = variable["name"].as_str().unwrap();
    assert!(VARIABLES.iter().any(|variable| variable.name() == name), "{name}");
    let folder = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert_eq!(variable["value"], format!("{folder}/url"));
    assert_eq!(pod["volumes"][0]["name"], container["volumeMounts"][0]["name"]);
    // The policy keeps what the pods may reach without a store.
    let egress = |policy: Value| policy["spec"]["egress"].as_array().unwrap().clone();
    let (alone, shared) = (egress(manifest("networkpolicy")), egress(of_replicas("networkpolicy")));
    assert_eq!(shared[..alone.len()], alone);
    assert_eq!(shared.len(), alone.len() + 1);
    // What Prometheus keeps of each is the same as in the Compose file.
    let compose = yaml("deploy/replicas/prometheus.yml");
    let jobs = compose["scrape_configs"].as_array().unwrap();
    let own = jobs
        .iter()
        .find(|job| job["job_name"] == "sonorancad-replicas")
        .unwrap();
    let monitor = of_replicas("servicemonitor");
    let kept = &monitor["spec"]["endpoints"][0]["metricRelabelings"][0];
    assert_eq!(own["metric_relabel_configs"][0]["regex"], kept["regex"]);
}

#[test]
fn two_exporters_never_share_the_budget_of_a_key() {
    let spec = &manifest("deployment")["spec"];
    assert_eq!(spec["replicas"], 1);
    // Not even during an update.
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn the_pod_has_the_user_of_the_image() {
    let dockerfile = std::fs::read_to_string(path("Dockerfile")).unwrap();
    let pod = pod();
    let context = &pod["securityContext"];
    let user = &context["runAsUser"];
    assert!(dockerfile.contains(&format!("\nUSER {user}:{user}\n")), "{user}");
    // By its group, it may read the key.
    assert_eq!((&context["runAsGroup"], &context["fsGroup"]), (user, user));
}

#[test]
fn the_pod_runs_this_version_with_the_key_from_a_secret() {
    let pod = pod();
    let container = &pod["containers"][0];
    assert_eq!(
        container["image"],
        concat!("sonorancad-exporter:", env!("CARGO_PKG_VERSION"))
    );
    let variables = container["env"].as_array().unwrap();
    for variable in variables {
        let name = variable["name"].as_str().unwrap();
        assert!(VARIABLES.iter().any(|variable| variable.name() == name), "{name}");
    }
    let directory = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let item = pod["volumes"][0]["secret"]["items"][0]["path"].as_str().unwrap();
    let key_file = json!({"name": "SONORANCAD_API_KEY_FILE", "value": format!("{directory}/{item}")});
    assert!(variables.contains(&key_file), "{variables:?}");
}

#[test]
fn the_manifests_use_the_default_port() {
    let pod = pod();
    let container = &pod["containers"][0];
    let (name, port) = (&container["ports"][0]["name"], default_port());
    assert_eq!(container["ports"][0]["containerPort"], port);
    for (probe, path) in [("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")] {
        assert_eq!(
            container[probe]["httpGet"],
            json!({"path": path, "port": name}),
            "{probe}"
        );
    }
    let service = &manifest("service");
    let labels = &manifest("deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(service["spec"]["selector"], *labels);
    let service_port = &service["spec"]["ports"][0];
    assert_eq!(
        (&service_port["port"], &service_port["targetPort"]),
        (&json!(port), name)
    );
    let policy = &manifest("networkpolicy")["spec"];
    assert_eq!(policy["podSelector"]["matchLabels"], *labels);
    assert_eq!(policy["ingress"][0]["ports"][0]["port"], port);

    let monitor = &manifest("servicemonitor")["spec"];
    assert_eq!(monitor["selector"]["matchLabels"], service["metadata"]["labels"]);
    let endpoint = &monitor["endpoints"][0];
    assert_eq!(endpoint["port"], service_port["name"]);
    // The alerts select jobs whose name begins like this.
    assert_eq!(
        endpoint["relabelings"],
        json!([{"targetLabel": "job", "replacement": "sonorancad"}])
    );
}

#[test]
fn the_alerts_are_those_of_the_rules_file() {
    let rules = yaml("deploy/prometheus/sonorancad.rules.yml");
    assert_eq!(manifest("prometheusrule")["spec"], rules);
}

/// A manifest of the overlay with many communities.
fn overlay(name: &str) -> Value {
    yaml(&format!("{COMMUNITIES}/{name}.yaml"))
}

#[test]
fn the_overlay_replaces_what_names_one_community() {
    let base = pod();
    let patch = overlay("deployment");
    assert_eq!(patch["metadata"]["name"], manifest("deployment")["metadata"]["name"]);
    let patch = &patch["spec"]["template"]["spec"];
    let (container, patched) = (&base["containers"][0], &patch["containers"][0]);
    assert_eq!(container["name"], patched["name"]);
    let is_deleted = |item: &&Value| item["$patch"] == "delete";
    let keys = |items: &Value, key: &str, deleted: bool| -> Vec<Value> {
        let items = items.as_array().unwrap().iter();
        items
            .filter(|item| is_deleted(item) == deleted)
            .map(|item| item[key].clone())
            .collect()
    };
    // Everything of the base is deleted, and the file of communities takes its place.
    assert_eq!(
        keys(&patched["env"], "name", true),
        keys(&container["env"], "name", false)
    );
    assert_eq!(keys(&patched["env"], "name", false), ["SONORANCAD_COMMUNITIES_FILE"]);
    assert_eq!(
        keys(&patched["volumeMounts"], "mountPath", true),
        keys(&container["volumeMounts"], "mountPath", false)
    );
    assert_eq!(
        keys(&patch["volumes"], "name", true),
        keys(&base["volumes"], "name", false)
    );
    assert_eq!(
        keys(&patch["volumes"], "name", false),
        keys(&patched["volumeMounts"], "name", false)
    );
    let file = patched["env"].as_array().unwrap().last().unwrap()["value"]
        .as_str()
        .unwrap();
    let folder = patched["volumeMounts"][1]["mountPath"].as_str().unwrap();
    assert_eq!(file, format!("{folder}/communities.yml"));
    // Read by the same group.
    let (secret, key) = (&patch["volumes"][1]["secret"], &base["volumes"][0]["secret"]);
    assert_eq!(secret["defaultMode"], key["defaultMode"]);
}

#[test]
fn prometheus_finds_the_communities_of_the_overlay() {
    let kustomization = overlay("kustomization");
    let scrape = overlay("scrapeconfig");
    let namespace = kustomization["namespace"].as_str().unwrap();
    let service = manifest("service")["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        scrape["spec"]["httpSDConfigs"][0]["url"],
        format!("http://{service}.{namespace}.svc:{}/sd", default_port())
    );
    // The alerts select jobs whose name begins like this.
    let relabelings = &manifest("servicemonitor")["spec"]["endpoints"][0]["relabelings"];
    assert_eq!(scrape["spec"]["relabelings"], *relabelings);
    for file in texts(&kustomization["resources"]) {
        assert!(path(COMMUNITIES).join(file).exists(), "{file}");
    }
    assert_eq!(kustomization["patches"], json!([{"path": "deployment.yaml"}]));
}

#[test]
fn the_example_of_communities_can_be_read() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("communities.yml");
    std::fs::copy(path(COMMUNITIES).join("communities.example.yml"), &file).unwrap();
    for key in ["blaine.key", "sandy.key"] {
        std::fs::write(folder.path().join(key), key).unwrap();
    }
    let variables = [("SONORANCAD_COMMUNITIES_FILE".into(), file.into())];
    let config = Config::read(Setting::from_environment(variables)).unwrap();
    let labels = config
        .communities
        .values()
        .map(|community| community.labels["team"].as_str());
    assert_eq!(labels.collect::<Vec<_>>(), ["north", "south"]);
}
