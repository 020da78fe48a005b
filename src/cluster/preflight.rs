//! What must hold before the program starts to serve: a reachable API server, the CRDs, the rights.

use super::requests::Counting;
use super::watching::LONGEST_SILENCE;
use crate::api::{self, SCHEMA_ANNOTATION, SCHEMA_VERSION};
use crate::telemetry::ControlMetrics;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use kube::client::ClientBuilder;
use kube::{Client, ResourceExt};
use std::time::Duration;
use tower::timeout::TimeoutLayer;

/// How long the API server may take to answer the first request.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Why the program does not start: one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No kubeconfig, and not in a cluster.
    #[error("no Kubernetes cluster is configured: set KUBECONFIG, or run in a cluster ({0})")]
    NoConfig(String),
    /// The API server does not answer.
    #[error("the Kubernetes API server at {url} cannot be reached: {cause}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What happened.
        cause: String,
    },
    /// CRDs are not there.
    #[error(
        "the custom resource definitions are missing ({0}): run `opamp-operator crds | kubectl apply --server-side -f -`"
    )]
    MissingCrds(String),
    /// CRDs are older than this program.
    #[error(
        "the custom resource definition {0} is older than this program: run `opamp-operator crds | kubectl apply --server-side -f -`"
    )]
    OldCrd(String),
    /// Rights are missing.
    #[error(
        "the operator has not the rights to {0}: bind its account to a role that has them; docs/install.md lists all"
    )]
    MissingRights(String),
    /// The API server refused a question of the preflight itself.
    #[error("the Kubernetes API server refused to {what}: {cause}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        cause: String,
    },
}

/// A client from the kubeconfig or the cluster, as kubectl finds them. Its requests are counted.
///
/// # Errors
/// When there is no configuration, or the API server does not answer.
pub async fn connect(metrics: ControlMetrics) -> Result<Client, StartError> {
    let mut config = kube::Config::infer().await.map_err(|error| StartError::NoConfig(one_line(&error)))?;
    let environment = PROXIES.iter().filter_map(|name| std::env::var(name).ok());
    without_proxy(&mut config, environment)?;
    let url = config.cluster_url.to_string();
    let client = client(config, metrics)?;
    let unreachable = |cause: String| StartError::Unreachable { url: url.clone(), cause };
    match tokio::time::timeout(FIRST_ANSWER, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(error)) => Err(unreachable(one_line(&error))),
        Err(_) => Err(unreachable(format!("no answer within {} s", FIRST_ANSWER.as_secs()))),
    }
}

/// The variables that the client takes for its own proxy, if it has its configuration from a kubeconfig.
const PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// Reaches the API server without the proxy of the environment, which is for whatever is outside of the cluster: so it is
/// by itself in a pod. A proxy that the kubeconfig itself names is refused, without being repeated: it may have a password.
fn without_proxy(
    config: &mut kube::Config,
    mut environment: impl Iterator<Item = String>,
) -> Result<(), StartError> {
    let Some(proxy) = config.proxy_url.take() else { return Ok(()) };
    if environment.any(|text| text.parse().is_ok_and(|url: http::Uri| url == proxy)) {
        return Ok(());
    }
    Err(StartError::NoConfig("the kubeconfig has a proxy-url, and no proxy is used".to_owned()))
}

/// A client that lets no request hang for ever, as where the API server's machine is gone before it has answered: by
/// itself it waits without end, and with it whatever comes after. A watch is answered when it begins.
fn client(mut config: kube::Config, metrics: ControlMetrics) -> Result<Client, StartError> {
    bound(&mut config);
    let builder = ClientBuilder::try_from(config).map_err(|error| StartError::NoConfig(one_line(&error)))?;
    // Also for what was never sent: hyper can lose a request if its connection ends in the moment in which it is given it.
    let answered = TimeoutLayer::new(LONGEST_SILENCE);
    Ok(builder.with_layer(&answered).with_layer(&Counting(metrics)).build())
}

/// Ends connections on which nothing comes or goes.
fn bound(config: &mut kube::Config) {
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(LONGEST_SILENCE);
    // A connection that was not used for a while has not been silent.
    config.reset_reader_on_write = true;
    config.write_timeout = Some(LONGEST_SILENCE);
}

/// Checks CRDs and rights.
///
/// # Errors
/// With what is missing, and how to mend it.
pub async fn preflight(client: &Client, namespace: &str) -> Result<(), StartError> {
    check_rights(client, namespace).await?;
    check_crds(client).await
}

async fn check_crds(client: &Client) -> Result<(), StartError> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut missing = Vec::new();
    for expected in api::crds() {
        let name = expected.name_any();
        let refused =
            |error| StartError::Refused { what: format!("read CRD {name}"), cause: one_line(&error) };
        match crds.get_opt(&name).await.map_err(refused)? {
            None => missing.push(name),
            Some(found) if schema_version(&found) < SCHEMA_VERSION => return Err(StartError::OldCrd(name)),
            Some(_) => {}
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(StartError::MissingCrds(missing.join(", "))) }
}

fn schema_version(crd: &CustomResourceDefinition) -> u32 {
    crd.annotations().get(SCHEMA_ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What the program does with one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The API group.
    pub group: &'static str,
    /// The resource, or `RESOURCE/SUBRESOURCE`.
    pub resource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
}

const fn right(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Right {
    Right { group, resource, verbs }
}

/// What the program does with the API in all namespaces: the rules of the cluster role that it wants.
pub const RIGHTS: &[Right] = &[
    right("fleet.opamp.dev", "collectorgroups", &["list", "watch"]),
    right("fleet.opamp.dev", "collectorgroups/status", &["patch"]),
    right("fleet.opamp.dev", "configrollouts", &["list", "watch"]),
    right("fleet.opamp.dev", "configrollouts/status", &["patch"]),
    right("fleet.opamp.dev", "configrevisions", &["get", "list", "watch", "create", "patch", "delete"]),
    right("fleet.opamp.dev", "configrevisions/status", &["patch"]),
    right("fleet.opamp.dev", "agentslices", &["get", "list", "watch", "create", "update", "delete"]),
    right("", "configmaps", &["get", "list", "watch"]),
    right("", "secrets", &["get", "list", "watch", "create"]),
    right("authentication.k8s.io", "tokenreviews", &["create"]),
    right("events.k8s.io", "events", &["create"]),
    right("apiextensions.k8s.io", "customresourcedefinitions", &["get"]),
    right("admissionregistration.k8s.io", "mutatingadmissionpolicies", &["get"]),
    right("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", &["get"]),
];
/// What it does in its own namespace only.
pub const OWN_RIGHTS: &[Right] =
    &[right("coordination.k8s.io", "leases", &["get", "list", "watch", "create", "update", "delete"])];

async fn check_rights(client: &Client, namespace: &str) -> Result<(), StartError> {
    let everywhere = RIGHTS.iter().map(|right| (right, None));
    let own = OWN_RIGHTS.iter().map(|right| (right, Some(namespace.to_owned())));
    let mut missing = Vec::new();
    for (Right { group, resource, verbs }, namespace) in everywhere.chain(own) {
        for verb in *verbs {
            if !allowed(client, group, resource, verb, namespace.clone()).await? {
                let place =
                    namespace.as_ref().map_or_else(|| "in all namespaces".to_owned(), |n| format!("in {n}"));
                missing.push(format!("{verb} {resource} {place}"));
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(StartError::MissingRights(missing.join(", "))) }
}

async fn allowed(
    client: &Client,
    group: &str,
    resource: &str,
    verb: &str,
    namespace: Option<String>,
) -> Result<bool, StartError> {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
                namespace,
                ..Default::default()
            }),
            ..Default::default()
        },
        ..Default::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let refused =
        |error| StartError::Refused { what: "say what is allowed".to_owned(), cause: one_line(&error) };
    Ok(answer.map_err(refused)?.status.is_some_and(|status| status.allowed))
}

/// An error with its causes on one line.
fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    #[test]
    fn proxy_of_the_environment_is_not_for_the_api_server_and_one_of_the_kubeconfig_is_refused_unseen() {
        let proxy = "http://me:hidden@proxy.example.com:3128";
        for (of_config, environment, expected) in [
            (None, &[][..], true),
            (None, &[proxy], true),
            (Some(proxy), &[proxy], true),
            (Some(proxy), &["no URL", proxy], true),
            (Some(proxy), &["http://proxy.example.org:3128"], false),
            (Some(proxy), &[], false),
        ] {
            let mut config = kube::Config::new("https://127.0.0.1".parse().expect("a URL"));
            config.proxy_url = of_config.map(|url| url.parse().expect("a URL"));
            let told = without_proxy(&mut config, environment.iter().map(|text| (*text).to_owned()));
            assert_eq!((told.is_ok(), &config.proxy_url), (expected, &None), "{of_config:?} {environment:?}");
            assert!(!format!("{told:?}").contains("hidden"), "{told:?}");
        }
    }

    /// Its machine was lost after it had taken the request.
    #[tokio::test(start_paused = true)]
    async fn request_that_an_api_server_takes_and_never_answers_fails_in_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut config = kube::Config::new(format!("http://{address}").parse().expect("a URL"));
        bound(&mut config);
        let client = Client::try_from(config).expect("a client");
        let start = Instant::now();
        tokio::select! {
            answer = client.apiserver_version() => assert!(answer.is_err()),
            () = async { let _taken = listener.accept().await; std::future::pending().await } => {}
        }
        assert_eq!(start.elapsed().as_secs(), LONGEST_SILENCE.as_secs());
    }

    /// Its connection is never silent for long.
    #[tokio::test(start_paused = true)]
    async fn request_whose_answer_never_begins_fails_in_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let config = kube::Config::new(format!("http://{address}").parse().expect("a URL"));
        let client = client(config, ControlMetrics::default()).expect("a client");
        let start = Instant::now();
        let dribble = async {
            let (mut taken, _) = listener.accept().await.expect("a connection");
            let asked = taken.read(&mut [0; 1024]).await.expect("a request");
            assert!(asked > 0);
            taken.write_all(b"HTTP/1.1 200 OK\r\nslowly: ").await.expect("written");
            while start.elapsed() < LONGEST_SILENCE * 10 {
                taken.write_all(b"a").await.expect("written");
                tokio::time::sleep(LONGEST_SILENCE / 5).await;
            }
        };
        tokio::select! {
            answer = client.apiserver_version() => {
                let error = answer.expect_err("no answer").to_string();
                assert!(error.contains("timed out"), "{error}");
            }
            () = dribble => {}
        }
        assert_eq!(start.elapsed().as_secs(), LONGEST_SILENCE.as_secs());
    }
}
