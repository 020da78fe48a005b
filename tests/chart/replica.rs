//! Replicas as the chart's Deployment has them run: its arguments, its environment, its account. Only the
//! program takes the place of the image.

use super::helm::{NAMESPACE, container, find};
use super::support::control_plane::ControlPlane;
use super::support::operator::Operator;
use super::support::process::free_port;
use opamp_operator::sim::{self, Access, Behaviour, Endpoint, Profile, Simulated};
use serde_json::Value;
use std::time::Duration;

/// Values for one replica on this machine: an address of its own, free ports, and times five times shorter.
pub fn alone(host: u8) -> Vec<String> {
    let values = [
        "image.repository=registry.example.org/opamp-operator".to_owned(),
        format!("bindAddress=127.0.31.{host}"),
        format!("ports.opamp={}", free_port()),
        format!("ports.admin={}", free_port()),
        "limits.drainPeriod=1s".to_owned(),
        "extraArgs={--time-scale=5}".to_owned(),
    ];
    values.into_iter().flat_map(|value| ["--set".to_owned(), value]).collect()
}

/// Runs a pod of this name, as the manifests have it.
///
/// # Panics
/// When it does not become ready.
pub async fn run(plane: &ControlPlane, manifests: &[Value], pod: &str) -> Operator {
    let spec = &find(manifests, "Deployment", "opamp-operator")["spec"]["template"]["spec"];
    let account = spec["serviceAccountName"].as_str().expect("an account");
    let token = plane.kubectl(&["-n", NAMESPACE, "create", "token", account]).expect("a token");
    let kubeconfig = plane.kubeconfig_by(token.trim(), pod);
    let container = container(manifests);
    let args = super::helm::texts(&container["args"]);
    let mut environment = vec![("KUBECONFIG", kubeconfig.to_str().expect("a path in UTF-8"))];
    for variable in container["env"].as_array().expect("variables") {
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match field {
            Some("metadata.name") => pod,
            Some("metadata.namespace") => NAMESPACE,
            Some(other) => panic!("{other} is no field that is known here"),
            None => variable["value"].as_str().expect("a value"),
        };
        environment.push((variable["name"].as_str().expect("a name"), value));
    }
    Operator::start_container(&args, &environment, &plane.dir().join(format!("{pod}.log"))).await
}

/// An agent with the attribute `test`, which shows this token.
pub fn agent(endpoint: &str, key: u8, test: &str, token: &str, behaviour: &Behaviour) -> Simulated {
    let header = ("Authorization".to_owned(), format!("Bearer {token}"));
    let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
    let profile = Profile::new([key; 16]).with("test", test).with("host.name", &format!("host-{key}"));
    let (heartbeat, last_backoff) = (Duration::from_millis(100), Duration::from_secs(1));
    let pace = sim::Pace { heartbeat, last_backoff, ..sim::Pace::default() };
    let access = Access::default().by_headers([header]);
    sim::spawn(sim::Agent::new(profile, behaviour.clone()), endpoint.with(access), pace)
}
