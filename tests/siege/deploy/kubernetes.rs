//! The manifests of Kubernetes: valid, and as little allowed as the exporter needs.

use serde_json::{Value, json};

use super::{path, run, texts, yaml};
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
        let files = ["deployment", "service", "networkpolicy"].map(|name| format!("deploy/kubernetes/{name}.yaml"));
        let mut arguments = vec!["--strict"];
        arguments.extend(files.iter().map(String::as_str));
        let said = run("kubernetes-validate", &arguments);
        assert_eq!(said.matches(" passed for resource ").count(), files.len(), "{said}");
    }
}

#[test]
fn the_kustomization_holds_every_manifest() {
    let kustomization = manifest("kustomization");
    let mut listed = texts(&kustomization["resources"]);
    listed.push("kustomization.yaml");
    listed.sort_unstable();
    let files = std::fs::read_dir(path("deploy/kubernetes")).unwrap();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, listed);
}

#[test]
fn one_exporter_spends_a_keys_budget() {
    let spec = &manifest("deployment")["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn the_pod_can_do_little() {
    let pod = pod();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod[shared], Value::Null, "{shared}");
    }
    let context = &pod["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    // The image's own user, who must be able to read the key.
    let dockerfile = std::fs::read_to_string(path("Dockerfile")).unwrap();
    let user = &context["runAsUser"];
    assert!(dockerfile.contains(&format!("\nUSER {user}:{user}\n")), "{user}");
    assert_eq!((&context["runAsGroup"], &context["fsGroup"]), (user, user));

    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(
        containers[0]["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    let resources = &containers[0]["resources"];
    assert!(resources["requests"]["cpu"].is_string() && resources["requests"]["memory"].is_string());
    // As under systemd.
    assert_eq!(resources["limits"], json!({"memory": "512Mi"}));
}

#[test]
fn the_pod_runs_this_version_with_the_key_from_a_secret() {
    let pod = pod();
    let container = &pod["containers"][0];
    assert_eq!(
        container["image"],
        concat!("sonorancad-exporter:", env!("CARGO_PKG_VERSION"))
    );
    assert!(container.get("command").is_none() && container.get("args").is_none());
    let mount = &container["volumeMounts"][0];
    let volume = &pod["volumes"][0];
    assert_eq!(mount["name"], volume["name"]);
    let secret = &volume["secret"];
    assert_eq!(secret["secretName"], "sonorancad-exporter");
    assert_eq!(secret["items"], json!([{"key": "api_key", "path": "api_key"}]));
    let file = format!("{}/api_key", mount["mountPath"].as_str().unwrap());
    let variables = container["env"].as_array().unwrap();
    let holds_file = |variable: &Value| *variable == json!({"name": "SONORANCAD_API_KEY_FILE", "value": file});
    assert!(variables.iter().any(holds_file), "{variables:?}");
    // Nobody's key is in these files.
    let deployment = std::fs::read_to_string(path("deploy/kubernetes/deployment.yaml")).unwrap();
    assert!(deployment.contains("kubectl create secret generic sonorancad-exporter --from-file=api_key\n"));
}

#[test]
fn probes_and_scrapes_meet_the_port() {
    let pod = pod();
    let container = &pod["containers"][0];
    let ports = &container["ports"];
    assert_eq!(*ports, json!([{"name": "metrics", "containerPort": 10911}]));
    for (probe, path) in [("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")] {
        assert_eq!(
            container[probe]["httpGet"],
            json!({"path": path, "port": "metrics"}),
            "{probe}"
        );
    }
    let service = &manifest("service");
    let labels = &manifest("deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(service["spec"]["selector"], *labels);
    assert_eq!(
        service["spec"]["ports"],
        json!([{"name": "metrics", "port": 10911, "targetPort": "metrics"}])
    );
    let monitor = &manifest("servicemonitor")["spec"];
    assert_eq!(monitor["selector"]["matchLabels"], service["metadata"]["labels"]);
    let endpoint = &monitor["endpoints"][0];
    assert_eq!(
        (&endpoint["port"], &endpoint["interval"]),
        (&json!("metrics"), &json!("30s"))
    );
    // The alerts are about jobs whose name begins so.
    assert_eq!(
        endpoint["relabelings"],
        json!([{"targetLabel": "job", "replacement": "sonorancad"}])
    );
}

#[test]
fn the_network_is_open_for_scrapes_names_and_the_api_alone() {
    let policy = manifest("networkpolicy");
    let spec = &policy["spec"];
    let labels = &manifest("deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(spec["podSelector"]["matchLabels"], *labels);
    assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
    let namespace = json!({"kubernetes.io/metadata.name": "monitoring"});
    assert_eq!(
        spec["ingress"],
        json!([{
            "from": [{"namespaceSelector": {"matchLabels": namespace}}],
            "ports": [{"protocol": "TCP", "port": 10911}],
        }])
    );
    assert_eq!(
        spec["egress"],
        json!([
            {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
            {"ports": [{"protocol": "TCP", "port": 443}]},
        ])
    );
}

#[test]
fn the_alerts_are_those_of_the_rules_file() {
    let rules = yaml("deploy/prometheus/sonorancad.rules.yml");
    assert_eq!(manifest("prometheusrule")["spec"], rules);
}
