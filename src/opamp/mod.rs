//! The agents' door: the `OpAMP` server, over WebSocket and plain HTTP.
//!
//! [`serve`] accepts connections and hands every message to the [`Hub`], which all connections share. The hub
//! asks the pure rules in `session` what to answer, and these the [`Roster`](crate::fleet::Roster) what to offer.
//! Nothing here decides what an agent is to run, and nothing waits for an agent but that agent's own task.
//!
//! | file | concern |
//! | --- | --- |
//! | `door` | the listener: which request goes where, how many connections, shutdown |
//! | `credentials` | who a peer is, asked before anything is taken from it |
//! | `tls` | the door's certificate, and the proof that a peer has the key of its own |
//! | `http` | plain HTTP: bodies, compression, status codes |
//! | `websocket` | frames, and the life of one connection |
//! | `hub` | the agents and connections behind one lock; pushes |
//! | `session`, `answer`, `report` | the protocol's rules as functions of messages |
//! | `watch` | what agents report as effective, looked at for drift |
//! | `limits` | what peers may take; `pace` (how often), `memory` (of what they are sending), `wire` (what decoding costs) |
//! | `offer`, `settings`, `framing`, `proto` | bytes |
//! | `untrusted` | entrances for the fuzz targets |

mod answer;
mod chance;
pub mod credentials;
mod door;
mod drain;
mod expiry;
pub mod framing;
mod http;
mod hub;
mod limits;
mod memory;
mod message_kind;
mod metrics;
mod offer;
mod pace;
pub mod proto;
mod report;
mod session;
mod settings;
mod stop;
pub mod tls;
pub mod untrusted;
mod watch;
mod websocket;
mod wire;

pub use door::{PATH, serve};
pub use hub::Hub;
pub use limits::Limits;
pub use metrics::Metrics;
pub use offer::encode_files;
pub use report::effective;
pub use settings::{Way, encode_telemetry};
pub use watch::Baselines;
