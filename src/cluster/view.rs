//! Follows the groups, and the revisions that their assignments name: what this replica acts on.

use super::exceptions::Exceptions;
use super::origins::Origins;
use super::revisions::{self, RevisionBody};
use super::telemetry::load_telemetry;
use super::watching::{pauses, watching};
use crate::api::{
    AgentSlice, AssignmentStatus, CONTENT_LABEL, CollectorGroup, CollectorGroupSpec, ConfigRevision,
    EXCEPTIONS, TelemetryStatus,
};
use crate::config::{ConfigHash, HashKey};
use crate::fleet::{GroupView, Revision, Telemetry, TelemetryView, View};
use bytes::Bytes;
use futures::stream::select_all;
use futures::{StreamExt, TryStreamExt};
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Turns a revision's files into the bytes of an offer, and names the texts that must not come back in agents'
/// messages. The wire format is not this module's matter.
#[derive(Clone, Copy)]
pub struct Encode {
    /// Of a revision with this name.
    pub revision: fn(&str, &RevisionBody) -> Option<Revision>,
    /// Of where a group's agents send their own telemetry.
    pub telemetry: fn(&Telemetry) -> Bytes,
}

/// How long to wait before a revision is read again that could not be read.
const RETRY: Duration = Duration::from_secs(2);

/// A group's namespace and name, or a revision's.
type Key = (Arc<str>, String);

/// Follows groups for ever, and calls `publish` with a new view whenever something in it changed. The first call
/// comes once all has been listed.
pub async fn follow_groups(client: Client, key: HashKey, encode: Encode, publish: impl Fn(View)) {
    let groups: Api<DeserializeGuard<CollectorGroup>> = Api::all(client.clone());
    let groups = watcher(groups, watching()).backoff(pauses());
    let revisions: Api<DeserializeGuard<ConfigRevision>> = Api::all(client.clone());
    let revisions = watcher(revisions, watching()).backoff(pauses());
    let exceptions: Api<DeserializeGuard<AgentSlice>> = Api::all(client.clone());
    let exceptions_only = watching().labels(&format!("{CONTENT_LABEL}={EXCEPTIONS}"));
    let exceptions = watcher(exceptions, exceptions_only).backoff(pauses());
    let mut events = select_all([
        groups.map(|event| event.map(|event| Change::Group(event.into()))).boxed(),
        revisions.map(|event| event.map(|event| Change::Revision(event.into()))).boxed(),
        exceptions.map(|event| event.map(|event| Change::Exceptions(event.into()))).boxed(),
    ]);
    let mut follower = Follower {
        client,
        key,
        encode,
        groups: BTreeMap::new(),
        revisions: BTreeMap::new(),
        telemetry: BTreeMap::new(),
        listing: None,
        origins: Origins::default(),
        exceptions: Exceptions::default(),
        listed: false,
    };
    let mut missing = false;
    loop {
        let event = if missing {
            match tokio::time::timeout(RETRY, events.try_next()).await {
                Ok(event) => event.map(Some),
                Err(_) => Ok(None),
            }
        } else {
            events.try_next().await.map(Some)
        };
        let changed = match event {
            Ok(Some(Some(Change::Group(event)))) => follower.apply(*event),
            Ok(Some(Some(Change::Revision(event)))) => follower.origins.apply(*event),
            Ok(Some(Some(Change::Exceptions(event)))) => follower.exceptions.apply(*event),
            Ok(Some(None)) => return,
            Ok(None) => true,
            Err(error) => {
                tracing::warn!(%error, "cannot watch collector groups, revisions and exceptions");
                false
            }
        };
        if changed && follower.is_complete() {
            missing = !follower.load_revisions().await | !follower.load_telemetry().await;
            publish(follower.view());
        }
    }
}

/// What the view may change by.
enum Change {
    Group(Box<watcher::Event<DeserializeGuard<CollectorGroup>>>),
    Revision(Box<watcher::Event<DeserializeGuard<ConfigRevision>>>),
    Exceptions(Box<watcher::Event<DeserializeGuard<AgentSlice>>>),
}

/// What a view is made of. A change of anything else in a group, its counts above all, makes no new view.
#[derive(PartialEq)]
struct Essence {
    generation: Option<i64>,
    spec: CollectorGroupSpec,
    assignment: Option<AssignmentStatus>,
}

/// What the agents of a group are to be told of their own telemetry. No `Debug`: headers are in it.
struct Loaded {
    hash: ConfigHash,
    payload: Bytes,
    /// Texts in it that may be secrets.
    secrets: Box<[Box<str>]>,
}

struct Follower {
    client: Client,
    /// What the settings of telemetry are hashed with.
    key: HashKey,
    encode: Encode,
    groups: BTreeMap<Key, (CollectorGroup, Essence)>,
    revisions: BTreeMap<Key, Arc<Revision>>,
    /// Where the agents of each group send their own telemetry: what was read last.
    telemetry: BTreeMap<Key, Loaded>,
    /// Whose the revisions are, also those that no group names any more.
    origins: Origins,
    /// Whom the leader treats.
    exceptions: Exceptions,
    /// Whether all groups have been listed once.
    listed: bool,
    /// The keys seen by the list that is under way; the others are gone when it ends.
    listing: Option<BTreeSet<Key>>,
}

impl Follower {
    /// Whether everything has been listed once.
    fn is_complete(&self) -> bool {
        self.listed && self.origins.are_listed() && self.exceptions.are_listed()
    }

    /// Takes in one event; true if the view is to be made anew.
    fn apply(&mut self, event: watcher::Event<DeserializeGuard<CollectorGroup>>) -> bool {
        match event {
            watcher::Event::Init => {
                self.listing = Some(BTreeSet::new());
                false
            }
            watcher::Event::InitApply(group) => {
                self.put(group);
                false
            }
            watcher::Event::InitDone => {
                let seen = self.listing.take().unwrap_or_default();
                self.groups.retain(|key, _| seen.contains(key));
                self.listed = true;
                true
            }
            watcher::Event::Apply(group) => self.put(group),
            watcher::Event::Delete(group) => self.groups.remove(&key(&group)).is_some(),
        }
    }

    /// Takes in a group as it stands. One that cannot be read keeps its last readable state, and harms no other.
    fn put(&mut self, group: DeserializeGuard<CollectorGroup>) -> bool {
        let key = key(&group);
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
        let group = match group.0 {
            Ok(group) if group.spec.selector.is_newer() => {
                tracing::warn!(namespace = %key.0, name = key.1, "left as it was: a newer version's selector");
                return false;
            }
            Ok(group) => group,
            Err(invalid) => {
                tracing::warn!(namespace = %key.0, name = key.1, error = %invalid.error, "cannot read collector group");
                return false;
            }
        };
        let essence = Essence {
            generation: group.metadata.generation,
            spec: group.spec.clone(),
            assignment: group.status.as_ref().and_then(|status| status.assignment.clone()),
        };
        let changed = self.groups.get(&key).is_none_or(|(_, before)| *before != essence);
        self.groups.insert(key, (group, essence));
        changed
    }

    /// Reads the revisions that are named and not here yet, and drops those that nobody names; true if all are
    /// here.
    async fn load_revisions(&mut self) -> bool {
        let named: BTreeSet<Key> =
            self.groups.iter().flat_map(|(key, (_, essence))| named(key, essence)).collect();
        self.revisions.retain(|key, _| named.contains(key));
        let mut complete = true;
        for key in named {
            if self.revisions.contains_key(&key) {
                continue;
            }
            match self.load_revision(&key).await {
                Some(revision) => drop(self.revisions.insert(key, Arc::new(revision))),
                None => complete = false,
            }
        }
        complete
    }

    async fn load_revision(&self, (namespace, name): &Key) -> Option<Revision> {
        match revisions::load(&self.client, namespace, name).await {
            Ok(body) => (self.encode.revision)(name, &body),
            Err(error) => {
                tracing::warn!(%namespace, name, error = %error_chain(&error), "cannot read revision");
                None
            }
        }
    }

    /// Reads where agents send their own telemetry, of groups whose leader says that it is something else than what was
    /// read; true if all of it is here. What cannot be read, or is not yet what the leader has seen, changes nothing.
    async fn load_telemetry(&mut self) -> bool {
        let told: BTreeMap<Key, ConfigHash> = self
            .groups
            .iter()
            .filter_map(|(key, (_, essence))| Some((key.clone(), told(essence)?.0)))
            .collect();
        self.telemetry.retain(|key, _| told.contains_key(key));
        let mut complete = true;
        for (key, hash) in told {
            let Some((_, essence)) = self.groups.get(&key) else { continue };
            let Some(spec) = essence.spec.telemetry.as_ref() else { continue };
            if self.telemetry.get(&key).is_some_and(|known| known.hash == hash) {
                continue;
            }
            match load_telemetry(&self.client, &key.0, spec).await {
                Ok(telemetry) if telemetry.hash(&self.key) == hash => {
                    let payload = (self.encode.telemetry)(&telemetry);
                    self.telemetry.insert(key, Loaded { hash, payload, secrets: telemetry.secrets() });
                }
                Ok(_) => complete = false,
                Err(error) => {
                    tracing::warn!(namespace = %key.0, name = key.1, %error, "cannot read where telemetry goes");
                    complete = false;
                }
            }
        }
        complete
    }

    fn telemetry(&self, key: &Key, essence: &Essence) -> Option<Arc<TelemetryView>> {
        let Loaded { hash, payload, secrets } = self.telemetry.get(key)?;
        Some(TelemetryView::new(*hash, payload.clone(), secrets.clone(), told(essence)?.1)?.into())
    }

    fn view(&self) -> View {
        let mut view = View::new(self.groups.iter().map(|(key, (group, essence))| {
            let namespace = &key.0;
            let load = |name: &str| self.revisions.get(&(namespace.clone(), name.to_owned())).cloned();
            let telemetry = self.telemetry(key, essence);
            (namespace.clone(), GroupView { telemetry, ..GroupView::new(group, load) })
        }));
        for namespace in self.origins.namespaces() {
            let groups = self.groups.iter().filter(|((of, _), _)| *of == namespace);
            let groups = groups.map(|(_, (group, essence))| (group, essence.assignment.as_ref()));
            let belongings = self.origins.belongings(&namespace, groups);
            view.know(namespace, belongings);
        }
        for (agent, treatment) in self.exceptions.treatments() {
            view.treat(agent.clone(), treatment.clone());
        }
        for (agent, restart) in self.exceptions.restarts() {
            view.restart(agent.clone(), *restart);
        }
        for (agent, refused) in self.exceptions.refusals() {
            view.refuse(agent.clone(), refused.clone());
        }
        for (agent, mark) in self.exceptions.bindings() {
            view.bind(agent.clone(), *mark);
        }
        view
    }
}

fn key(group: &DeserializeGuard<CollectorGroup>) -> Key {
    (group.namespace().unwrap_or_default().into(), group.name_any())
}

fn named((namespace, _): &Key, essence: &Essence) -> Vec<Key> {
    let names = essence.assignment.as_ref().map(AssignmentStatus::revisions).unwrap_or_default();
    names.into_iter().map(|name| (namespace.clone(), name)).collect()
}

/// What the leader says of the telemetry of a group's agents.
fn told(essence: &Essence) -> Option<(ConfigHash, &TelemetryStatus)> {
    let status = essence.assignment.as_ref()?.telemetry.as_ref()?;
    Some((status.hash.parse().ok()?, status))
}

fn error_chain(error: &revisions::LoadError) -> String {
    match error {
        revisions::LoadError::Api(cause) => format!("{error}: {cause}"),
        other => other.to_string(),
    }
}
