//! Slices of exceptions: whom the leader treats or has started anew, who refused what, and whose a uid is that several
//! holders' agents came with. Written by the leader for each
//! group, read by every replica.

use super::Written;
use super::patch::overlay;
use crate::api::{AgentSlice, AgentSliceSpec, CONTENT_LABEL, CollectorGroup, EXCEPTIONS};
use crate::fleet::{
    AgentKey, Excepted, Ledger, PrincipalMark, Restart, Treatment, has_newer_format, unpack_exceptions,
};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether a slice tells of exceptions, not of the agents of a replica.
pub fn tells_of_exceptions(labels: &BTreeMap<String, String>) -> bool {
    labels.get(CONTENT_LABEL).is_some_and(|content| content == EXCEPTIONS)
}

/// A slice's namespace and name.
type SliceKey = (Arc<str>, String);

/// What one slice tells.
#[derive(Default, PartialEq)]
struct Told {
    treatments: Vec<(AgentKey, Treatment)>,
    restarts: Vec<(AgentKey, Restart)>,
    refusals: Vec<(AgentKey, Ledger)>,
    bindings: Vec<(AgentKey, PrincipalMark)>,
}

/// All exceptions as a replica knows them.
#[derive(Default)]
pub struct Exceptions {
    known: BTreeMap<SliceKey, Told>,
    /// The slices seen by the list that is under way; the others are gone when it ends.
    listing: Option<BTreeSet<SliceKey>>,
    listed: bool,
}

impl Exceptions {
    /// Whether everything has been listed once: before that, an agent that was sent back would seem to be like all
    /// others.
    pub fn are_listed(&self) -> bool {
        self.listed
    }

    /// Takes in one event; true if something changed.
    pub fn apply(&mut self, event: watcher::Event<DeserializeGuard<AgentSlice>>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing = Some(BTreeSet::new());
                false
            }
            watcher::Event::InitApply(slice) => {
                self.put(&slice);
                false
            }
            watcher::Event::InitDone => {
                let seen = self.listing.take().unwrap_or_default();
                self.known.retain(|key, _| seen.contains(key));
                self.listed = true;
                true
            }
            watcher::Event::Apply(slice) => self.put(&slice),
            watcher::Event::Delete(slice) => self.known.remove(&key(&slice)).is_some(),
        }
    }

    /// One that cannot be read keeps its last readable state.
    fn put(&mut self, slice: &DeserializeGuard<AgentSlice>) -> bool {
        let key = key(slice);
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
        let Some(read) = slice.0.as_ref().ok().filter(|read| !has_newer_format(&read.spec)) else {
            tracing::warn!(namespace = %key.0, name = key.1, "cannot read slice of exceptions");
            return false;
        };
        let agent = |uid| AgentKey { namespace: key.0.clone(), uid };
        let Excepted { treatments, restarts, refusals, bindings } = unpack_exceptions([&read.spec]);
        let new = Told {
            treatments: treatments.into_iter().map(|(uid, treatment)| (agent(uid), treatment)).collect(),
            restarts: restarts.into_iter().map(|(uid, restart)| (agent(uid), restart)).collect(),
            refusals: refusals.into_iter().map(|(uid, refused)| (agent(uid), refused)).collect(),
            bindings: bindings.into_iter().map(|(uid, mark)| (agent(uid), mark)).collect(),
        };
        self.known.get(&key) != Some(&new) && {
            self.known.insert(key, new);
            true
        }
    }

    /// All agents that are treated.
    pub fn treatments(&self) -> impl Iterator<Item = &(AgentKey, Treatment)> {
        self.known.values().flat_map(|told| &told.treatments)
    }

    /// All agents that are started anew, because a person asked for that.
    pub fn restarts(&self) -> impl Iterator<Item = &(AgentKey, Restart)> {
        self.known.values().flat_map(|told| &told.restarts)
    }

    /// All agents of which it is said whose they are.
    pub fn bindings(&self) -> impl Iterator<Item = &(AgentKey, PrincipalMark)> {
        self.known.values().flat_map(|told| &told.bindings)
    }

    /// All agents that refused what they may be offered.
    pub fn refusals(&self) -> impl Iterator<Item = &(AgentKey, Ledger)> {
        self.known.values().flat_map(|told| &told.refusals)
    }
}

fn key(slice: &DeserializeGuard<AgentSlice>) -> SliceKey {
    (slice.namespace().unwrap_or_default().into(), slice.name_any())
}

/// Brings the slices of one group's exceptions to what they are to be: `known` are those that stand, `wanted` what is to
/// be in the first, the second and so on. Each write holds only while its slice is as it was read, and keeps what a newer
/// leader said of the same agents.
///
/// # Errors
/// When the API server does not take a write for another reason than that the slice has changed.
pub async fn write_exceptions(
    client: &Client,
    group: &CollectorGroup,
    known: &[Arc<AgentSlice>],
    wanted: Vec<AgentSliceSpec>,
) -> kube::Result<Written> {
    let namespace = group.namespace().unwrap_or_default();
    let wanted: Vec<(String, AgentSliceSpec)> =
        in_order(wanted).map(|(index, spec)| (name(group, index), spec)).collect();
    let place = |name: &str| known.iter().position(|slice| slice.name_any() == name);
    let stands = |(name, spec): &&(String, AgentSliceSpec)| {
        place(name).is_some_and(|place| known[place].spec == *spec)
    };
    let changed: Vec<_> = wanted.iter().filter(|slice| !stands(slice)).collect();
    let is_wanted = |slice: &AgentSlice| wanted.iter().any(|(name, _)| *name == slice.name_any());
    let surplus: Vec<_> = known.iter().filter(|slice| !is_wanted(slice)).collect();
    if changed.is_empty() && surplus.is_empty() {
        return Ok(Written::Unchanged);
    }
    let whole: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<AgentSlice>(&()));
    // While there are as many slices each agent stays in its own, with what a newer leader said of it. Where they become
    // more or fewer it may come from any.
    let stay = surplus.is_empty() && wanted.len() == known.len();
    let is_read = |name: &str| !stay || changed.iter().any(|(changed, _)| changed == name);
    let Some(stand) = read_whole(&whole, known, is_read).await? else { return Ok(Written::Conflict) };
    for (name, spec) in &changed {
        let place = place(name);
        let spec = with_unknown(&stand, place, spec);
        let version = place.and_then(|place| known[place].resource_version());
        if !put(&whole, slice(group, name, version, &spec)).await? {
            return Ok(Written::Conflict);
        }
    }
    let api: Api<AgentSlice> = Api::namespaced(client.clone(), &namespace);
    for surplus in surplus {
        if !delete(&api, surplus).await? {
            return Ok(Written::Conflict);
        }
    }
    Ok(Written::Yes)
}

/// A slice's spec: as it stands, and what is understood of it. Both are null of a slice that was not read.
type Stand = (Value, Value);

/// The specs of slices as they stand, of those by name that `is_read` says; nothing if one of them has changed since it
/// was watched.
async fn read_whole(
    api: &Api<DynamicObject>,
    known: &[Arc<AgentSlice>],
    is_read: impl Fn(&str) -> bool,
) -> kube::Result<Option<Vec<Stand>>> {
    let mut stand = Vec::new();
    for slice in known {
        if !is_read(&slice.name_any()) {
            stand.push(Stand::default());
            continue;
        }
        let Some(found) = api.get_opt(&slice.name_any()).await? else { return Ok(None) };
        if found.resource_version() != slice.resource_version() {
            return Ok(None);
        }
        let understood = serde_json::to_value(&slice.spec).map_err(kube::Error::SerdeError)?;
        stand.push((found.data["spec"].clone(), understood));
    }
    Ok(Some(stand))
}

/// What is to be in a slice, with what is not understood of the one that stands in its place and of its agents, wherever
/// they stand.
fn with_unknown(stand: &[Stand], place: Option<usize>, spec: &AgentSliceSpec) -> Value {
    let mut wanted = json!(spec);
    let mut agents = wanted["agents"].take();
    let known = || stand.iter().flat_map(|(raw, old)| entries(raw).iter().zip(entries(old)));
    for agent in agents.as_array_mut().into_iter().flatten() {
        if let Some((raw, old)) = known().find(|(_, old)| old["u"] == agent["u"]) {
            *agent = overlay(raw, old, agent);
        }
    }
    if let Some((raw, old)) = place.and_then(|place| stand.get(place)) {
        let without_agents = |spec: &Value| {
            let mut spec = spec.clone();
            spec["agents"] = Value::Null;
            spec
        };
        wanted = overlay(&without_agents(raw), &without_agents(old), &wanted);
    }
    wanted["agents"] = agents;
    wanted
}

fn entries(spec: &Value) -> &[Value] {
    spec["agents"].as_array().map_or(&[], Vec::as_slice)
}

/// The order of writes: the last slice first. Where there are more slices than before, those that are new take agents
/// from the others, which are rewritten without them only then: nobody is in none between two writes. Where there are
/// fewer, the surplus goes when all are written.
fn in_order<T>(wanted: Vec<T>) -> impl Iterator<Item = (usize, T)> {
    wanted.into_iter().enumerate().rev()
}

/// The group's uid, because a group that is made anew under the same name is another one.
fn name(group: &CollectorGroup, index: usize) -> String {
    format!("{EXCEPTIONS}-{}-{index}", group.uid().unwrap_or_default())
}

fn slice(
    group: &CollectorGroup,
    name: &str,
    resource_version: Option<String>,
    spec: &Value,
) -> DynamicObject {
    let mut slice =
        DynamicObject::new(name, &ApiResource::erase::<AgentSlice>(&())).data(json!({"spec": spec}));
    slice.metadata.labels = Some([(CONTENT_LABEL.to_owned(), EXCEPTIONS.to_owned())].into());
    slice.metadata.owner_references = group.owner_ref(&()).map(|owner| vec![owner]);
    slice.metadata.resource_version = resource_version;
    slice
}

/// True if it was taken; false if the slice has changed meanwhile.
async fn put(api: &Api<DynamicObject>, slice: DynamicObject) -> kube::Result<bool> {
    let written = if slice.metadata.resource_version.is_some() {
        api.replace(&slice.name_any(), &PostParams::default(), &slice).await
    } else {
        api.create(&PostParams::default(), &slice).await
    };
    unless_changed(written.map(drop))
}

pub(super) async fn delete(api: &Api<AgentSlice>, slice: &AgentSlice) -> kube::Result<bool> {
    let preconditions = Preconditions { resource_version: slice.resource_version(), uid: slice.uid() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    unless_changed(api.delete(&slice.name_any(), &params).await.map(drop))
}

fn unless_changed(result: kube::Result<()>) -> kube::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fixtures::{A, at, hash, uid};
    use crate::fleet::{Refusals, Verdict, pack_exceptions};
    use hyper::{Method, Request, Response};
    use kube::client::Body;
    use std::convert::Infallible;
    use std::sync::Mutex;

    /// Slices of two agents each as a newer leader writes them: with `z`, which is not understood.
    fn stand() -> Vec<Stand> {
        let agent = |uid: &str, index: i64| json!({"u": uid, "f": 0, "t": 0, "r": index, "z": {"for": uid}});
        let slice = |agents: Value| {
            let raw = json!({"formatVersion": 1, "groups": ["g"], "revisions": ["b", "c"], "z": 9, "agents": agents});
            let understood: AgentSliceSpec = serde_json::from_value(raw.clone()).expect("a slice");
            (raw, json!(understood))
        };
        vec![slice(json!([agent("1", 0), agent("2", 1)])), slice(json!([agent("3", 0)]))]
    }

    /// An order is given to one agent, one is added, one is moved from another slice, and one goes; indexes change.
    #[test]
    fn what_a_newer_leader_says_of_agents_stays_with_them_whatever_slice_they_are_in() {
        let wanted: AgentSliceSpec = serde_json::from_value(json!({
            "formatVersion": 1, "groups": ["g"], "revisions": ["a", "b", "c"],
            "agents": [
                {"u": "2", "f": 0, "t": 0, "r": 2, "x": {"c": 1, "n": 1, "o": 1}},
                {"u": "3", "f": 0, "t": 0, "r": 1},
                {"u": "4", "f": 0, "t": 7, "r": 0},
            ],
        }))
        .expect("a slice");
        let stand: Vec<Stand> = stand();
        let written = with_unknown(&stand, Some(0), &wanted);
        assert_eq!(written["z"], 9);
        assert_eq!(written["revisions"], json!(["a", "b", "c"]));
        let agent = |index: usize| written["agents"][index].clone();
        assert_eq!(agent(0)["r"], 2);
        assert_eq!(agent(1), json!({"u": "3", "f": 0, "t": 0, "r": 1, "z": {"for": "3"}}));
        assert_eq!(agent(2), json!({"u": "4", "f": 0, "t": 7, "r": 0}));
        let anew = with_unknown(&stand, None, &wanted);
        assert_eq!((&anew["z"], &anew["agents"][1]), (&Value::Null, &agent(1)), "a slice that was not there");
    }

    fn refused(agents: u32) -> Vec<AgentSliceSpec> {
        let mut ledger = Ledger::default();
        ledger.note(hash(A), Verdict::RolledBackByAgent, at(0));
        let refusals: Refusals = (0..agents).map(|n| (uid(n), ledger.clone())).collect();
        pack_exceptions("g", &Excepted { refusals, ..Excepted::default() })
    }

    /// What an API server was asked for: how, and of which object.
    type Asked = Arc<Mutex<Vec<(Method, String)>>>;

    /// An API server that has these slices and takes every write; counts what it is asked for.
    fn server(slices: &[Arc<AgentSlice>]) -> (Client, Asked) {
        let by_name: BTreeMap<String, Value> =
            slices.iter().map(|slice| (slice.name_any(), json!(**slice))).collect();
        let asked = Asked::default();
        let told = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let method = request.method().clone();
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let found = by_name.get(&name).cloned();
            told.lock().expect("whole").push((method, name));
            async move {
                let sent = request.into_body().collect_bytes().await.expect("a body");
                let answer = found.map_or_else(|| sent.to_vec(), |found| found.to_string().into_bytes());
                Ok::<_, Infallible>(Response::new(Body::from(answer)))
            }
        });
        (Client::new(service, "ns"), asked)
    }

    #[tokio::test]
    async fn only_slices_that_agents_leave_or_change_in_are_read_before_a_write() {
        let manifest = json!({
            "apiVersion": "fleet.opamp.dev/v1alpha1", "kind": "CollectorGroup",
            "metadata": {"name": "g", "namespace": "ns", "uid": "0a"}, "spec": {},
        });
        let group: CollectorGroup = serde_json::from_value(manifest).expect("a group");
        for (more, read, written) in [(1, 1, 1), (400, 2, 4)] {
            let known: Vec<Arc<AgentSlice>> = refused(300)
                .into_iter()
                .enumerate()
                .map(|(index, spec)| {
                    let mut slice = AgentSlice::new(&name(&group, index), spec);
                    slice.metadata.resource_version = Some("1".into());
                    Arc::new(slice)
                })
                .collect();
            assert_eq!(known.len(), 2);
            let (client, asked) = server(&known);
            let done = write_exceptions(&client, &group, &known, refused(300 + more)).await;
            assert_eq!(done.expect("taken"), Written::Yes);
            let asked = asked.lock().expect("whole");
            let of = |method: &Method| asked.iter().filter(|(asked, _)| asked == method).count();
            assert_eq!((of(&Method::GET), asked.len()), (read, read + written), "{more} more: {asked:?}");
        }
    }

    #[test]
    fn nobody_is_left_out_between_two_writes_when_slices_become_more_or_fewer() {
        for (before, after) in [(150, 500), (500, 150), (100, 1500), (1500, 100)] {
            let mut stands: BTreeMap<usize, AgentSliceSpec> =
                refused(before).into_iter().enumerate().collect();
            let wanted = refused(after);
            assert_ne!(stands.len(), wanted.len(), "{before} {after}");
            for (index, spec) in in_order(wanted) {
                stands.insert(index, spec);
                let told = unpack_exceptions(stands.values()).refusals;
                let stays = (0..before.min(after)).map(uid);
                assert!(stays.into_iter().all(|uid| told.contains_key(&uid)), "{before} {after} {index}");
            }
        }
    }
}
