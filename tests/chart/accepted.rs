//! The real API server takes whatever the chart renders, and runs its pods under the strictest standard.

use super::helm::{NAMESPACE, SETS, container, find, manifests, rendered};
use super::support::control_plane::ControlPlane;
use super::support::tool;
use serde_json::json;

/// Definitions of the kinds of others that the chart renders.
const OTHERS: [&str; 3] = ["gateway-api-crds.yaml", "prometheus-crds.yaml", "cert-manager-crds.yaml"];

#[tokio::test(flavor = "multi_thread")]
async fn every_manifest_is_accepted_and_pods_pass_the_restricted_standard() {
    let plane = ControlPlane::start_empty().await;
    let kubectl = |args: &[&str]| plane.kubectl(args).unwrap_or_else(|said| panic!("{args:?}: {said}"));
    for definitions in OTHERS {
        let file = tool(definitions);
        let file = file.to_str().expect("a path in UTF-8");
        kubectl(&["apply", "--server-side", "-f", file]);
        kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", file]);
    }
    kubectl(&["create", "namespace", NAMESPACE]);
    let written = |name: &str, text: &str| {
        let file = plane.dir().join(name);
        std::fs::write(&file, text).expect("written");
        file.to_str().expect("a path in UTF-8").to_owned()
    };
    for set in SETS {
        let text = rendered(set);
        let file = written("rendered.yaml", &text);
        // Unknown fields are refused, and so is what the schemas of the others do not allow.
        let said = kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &file]);
        assert_eq!(said.lines().count(), manifests(&text).len(), "{set}: {said}");
    }

    // A ServiceAccount has to be there before a pod can be tried.
    kubectl(&["-n", NAMESPACE, "create", "serviceaccount", "opamp-operator"]);
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", NAMESPACE, restricted]);
    for set in ["defaults", "everything", "high-availability"] {
        let all = manifests(&rendered(set));
        let template = &find(&all, "Deployment", "opamp-operator")["spec"]["template"];
        let metadata =
            json!({"name": "tried", "namespace": NAMESPACE, "labels": template["metadata"]["labels"]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
        let file = written("pod.json", &pod.to_string());
        kubectl(&["create", "--dry-run=server", "-f", &file]);

        let account = &template["spec"]["serviceAccountName"];
        assert_eq!(account, "opamp-operator", "{set}");
        assert_eq!(container(&all)["securityContext"]["readOnlyRootFilesystem"], true, "{set}");
        let mut loose = pod.clone();
        loose["spec"]["containers"][0]["securityContext"]["capabilities"].take();
        let file = written("pod.json", &loose.to_string());
        let said = plane
            .kubectl(&["create", "--dry-run=server", "-f", &file])
            .expect_err("the standard is enforced");
        assert!(said.contains("violates PodSecurity"), "{set}: {said}");
    }
}
