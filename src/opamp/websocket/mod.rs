//! The server's side of WebSocket (RFC 6455), as far as `OpAMP` needs it: binary messages, no extensions.
//!
//! It is our own because of the memory budget. Agents are silent nearly all the time, and a general library keeps
//! for each connection a read buffer as long as the longest message that it ever received (effective
//! configurations of tens of KB), and a write buffer as long as the longest sent. Here a silent connection holds
//! no buffer at all, and an offer is written from the bytes that all connections share.

mod connection;
mod decoder;
mod frame;
mod handshake;

pub(super) use connection::Connection;
pub(super) use decoder::{Decoder, Event};
pub(super) use handshake::{Refusal, accept_key, is_upgrade};
