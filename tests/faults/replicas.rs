//! The replicas of a run. Each has its own way to the API server, and a switch by which its agents reach it.

use super::plan::REPLICAS;
use super::proxy::{Proxy, Weather};
use crate::support::control_plane::ControlPlane;
use crate::support::eventually;
use crate::support::operator::Operator;
use crate::support::switch::Switch;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::Api;
use std::path::PathBuf;

/// All replicas.
pub struct Replicas {
    namespace: String,
    client: Client,
    /// One for each replica.
    pub switches: Vec<Switch>,
    members: Vec<Replica>,
}

struct Replica {
    identity: String,
    operator: Operator,
    proxy: Proxy,
    kubeconfig: PathBuf,
    /// How many names it has had.
    names: usize,
    /// It is to be reached by agents.
    up: bool,
}

impl Replicas {
    /// Starts all of them, for the agents of this namespace.
    pub async fn start(plane: &ControlPlane, namespace: &str) -> Self {
        let authority = plane.dir().join("certs/apiserver.crt");
        let (mut switches, mut members) = (Vec::new(), Vec::new());
        for index in 0..REPLICAS {
            let proxy = Proxy::start(plane.address(), &authority).await;
            let kubeconfig = plane.kubeconfig_over(&format!("replica-{index}"), &proxy.url);
            let identity = identity(index, 1);
            let operator = Operator::start_by(plane, namespace, &identity, &kubeconfig).await;
            switches.push(Switch::start(&operator.opamp).await);
            members.push(Replica { identity, operator, proxy, kubeconfig, names: 1, up: true });
        }
        let replicas =
            Self { namespace: namespace.to_owned(), client: plane.client.clone(), switches, members };
        for index in 0..REPLICAS {
            replicas.is_ready(index).await;
        }
        replicas
    }

    /// Waits until a replica is ready.
    pub async fn is_ready(&self, index: usize) {
        let Replica { operator, identity, .. } = &self.members[index];
        eventually(format!("{identity} to be ready"), async || {
            (operator.get("/readyz").await?.0 == 200).then_some(())
        })
        .await;
    }

    /// The replica that holds the leader's Lease, once one does that is there.
    pub async fn leader(&self) -> usize {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually("a replica to lead", async || {
            let holder = leases.get("opamp-operator-leader").await.ok()?.spec?.holder_identity?;
            self.members.iter().position(|replica| replica.up && replica.identity == holder)
        })
        .await
    }

    /// One that does not lead.
    pub async fn follower(&self, whom: usize) -> usize {
        let leader = self.leader().await;
        (leader + 1 + whom % (REPLICAS - 1)) % REPLICAS
    }

    /// Kills a replica; returns only when it is gone.
    pub fn kill(&mut self, index: usize) {
        let replica = &mut self.members[index];
        replica.up = false;
        replica.operator.kill();
        assert!(replica.operator.has_ended(), "{} is still there", replica.identity);
    }

    /// Starts a replica again that was killed, under its name or another one, and waits until it is ready.
    pub async fn restart(&mut self, plane: &ControlPlane, index: usize, anew: bool) {
        let replica = &mut self.members[index];
        if anew {
            replica.names += 1;
            replica.identity = identity(index, replica.names);
        }
        let before = std::mem::replace(
            &mut replica.operator,
            Operator::start_by(plane, &self.namespace, &replica.identity, &replica.kubeconfig).await,
        );
        drop(before);
        replica.up = true;
        self.is_ready(index).await;
    }

    /// Stops a replica as it stands.
    pub async fn freeze(&mut self, index: usize) {
        let replica = &mut self.members[index];
        replica.operator.freeze();
        replica.up = false;
        eventually("it to stand still", async || replica.operator.is_frozen().then_some(())).await;
    }

    /// Lets a replica go on.
    pub fn resume(&mut self, index: usize) {
        let replica = &mut self.members[index];
        replica.operator.resume();
        replica.up = true;
    }

    /// Leads the agents of a replica to another one that is there.
    pub fn lead_elsewhere(&self, index: usize) {
        let other = (1..REPLICAS).map(|step| (index + step) % REPLICAS).find(|other| self.members[*other].up);
        self.switches[index].turn(other.map(|other| self.members[other].operator.opamp.as_str()));
    }

    /// Leads the agents of a replica to itself.
    pub fn lead_home(&self, index: usize) {
        self.switches[index].turn(Some(&self.members[index].operator.opamp));
    }

    /// Leads the agents of a replica nowhere.
    pub fn lead_nowhere(&self, index: usize) {
        self.switches[index].turn(None);
    }

    /// Changes the way of one replica to the API server, or of all.
    pub fn turn(&self, index: Option<usize>, weather: Weather) {
        self.ways(index).for_each(|replica| replica.proxy.turn(weather));
    }

    /// How often the weather on that way struck.
    pub fn struck(&self, index: Option<usize>) -> usize {
        self.ways(index).map(|replica| replica.proxy.struck()).sum()
    }

    fn ways(&self, index: Option<usize>) -> impl Iterator<Item = &Replica> {
        let concerned = move |(at, _): &(usize, &Replica)| index.is_none_or(|index| index == *at);
        self.members.iter().enumerate().filter(concerned).map(|(_, replica)| replica)
    }

    /// The names of those that are there.
    pub fn identities(&self) -> Vec<&str> {
        self.members.iter().map(|replica| replica.identity.as_str()).collect()
    }

    /// The replicas that have ended though nobody killed them.
    pub fn ended(&mut self) -> Vec<String> {
        let ended = self.members.iter_mut().filter_map(|replica| {
            (replica.up && replica.operator.has_ended()).then(|| format!("{} has ended", replica.identity))
        });
        ended.collect()
    }
}

/// The name of a replica that has had so many.
fn identity(index: usize, names: usize) -> String {
    format!("replica-{}-{names}", index + 1)
}
