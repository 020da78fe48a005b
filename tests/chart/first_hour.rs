//! The README's way from `helm install` to a first completed rollout, by its own commands. What it builds is built by
//! other tests; what a kubelet and a port-forward would do is done here.

use super::helm::manifests;
use super::replica::{alone, run};
use super::rights::served;
use super::support::control_plane::ControlPlane;
use super::support::pages::replaced;
use super::support::resources::Space;
use super::support::shell::{self, commands};
use super::support::supervisor::Supervisor;
use opamp_operator::api::RolloutState;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[tokio::test(flavor = "multi_thread")]
async fn readme_alone_leads_from_helm_install_to_a_completed_rollout() {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md");
    let section = readme.split_once("\n## On a cluster\n").expect("the section").1;
    let section = section.split_once("\n## ").expect("another section").0;
    let blocks = commands(section);
    let [install, fleet, agent, wait] = &blocks[..] else { panic!("{} blocks: {blocks:?}", blocks.len()) };

    let plane = ControlPlane::start_empty().await;
    let values = alone(9).iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let install = replaced(
        install,
        &[
            ("make image IMAGE=registry.example.org/opamp-operator PUSH=1\n", ""),
            ("--set image.repository=registry.example.org/opamp-operator\n", &format!("{values}\n")),
            ("kubectl -n opamp-operator rollout status deployment/opamp-operator", ""),
        ],
    );
    in_shell(&plane, &install).await;
    let rendered = in_shell(&plane, "helm get manifest opamp-operator --namespace opamp-operator").await;
    let operator = run(&plane, &manifests(&rendered), "opamp-operator-1").await;
    served(&plane).await;
    in_shell(&plane, fleet).await;

    assert!(
        agent.ends_with("\n.tools/bin/opampsupervisor --config examples/first/hosts/supervisor.yaml"),
        "{agent}"
    );
    let built = "tools/build.sh opampsupervisor collector\n";
    let started = ".tools/bin/opampsupervisor --config examples/first/hosts/supervisor.yaml";
    let token =
        in_shell(&plane, &replaced(agent, &[(built, ""), (started, "printf %s \"$OPAMP_TOKEN\"")])).await;
    let shown = Path::new(ROOT).join("examples/first/hosts/supervisor.yaml");
    let shown = std::fs::read_to_string(shown).expect("supervisor.yaml");
    let storage = plane.dir().join("first-agent");
    let config = replaced(
        &shown,
        &[
            ("ws://127.0.0.1:4320/v1/opamp", &operator.websocket()),
            (".tools/first-agent", storage.to_str().expect("UTF-8")),
        ],
    );
    let environment = [("OPAMP_TOKEN", token.as_str())];
    let _agent = Supervisor::start_from(&config, &environment, plane.dir(), "first-agent", storage);

    let printed = in_shell(&plane, wait).await;
    assert!(printed.contains("configrollout.fleet.opamp.dev/checkout condition met"), "{printed}");
    let space = Space { client: plane.client.clone(), name: "fleet".to_owned() };
    let rollout = space.rollout_is("checkout", RolloutState::Completed).await;
    assert_eq!(rollout.status.expect("a status").progress, "1/1");
    let columns = |text: &str| {
        let shown = |line: &&str| line.starts_with("NAME ") || line.contains(".fleet.opamp.dev/checkout ");
        // The counts of the group follow what agents say, in their own time.
        let words = |line: &str| -> Vec<String> {
            let words = line.split_whitespace().map(str::to_owned);
            if line.starts_with("NAME ") { words.collect() } else { words.take(1).collect() }
        };
        text.lines().filter(shown).map(words).collect::<Vec<_>>()
    };
    let expected = section.split_once("```text\n").expect("what is printed").1;
    assert_eq!(columns(&printed), columns(expected), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_applied_and_deleted_without_helms_releases_as_the_pages_say() {
    let plane = ControlPlane::start_empty().await;
    let of = |page: &str, from: &str| {
        let text = std::fs::read_to_string(Path::new(ROOT).join("docs").join(page)).expect(page);
        let section = text.split_once(from).unwrap_or_else(|| panic!("{page} has no {from}")).1;
        commands(section.split("\n## ").next().expect("a section")).join("\n")
    };
    let list = "kubectl get --ignore-not-found --namespace opamp-operator -o name \
                deployments,services,serviceaccounts,configmaps,poddisruptionbudgets,clusterroles,clusterrolebindings,\
                mutatingadmissionpolicies,validatingadmissionpolicies -l app.kubernetes.io/name=opamp-operator";
    in_shell(&plane, &of("install.md", "\n## Without Helm's releases\n")).await;
    let there = in_shell(&plane, list).await;
    for kind in
        ["deployment.apps/opamp-operator", "serviceaccount/opamp-operator", "policy.admissionregistration"]
    {
        assert!(there.contains(kind), "{kind}: {there}");
    }
    in_shell(&plane, &of("uninstall.md", "\n## Without Helm\n")).await;
    assert_eq!(in_shell(&plane, list).await, "");
    let definitions = in_shell(&plane, "kubectl get crds -o name").await;
    assert_eq!(definitions.matches(".fleet.opamp.dev").count(), 4, "{definitions}");
}

async fn in_shell(plane: &ControlPlane, script: &str) -> String {
    shell::run(script, &plane.kubeconfig, Path::new(ROOT)).await
}
