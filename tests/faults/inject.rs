//! Carries out one fault: begins it, makes sure that it really happens, and ends it.

use super::agents::Agents;
use super::calm::Disturbance;
use super::plan::{Fault, Kind};
use super::proxy::Weather;
use super::replicas::Replicas;
use crate::support::control_plane::ControlPlane;
use crate::support::eventually;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

/// How often the weather strikes at least before it may turn.
const STRIKES: usize = 3;
/// How much later events come that come late.
const LATE: Duration = Duration::from_millis(700);

/// What faults are done to.
pub struct Victims<'a> {
    /// The control plane.
    pub plane: &'a mut ControlPlane,
    /// The replicas.
    pub replicas: &'a mut Replicas,
    /// The agents.
    pub agents: &'a Agents,
}

impl Victims<'_> {
    /// Carries a fault out; from when to when.
    pub async fn undergo(&mut self, fault: &Fault) -> Disturbance {
        let from = Timestamp::now();
        match fault.kind {
            Kind::KillLeader => self.kill(self.replicas.leader().await, fault).await,
            Kind::KillFollower => self.kill(self.replicas.follower(fault.whom).await, fault).await,
            Kind::FreezeLeader => self.freeze(self.replicas.leader().await, fault).await,
            Kind::FreezeFollower => self.freeze(self.replicas.follower(fault.whom).await, fault).await,
            Kind::StopServer => {
                self.plane.kill_server();
                self.is_away().await;
                sleep(fault.lasts).await;
                self.plane.start_server().await;
            }
            Kind::StopStore => {
                self.plane.kill_store();
                self.is_away().await;
                sleep(fault.lasts).await;
                self.plane.start_store().await;
            }
            Kind::FreezeStore => {
                self.plane.freeze_store();
                self.is_away().await;
                sleep(fault.lasts).await;
                self.plane.resume_store().await;
            }
            Kind::CutLeader => self.cut(self.replicas.leader().await, fault).await,
            Kind::CutFollower => self.cut(self.replicas.follower(fault.whom).await, fault).await,
            Kind::CutAgents => self.cut_agents(fault).await,
            Kind::Duplicates => self.storm(None, Weather::Duplicates, fault.lasts).await,
            Kind::Delays => self.storm(None, Weather::Delays(LATE), fault.lasts).await,
            Kind::Conflicts => self.storm(None, Weather::Conflicts, fault.lasts).await,
            Kind::Throttling => self.storm(None, Weather::Throttling, fault.lasts).await,
            Kind::Errors => self.storm(None, Weather::Errors, fault.lasts).await,
            Kind::LostAnswers => self.storm(None, Weather::LostAnswers, fault.lasts).await,
        }
        Disturbance { from, until: Timestamp::now() }
    }

    async fn kill(&mut self, index: usize, fault: &Fault) {
        self.replicas.kill(index);
        if fault.elsewhere {
            self.replicas.lead_elsewhere(index);
        }
        self.agents.moved(index);
        sleep(fault.lasts).await;
        self.replicas.restart(self.plane, index, fault.hard).await;
        self.replicas.lead_home(index);
        self.agents.moved(index);
    }

    async fn freeze(&mut self, index: usize, fault: &Fault) {
        self.replicas.freeze(index).await;
        if fault.elsewhere {
            self.replicas.lead_elsewhere(index);
            self.agents.moved(index);
        }
        sleep(fault.lasts).await;
        self.replicas.resume(index);
        if fault.elsewhere {
            self.replicas.lead_home(index);
            self.agents.moved(index);
        }
    }

    async fn cut(&mut self, index: usize, fault: &Fault) {
        self.storm(Some(index), if fault.hard { Weather::Silent } else { Weather::Cut }, fault.lasts).await;
    }

    async fn cut_agents(&mut self, fault: &Fault) {
        let agents = self.agents;
        // Those that the fault before has sent here may still be on their way, and who is not there is not cut off.
        eventually("agents to be there", async || agents.are_connected(fault.whom).then_some(())).await;
        let before = agents.disconnections(fault.whom);
        if fault.elsewhere {
            self.replicas.lead_elsewhere(fault.whom);
        } else {
            self.replicas.lead_nowhere(fault.whom);
        }
        self.agents.moved(fault.whom);
        sleep(fault.lasts).await;
        eventually("agents to be cut off", async || {
            (agents.disconnections(fault.whom) > before).then_some(())
        })
        .await;
        self.replicas.lead_home(fault.whom);
        self.agents.moved(fault.whom);
    }

    /// Bad weather on the ways to the API server, until it has lasted and has struck.
    async fn storm(&mut self, index: Option<usize>, weather: Weather, lasts: Duration) {
        self.replicas.turn(index, weather);
        sleep(lasts).await;
        let replicas = &self.replicas;
        eventually(format!("{weather:?} to strike"), async || {
            (replicas.struck(index) >= STRIKES).then_some(())
        })
        .await;
        self.replicas.turn(index, Weather::Clear);
    }

    /// Waits until the API server does not answer.
    async fn is_away(&self) {
        let plane = &*self.plane;
        eventually("the API server not to answer", async || (!plane.answers().await).then_some(())).await;
    }
}
