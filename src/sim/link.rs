//! What an agent needs of a transport.

use super::endpoint::Endpoint;
use crate::opamp::proto::{AgentToServer, ServerToAgent};
use std::io;

/// A connection that messages go over.
pub(super) trait Link: Sized + Send {
    /// Opens it.
    fn open(endpoint: &Endpoint) -> impl Future<Output = io::Result<Self>> + Send;
    /// Sends a message.
    fn send(&mut self, message: &AgentToServer) -> impl Future<Output = io::Result<()>> + Send;
    /// The next message of the server. Cancelling it loses nothing.
    fn receive(&mut self) -> impl Future<Output = io::Result<ServerToAgent>> + Send;
    /// Closes it, as a client that is done.
    fn close(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}
