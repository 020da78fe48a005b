//! How agents differ in what they do with configurations.

/// What an agent does with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Reports APPLYING, then APPLIED.
    Apply,
    /// Reports APPLYING, then FAILED with this message, and keeps the broken configuration, as supervisors do by
    /// default.
    Fail(String),
    /// Reports APPLYING, then FAILED, then APPLIED with the hash that it ran before, as supervisors with
    /// `automatic_config_rollback` do. The first configuration of all it applies.
    Rollback,
    /// Takes it and never says a word about it.
    Silent,
}
