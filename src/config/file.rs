//! One configuration file as it is delivered to an agent.

use std::sync::Arc;

/// A file of the `OpAMP` config map.
///
/// The body is kept byte for byte, because agents get exactly what the user wrote. It is shared,
/// so that a clone costs nothing. No `Debug`: the body may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// The key in the config map, unique in one configuration. May be empty; on a supervisor the
    /// empty name has the highest precedence.
    pub name: String,
    /// The MIME type sent along, for example `text/yaml`; may be empty. Agents ignore it, yet it
    /// is part of the content's identity.
    pub content_type: String,
    /// What the file holds.
    pub body: Arc<[u8]>,
}

impl ConfigFile {
    /// A file made of its three parts.
    pub fn new(name: impl Into<String>, content_type: impl Into<String>, body: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), content_type: content_type.into(), body: body.into() }
    }
}
