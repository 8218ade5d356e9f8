//! The manifests of Kubernetes: valid, and fitting the image and the program.

use serde_json::{Value, json};
use sonorancad_exporter::config::VARIABLES;

use super::{default_port, path, run, texts, yaml};
use crate::support::tools::has;

fn manifest(name: &str) -> Value {
    yaml(&format!("deploy/kubernetes/{name}.yaml"))
}

/// The pod that the Deployment makes.
fn pod() -> Value {
    manifest("deployment")["spec"]["template"]["spec"].clone()
}

#[test]
fn kubernetes_accepts_the_manifests() {
    if has("kubernetes-validate", &["--version"]) {
        // Fields that the schema does not know are mistakes.
        let files = [
            "deployment",
            "service",
            "networkpolicy",
            "replicas/poddisruptionbudget",
            "replicas/service",
            "replicas/networkpolicy",
        ];
        let files = files.map(|name| format!("deploy/kubernetes/{name}.yaml"));
        let mut arguments = vec!["--strict"];
        arguments.extend(files.iter().map(String::as_str));
        let said = run("kubernetes-validate", &arguments);
        assert_eq!(said.matches(" passed for resource ").count(), files.len(), "{said}");
    }
}

#[test]
fn the_kustomizations_list_every_manifest() {
    for folder in ["", "replicas/"] {
        let kustomization = manifest(&format!("{folder}kustomization"));
        let mut listed = texts(&kustomization["resources"]);
        let patches = kustomization["patches"].as_array().into_iter().flatten();
        listed.extend(patches.map(|patch| patch["path"].as_str().unwrap()));
        listed.push("kustomization.yaml");
        listed.sort_unstable();
        let files = std::fs::read_dir(path("deploy/kubernetes").join(folder)).unwrap();
        let files = files.map(Result::unwrap).filter(|file| file.path().is_file());
        let mut files: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, listed);
    }
}

#[test]
fn replicas_share_their_state_and_each_is_scraped_for_what_is_its_own() {
    let deployment = manifest("replicas/deployment");
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
    let egress = |name: &str| manifest(name)["spec"]["egress"].as_array().unwrap().clone();
    let (alone, shared) = (egress("networkpolicy"), egress("replicas/networkpolicy"));
    assert_eq!(shared[..alone.len()], alone);
    assert_eq!(shared.len(), alone.len() + 1);
    // What Prometheus keeps of each is the same as in the Compose file.
    let compose = yaml("deploy/replicas/prometheus.yml");
    let jobs = compose["scrape_configs"].as_array().unwrap();
    let own = jobs
        .iter()
        .find(|job| job["job_name"] == "sonorancad-replicas")
        .unwrap();
    let monitor = manifest("replicas/servicemonitor");
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
