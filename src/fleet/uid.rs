//! Who an agent is: its instance uid, and the namespace that it belongs to.

use std::sync::Arc;

/// An agent's `instance_uid`: 16 bytes, written as a UUID in status and as bare hex in slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceUid([u8; 16]);

impl InstanceUid {
    /// The uid with these bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The uid as it goes over the wire; nothing unless it has exactly 16 bytes.
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The uid written as 32 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The bytes as they go over the wire.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 lower-case hex digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl std::fmt::Display for InstanceUid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", uuid::Uuid::from_bytes(self.0).hyphenated())
    }
}

/// An agent's identity in the operator: uids are unique within the namespace of the agents' credential only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentKey {
    /// The namespace that the agent belongs to.
    pub namespace: Arc<str>,
    /// The agent's instance uid.
    pub uid: InstanceUid,
}
