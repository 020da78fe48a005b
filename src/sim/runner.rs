//! Runs one agent: connects it, lets it speak in time, and connects it again.

use super::agent::Agent;
use super::endpoint::{Endpoint, Transport};
use super::link::Link;
use super::observer::{Event, Observer};
use super::refused::Refused;
use super::{http, websocket};
use crate::opamp::proto::{AgentToServer, ServerToAgent};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an agent that ends waits for the server's last words.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// When an agent speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two heartbeats or polls.
    pub heartbeat: Duration,
    /// How long a configuration takes to be applied.
    pub apply_delay: Duration,
    /// The pause before the first reconnect; each further one is half as long again.
    pub first_backoff: Duration,
    /// The longest pause before a reconnect.
    pub last_backoff: Duration,
    /// By how much it divides the pauses that a server tells it with a refusal. 1, save where tests run the clock faster.
    pub haste: u32,
}

impl Default for Pace {
    /// The times of real clients, save that a supervisor takes some seconds to apply.
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(30),
            apply_delay: Duration::from_millis(200),
            first_backoff: Duration::from_millis(500),
            last_backoff: Duration::from_mins(1),
            haste: 1,
        }
    }
}

/// Something that is done to an agent that runs, and what it has to say to that.
pub(super) type Deed = Box<dyn FnOnce(&mut Agent) -> Vec<AgentToServer> + Send>;

/// Runs an agent until `stop` turns true or nobody is left to turn it; then the agent says goodbye.
pub async fn run(
    agent: Agent,
    endpoint: Arc<Endpoint>,
    pace: Pace,
    observer: Arc<dyn Observer>,
    stop: watch::Receiver<bool>,
) {
    Life::new(agent, pace, observer, stop, None).live(endpoint).await;
}

/// What runs an agent.
pub(super) struct Life {
    agent: Agent,
    pace: Pace,
    observer: Arc<dyn Observer>,
    stop: watch::Receiver<bool>,
    /// What is done to the agent. It waits until the agent is connected and can tell of it, so there is no more of it
    /// than a test does meanwhile. None in large fleets, to which nobody does anything.
    deeds: Option<mpsc::UnboundedReceiver<Deed>>,
    /// Whether the server has answered on this connection.
    connected: bool,
    /// When the configuration that is being applied is done.
    applied_at: Instant,
}

impl Life {
    /// An agent that has not connected yet.
    pub fn new(
        agent: Agent,
        pace: Pace,
        observer: Arc<dyn Observer>,
        stop: watch::Receiver<bool>,
        deeds: Option<mpsc::UnboundedReceiver<Deed>>,
    ) -> Self {
        Self { agent, pace, observer, stop, deeds, connected: false, applied_at: Instant::now() }
    }

    /// Lives until it is told to stop.
    pub async fn live(mut self, endpoint: Arc<Endpoint>) {
        let mut pause = self.pace.first_backoff;
        loop {
            let ended = match endpoint.transport {
                Transport::WebSocket => self.connect::<websocket::Socket>(&endpoint).await,
                Transport::Http => self.connect::<http::Client>(&endpoint).await,
            };
            if self.disconnected() {
                pause = self.pace.first_backoff;
            }
            let Err(error) = ended else { return };
            self.observer.observe(&self.agent, &Event::Failed(&error));
            let told = Refused::of(&error).and_then(|refused| refused.retry_after).unwrap_or_default();
            // As opamp-go does: the longer of its own pause and the server's.
            if !self.sleeps(jittered(pause).max(told / self.pace.haste)).await {
                return;
            }
            pause = (pause * 3 / 2).min(self.pace.last_backoff);
        }
    }

    /// Lives through one connection. It ends without an error only when the agent was told to stop.
    async fn connect<L: Link>(&mut self, endpoint: &Endpoint) -> io::Result<()> {
        let mut link = select! {
            () = stopped(&mut self.stop) => return Ok(()),
            opened = timeout(CONNECT_TIMEOUT, L::open(endpoint)) => opened??,
        };
        self.exchange(&mut link).await?;
        timeout(FAREWELL_TIMEOUT, self.say_goodbye(&mut link)).await?
    }

    async fn exchange<L: Link>(&mut self, link: &mut L) -> io::Result<()> {
        link.send(&self.agent.hello()).await?;
        let mut heartbeat = interval_at(Instant::now() + self.pace.heartbeat, self.pace.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                biased;
                () = stopped(&mut self.stop) => return Ok(()),
                Some(deed) = next(&mut self.deeds) => self.undergo(link, deed).await?,
                message = link.receive() => self.take(link, message?).await?,
                () = sleep_until(self.applied_at), if self.agent.is_applying() => self.finish(link).await?,
                _ = heartbeat.tick() => link.send(&self.agent.heartbeat()).await?,
            }
        }
    }

    async fn take<L: Link>(&mut self, link: &mut L, message: ServerToAgent) -> io::Result<()> {
        if !std::mem::replace(&mut self.connected, true) {
            self.observer.observe(&self.agent, &Event::Connected);
        }
        // In this order, whoever has read of an offer does not read what the agent said before it.
        let replies = self.changed(|agent| agent.receive(&message));
        self.observer.observe(&self.agent, &Event::Received(&message));
        if message.remote_config.is_some() && message.command.is_none() {
            self.applied_at = Instant::now() + self.pace.apply_delay;
        }
        self.send_all(link, replies).await
    }

    async fn finish<L: Link>(&mut self, link: &mut L) -> io::Result<()> {
        let reports = self.changed(Agent::finish);
        self.send_all(link, reports).await
    }

    async fn undergo<L: Link>(&mut self, link: &mut L, deed: Deed) -> io::Result<()> {
        let reports = self.changed(deed);
        self.send_all(link, reports).await
    }

    /// Changes the agent and tells of it.
    fn changed(&mut self, change: impl FnOnce(&mut Agent) -> Vec<AgentToServer>) -> Vec<AgentToServer> {
        let before = self.agent.config().status();
        let said = change(&mut self.agent);
        self.observer.observe(&self.agent, &Event::Changed(before));
        said
    }

    async fn send_all<L: Link>(&mut self, link: &mut L, messages: Vec<AgentToServer>) -> io::Result<()> {
        for message in messages {
            link.send(&message).await?;
        }
        Ok(())
    }

    async fn say_goodbye<L: Link>(&mut self, link: &mut L) -> io::Result<()> {
        link.send(&self.agent.goodbye()).await?;
        link.close().await
    }

    /// Notes that the connection has ended; false if it never began.
    fn disconnected(&mut self) -> bool {
        let was = std::mem::replace(&mut self.connected, false);
        if was {
            self.observer.observe(&self.agent, &Event::Disconnected);
        }
        was
    }

    /// Waits; false if the agent was told to stop meanwhile.
    async fn sleeps(&mut self, pause: Duration) -> bool {
        select! {
            () = stopped(&mut self.stop) => false,
            () = sleep(pause) => true,
        }
    }
}

async fn next(deeds: &mut Option<mpsc::UnboundedReceiver<Deed>>) -> Option<Deed> {
    deeds.as_mut()?.recv().await
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Between half of the pause and one and a half, so that a fleet does not come back all at once.
fn jittered(pause: Duration) -> Duration {
    let thousandths = getrandom::u32().unwrap_or_default() % 1000;
    pause / 2 + pause * thousandths / 1000
}
