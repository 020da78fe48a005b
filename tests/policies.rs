//! The admission policies of `policies/` on a real API server, with real users: who changed a rollout, who may ask
//! for what, and who writes revisions and slices.

mod support;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use opamp_operator::api::{CollectorGroup, ConfigRevision, ConfigRollout, RolloutState};
use opamp_operator::sim::{self, Behaviour, Profile};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use support::control_plane::{self, ControlPlane};
use support::eventually;
use support::operator::Operator;
use support::policies::OPERATOR;
use support::resources::{Space, collector, group, inline, phased, rollout};

const CHANGED_BY: &str = "fleet.opamp.dev/changed-by";
const MASTERS: &str = "system:masters";
const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";

#[tokio::test(flavor = "multi_thread")]
async fn who_changed_the_spec_is_stamped_and_a_client_that_writes_the_stamp_itself_is_overruled() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "stamps").await;
    let alice = User::new(&plane, &space, "alice", &[]).await;
    let bob = User::new(&plane, &space, "bob", &[]).await;
    let changed_by = async || stamp(&space, CHANGED_BY).await;

    let mut manifest = rollout("r", "g", inline("a: 1"));
    manifest["metadata"]["annotations"] = json!({CHANGED_BY: "mallory", "team": "checkout"});
    alice.create(&manifest).await.expect("created");
    assert_eq!(changed_by().await.as_deref(), Some("alice"), "on create");

    // Whatever else is written, the old value stays: changed, removed, and with all other annotations gone.
    for annotations in
        [json!({CHANGED_BY: "mallory"}), json!({CHANGED_BY: null}), json!({"team": "x"}), Value::Null]
    {
        bob.annotate(annotations.clone()).await.expect("annotated");
        assert_eq!(changed_by().await.as_deref(), Some("alice"), "after {annotations}");
    }
    // The same spec, applied with a stamp by the administrator; then without it, which would remove it.
    space.apply(manifest.clone()).await;
    assert_eq!(changed_by().await.as_deref(), Some("alice"), "applied with the same spec");
    manifest["metadata"]["annotations"] = Value::Null;
    space.apply(manifest.clone()).await;
    assert_eq!(changed_by().await.as_deref(), Some("alice"), "applied without the annotation");
    // A write of the status is none of the spec, whoever writes it.
    let status = json!({"metadata": {"annotations": {CHANGED_BY: "x"}}, "status": {"message": "m"}});
    let params = PatchParams::default();
    space.api::<ConfigRollout>().patch_status("r", &params, &Patch::Merge(status)).await.expect("written");
    assert_eq!(changed_by().await.as_deref(), Some("alice"), "after a write of the status");

    bob.change(json!({"spec": {"paused": true}, "metadata": {"annotations": {CHANGED_BY: "mallory"}}}))
        .await
        .expect("changed");
    assert_eq!(changed_by().await.as_deref(), Some("bob"), "the spec changed");
    manifest["spec"]["paused"] = json!(false);
    manifest["metadata"]["annotations"] = json!({CHANGED_BY: "mallory"});
    alice.apply(&manifest).await.expect("applied");
    assert_eq!(changed_by().await.as_deref(), Some("alice"), "the spec changed by server-side apply");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_need_the_verbs_approve_and_operate_and_are_stamped_with_who_asked() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "requests").await;
    let alice = User::new(&plane, &space, "alice", &[]).await;
    let approver = User::new(&plane, &space, "approver", &["approve"]).await;
    let operator = User::new(&plane, &space, "operator", &["operate"]).await;
    alice.create(&rollout("r", "g", inline("a: 1"))).await.expect("created");

    for (request, verb, may, may_not) in [
        ("promote", "approve", &approver, &operator),
        ("abort", "operate", &operator, &approver),
        ("retry", "operate", &operator, &approver),
        ("undo", "operate", &operator, &approver),
    ] {
        let annotation = format!("fleet.opamp.dev/{request}");
        let by = format!("{annotation}-requested-by");
        let ask = |value: Value| json!({&annotation: value, &by: "mallory"});
        let words = [
            "requests/r",
            annotation.as_str(),
            "ask for the verb",
            verb,
            "configrollouts",
            "in namespace requests",
        ];
        for user in [&alice, may_not] {
            assert_refused(
                user.annotate(ask(json!("1"))).await,
                &[&words[..], &[user.name.as_str()]].concat(),
            );
        }
        assert_eq!(stamp(&space, &by).await, None, "nothing was written");

        may.annotate(ask(json!("1"))).await.expect("added");
        assert_eq!(stamp(&space, &by).await, Some(may.name.clone()));
        assert_refused(may_not.annotate(ask(json!("2"))).await, &words);
        assert_refused(may_not.annotate(ask(Value::Null)).await, &words);
        // What is not changed needs no verb, and its stamp stays.
        alice.annotate(ask(json!("1"))).await.expect("unchanged");
        alice.annotate(json!({&by: null})).await.expect("annotated");
        assert_eq!(stamp(&space, &by).await, Some(may.name.clone()));
        // Members of system:masters need no verb.
        let root = User::of(&plane, &space, "root", &[MASTERS]).await;
        root.annotate(ask(json!("2"))).await.expect("changed");
        assert_eq!(stamp(&space, &by).await.as_deref(), Some("root"));
        may.annotate(json!({&annotation: null})).await.expect("removed");
        assert_eq!(stamp(&space, &by).await, None, "no request, no stamp");
    }
    let mut born = rollout("born", "g", inline("a: 1"));
    born["metadata"]["annotations"] = json!({"fleet.opamp.dev/promote": "1"});
    assert_refused(alice.create(&born).await, &["requests/born", "ask for the verb approve"]);
    approver.create(&born).await.expect("created");
    let both = json!({"fleet.opamp.dev/abort": "3", "fleet.opamp.dev/undo": "3"});
    assert_refused(alice.annotate(both).await, &["fleet.opamp.dev/abort, fleet.opamp.dev/undo"]);
    assert_eq!(stamp(&space, CHANGED_BY).await.as_deref(), Some("alice"), "a request changes no spec");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_writes_revisions_and_slices_and_what_is_left_behind_is_collected() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "writers").await;
    let alice = User::new(&plane, &space, "alice", &[]).await;
    let operator = User::of(&plane, &space, OPERATOR, &[]).await;
    let collector = User::new(&plane, &space, COLLECTOR, &[]).await;
    let namespaces = User::of(&plane, &space, NAMESPACE_CONTROLLER, &[]).await;
    let root = User::of(&plane, &space, "root", &[MASTERS]).await;
    for manifest in [revision("r-1"), slice("s-1")] {
        let kind = manifest["kind"].as_str().expect("a kind");
        let name = manifest["metadata"]["name"].as_str().expect("a name");
        let which = format!("writers/{name}");
        let refused = |said: Result<(), String>, verb: &str| {
            assert_refused(said, &[verb, &which, "only the operator writes them", "opamp-operator-writers"]);
        };
        refused(alice.create(&manifest).await, "alice may not create");
        refused(collector.create(&manifest).await, "may not create");
        operator.create(&manifest).await.expect("the operator creates");

        let label = json!({"metadata": {"labels": {"fleet.opamp.dev/proven": "true"}}});
        refused(alice.patch(kind, name, label.clone()).await, "alice may not update");
        refused(collector.patch(kind, name, label.clone()).await, "may not update");
        // The collector takes owners that are gone out of the metadata, and nothing else.
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]);
        root.patch(kind, name, json!({"metadata": {"ownerReferences": owner}})).await.expect("a master");
        collector.patch(kind, name, json!({"metadata": {"ownerReferences": null}})).await.expect("collected");
        if kind == "ConfigRevision" {
            let status = Patch::Merge(json!({"status": {"state": "Proven"}}));
            let params = PatchParams::default();
            let by_alice = alice.api(kind).patch_subresource("status", name, &params, &status).await;
            refused(by_alice.map(drop).map_err(said), "alice may not update");
            operator.api(kind).patch_subresource("status", name, &params, &status).await.expect("proven");
        } else {
            let more = json!({"spec": {"messages": ["m"]}});
            refused(alice.patch(kind, name, more.clone()).await, "alice may not update");
            refused(collector.patch(kind, name, more.clone()).await, "may not update");
        }

        refused(alice.delete(kind, name).await, "alice may not delete");
        for user in [&collector, &namespaces, &operator, &root] {
            user.delete(kind, name).await.expect("deleted");
            root.create(&manifest).await.expect("a master creates");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_parameter_nobody_writes_revisions_and_slices() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "closed").await;
    let operator = User::new(&plane, &space, OPERATOR, &[]).await;
    operator.create(&slice("before")).await.expect("created");
    let parameters: Api<ConfigMap> = Api::namespaced(plane.client.clone(), "opamp-operator");
    let parameter = parameters.get("opamp-operator-writers").await.expect("the parameter");
    parameters.delete("opamp-operator-writers", &DeleteParams::default()).await.expect("deleted");
    eventually("writes to be refused", async || {
        operator.patch("AgentSlice", "before", touched()).await.err()
    })
    .await;
    assert_refused(operator.create(&slice("after")).await, &["writers.fleet.opamp.dev", "no params found"]);

    // Put back with another account in it: that one may write, and the one before may not.
    let data = BTreeMap::from([("users".to_owned(), "another\n  third \n".to_owned())]);
    let metadata = kube::api::ObjectMeta { name: parameter.metadata.name, ..Default::default() };
    let other = ConfigMap { metadata, data: Some(data), ..Default::default() };
    parameters.create(&PostParams::default(), &other).await.expect("created");
    let third = User::new(&plane, &space, "third", &[]).await;
    eventually("the third user to be let in", async || third.create(&slice("after")).await.ok()).await;
    assert_refused(
        operator.patch("AgentSlice", "before", touched()).await,
        &["only the operator writes them"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_of_a_groups_agents_needs_the_verb_operate_on_groups_and_is_stamped_with_who_asked() {
    let plane = control_plane::shared().await;
    let space = space(&plane, "restart").await;
    space.apply(group("g", "yes")).await;
    // May do what they like with rollouts, and change groups.
    let alice = User::new(&plane, &space, "alice", &["operate", "approve"]).await;
    let operator = User::new(&plane, &space, "operator", &["operate"]).await;
    let change = ["get", "patch"];
    grant_on_groups(&space, "alice", &change).await;
    grant_on_groups(&space, "operator", &[&change[..], &["operate"]].concat()).await;
    let (annotation, by) = ("fleet.opamp.dev/restart", "fleet.opamp.dev/restart-requested-by");
    let ask = |value: Value| json!({"metadata": {"annotations": {annotation: value, by: "mallory"}}});
    let stamped =
        async || space.api::<CollectorGroup>().get("g").await.expect("g").annotations().get(by).cloned();
    let words = ["collectorgroup restart/g", annotation, "alice", "operate", "on collectorgroups"];
    assert_refused(alice.patch("CollectorGroup", "g", ask(json!("1"))).await, &words);
    operator.patch("CollectorGroup", "g", ask(json!("1"))).await.expect("added");
    assert_eq!(stamped().await.as_deref(), Some("operator"));
    assert_refused(alice.patch("CollectorGroup", "g", ask(json!("2"))).await, &words);
    assert_refused(alice.patch("CollectorGroup", "g", ask(Value::Null)).await, &words);
    alice.patch("CollectorGroup", "g", json!({"spec": {"priority": 7}})).await.expect("changed");
    alice
        .patch("CollectorGroup", "g", json!({"metadata": {"annotations": {by: "x"}}}))
        .await
        .expect("changed");
    assert_eq!(stamped().await.as_deref(), Some("operator"), "what is not asked anew keeps its stamp");
    operator
        .patch("CollectorGroup", "g", json!({"metadata": {"annotations": {annotation: null}}}))
        .await
        .expect("removed");
    assert_eq!(stamped().await, None, "no request, no stamp");
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_works_under_the_policies_and_says_who_changed_and_who_asked_until_they_are_gone() {
    let plane = ControlPlane::start().await;
    let space = Space::new(&plane, "author").await;
    let alice = User::new(&plane, &space, "alice", &[]).await;
    let bob = User::new(&plane, &space, "bob", &["approve"]).await;
    let operator = Operator::start(&plane, "author").await;
    let pace = sim::Pace { heartbeat: Duration::from_millis(100), ..sim::Pace::default() };
    let profile = Profile::new([1; 16]).with("test", "yes");
    let endpoint = operator.websocket().parse().expect("an endpoint");
    let _agent = sim::spawn(sim::Agent::new(profile, Behaviour::Apply), endpoint, pace);
    space.apply(group("g", "yes")).await;
    space.group_has("g", 1).await;
    let waiting = json!([
        {"name": "canary", "agents": 1, "approval": "Manual"}, {"name": "full", "agents": "100%"}
    ]);
    let manifest = |mark: &str| phased("r", "g", inline(&collector(mark)), waiting.clone());
    alice.create(&manifest("one")).await.expect("created");
    space.rollout_is("r", RolloutState::AwaitingApproval).await;
    bob.annotate(json!({"fleet.opamp.dev/promote": "go"})).await.expect("promoted");
    space.rollout_is("r", RolloutState::Completed).await;
    let told = "promote was carried out; asked for by bob";
    eventually(told, async || events(&plane).contains(told).then_some(())).await;
    let listed = plane.kubectl(&["-n", "author", "get", "configrevisions"]).expect("listed");
    let row: Vec<&str> = listed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!((row[0], row[3]), ("r-1", "alice"), "{listed}");

    // The rule of the leader's term stands beside the policies, for the operator as well.
    let late = json!({"status": {"leaderTerm": 0}});
    let account = User::of(&plane, &space, OPERATOR, &[]).await;
    let late =
        account.api("ConfigRollout").patch_status("r", &PatchParams::default(), &Patch::Merge(late)).await;
    assert_refused(late.map(drop).map_err(said), &["leaderTerm never falls"]);

    // Without the binding a stamp is an annotation that anybody may write.
    let name = "stamps.fleet.opamp.dev";
    plane.kubectl(&["delete", "mutatingadmissionpolicybinding", name]).expect("deleted");
    eventually("stamps to be left alone", async || {
        bob.annotate(json!({CHANGED_BY: "mallory"})).await.expect("annotated");
        (stamp(&space, CHANGED_BY).await? == "mallory").then_some(())
    })
    .await;
    alice.apply(&manifest("two")).await.expect("applied");
    assert_eq!(stamp(&space, CHANGED_BY).await.as_deref(), Some("mallory"));
    let made: ConfigRevision = space.until("r-2", "made", |_| true).await;
    assert_eq!(made.spec.author.as_deref(), Some("test-alice (unverified)"));
    space.rollout_is("r", RolloutState::AwaitingApproval).await;
    bob.annotate(json!({"fleet.opamp.dev/promote": "on"})).await.expect("promoted");
    let told = "promote was carried out; asked for by test-bob (unverified)";
    eventually(told, async || events(&plane).contains(told).then_some(())).await;
}

/// A person, or an account, who writes in a namespace.
#[derive(Clone)]
struct User {
    name: String,
    namespace: String,
    client: Client,
}

impl User {
    /// One who may write everything of this project there, and has these verbs on rollouts too.
    async fn new(plane: &ControlPlane, space: &Space, name: &str, verbs: &[&str]) -> Self {
        grant(space, name, verbs).await;
        Self::of(plane, space, name, &[]).await
    }

    /// One with the rights that the name and the groups have already.
    async fn of(plane: &ControlPlane, space: &Space, name: &str, groups: &[&str]) -> Self {
        let client = plane.client_as(name, groups).await;
        Self { name: name.to_owned(), namespace: space.name.clone(), client }
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("fleet.opamp.dev", "v1alpha1", kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn create(&self, manifest: &Value) -> Result<(), String> {
        let kind = manifest["kind"].as_str().expect("a kind");
        let object = serde_json::from_value(manifest.clone()).expect("an object");
        self.api(kind).create(&PostParams::default(), &object).await.map(drop).map_err(said)
    }

    /// Patches the rollout `r`.
    async fn change(&self, value: Value) -> Result<(), String> {
        let params = PatchParams { field_manager: Some(format!("test-{}", self.name)), ..Default::default() };
        let patch = Patch::Merge(value);
        self.api("ConfigRollout").patch("r", &params, &patch).await.map(drop).map_err(said)
    }

    async fn annotate(&self, annotations: Value) -> Result<(), String> {
        self.change(json!({"metadata": {"annotations": annotations}})).await
    }

    async fn apply(&self, manifest: &Value) -> Result<(), String> {
        let params = PatchParams::apply(&format!("test-{}", self.name)).force();
        let patch = Patch::Apply(manifest);
        self.api("ConfigRollout").patch("r", &params, &patch).await.map(drop).map_err(said)
    }

    async fn patch(&self, kind: &str, name: &str, value: Value) -> Result<(), String> {
        let params = PatchParams::default();
        self.api(kind).patch(name, &params, &Patch::Merge(value)).await.map(drop).map_err(said)
    }

    async fn delete(&self, kind: &str, name: &str) -> Result<(), String> {
        self.api(kind).delete(name, &DeleteParams::default()).await.map(drop).map_err(said)
    }
}

/// Lets a user write this project's kinds in a namespace, and waits until the API server knows it.
async fn grant(space: &Space, user: &str, verbs: &[&str]) {
    let group = "rbac.authorization.k8s.io";
    let name = user.replace(':', ".");
    let kinds = ["configrollouts", "configrevisions", "configrevisions/status", "agentslices"];
    let usual = ["get", "create", "update", "patch", "delete"];
    let own = [verbs, &["get"]].concat();
    space
        .apply(json!({
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": name},
            "rules": [
                {"apiGroups": ["fleet.opamp.dev"], "resources": kinds, "verbs": usual},
                {"apiGroups": ["fleet.opamp.dev"], "resources": ["configrollouts"], "verbs": own},
            ],
        }))
        .await;
    space
        .apply(json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }))
        .await;
    are_granted(space, user, "configrollouts", verbs.first().unwrap_or(&"create")).await;
}

/// Lets a user do this with groups in a namespace, and waits until the API server knows it.
async fn grant_on_groups(space: &Space, user: &str, verbs: &[&str]) {
    let (group, name) = ("rbac.authorization.k8s.io", format!("{user}-groups"));
    let allowed = json!({"apiGroups": ["fleet.opamp.dev"], "resources": ["collectorgroups"], "verbs": verbs});
    let role = json!({"kind": "Role", "metadata": {"name": name}, "rules": [allowed]});
    let binding = json!({
        "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    });
    for mut manifest in [role, binding] {
        manifest["apiVersion"] = json!(format!("{group}/v1"));
        space.apply(manifest).await;
    }
    are_granted(space, user, "collectorgroups", verbs.last().expect("a verb")).await;
}

async fn are_granted(space: &Space, user: &str, resource: &str, verb: &str) {
    let asked = json!({"spec": {"user": user, "resourceAttributes": {
        "group": "fleet.opamp.dev", "resource": resource, "namespace": space.name, "verb": verb,
    }}});
    let review: SubjectAccessReview = serde_json::from_value(asked).expect("a review");
    let reviews: Api<SubjectAccessReview> = Api::all(space.client.clone());
    eventually(format!("{user} to have rights"), async || {
        let answer = reviews.create(&PostParams::default(), &review).await.ok()?;
        answer.status?.allowed.then_some(())
    })
    .await;
}

/// A namespace, with a client of this test's own.
async fn space(plane: &ControlPlane, name: &str) -> Space {
    Space::create(control_plane::client(&plane.kubeconfig).await, name).await
}

/// An annotation of the rollout `r` as it stands.
async fn stamp(space: &Space, annotation: &str) -> Option<String> {
    let rollout = space.api::<ConfigRollout>().get("r").await.expect("the rollout");
    rollout.annotations().get(annotation).cloned()
}

fn events(plane: &ControlPlane) -> String {
    plane.kubectl(&["-n", "author", "get", "events", "-o", "jsonpath={.items[*].message}"]).expect("listed")
}

fn said(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        error => error.to_string(),
    }
}

#[track_caller]
fn assert_refused(result: Result<(), String>, words: &[&str]) {
    let said = result.expect_err("this is refused");
    assert!(words.iter().all(|word| said.contains(word)), "wanted {words:?}, got {said}");
}

fn touched() -> Value {
    json!({"metadata": {"labels": {"touched": "yes"}}})
}

fn revision(name: &str) -> Value {
    json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "ConfigRevision", "metadata": {"name": name},
        "spec": {
            "rollout": "r", "number": 1, "hash": "0".repeat(64), "createdAt": "2026-01-01T00:00:00Z",
            "files": [{"name": "a", "size": 5, "source": "Inline", "body": "a: 1\n"}],
        },
    })
}

fn slice(name: &str) -> Value {
    json!({
        "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "AgentSlice", "metadata": {"name": name},
        "spec": {"formatVersion": 1, "replica": "a"},
    })
}
