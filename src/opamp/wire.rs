//! How much a message will take when it is decoded, seen from its bytes.
//!
//! What is decoded is larger than what came: an attribute without key and value is two bytes on the way and two hundred
//! in memory. So the fields are counted first, which takes no memory worth the name, and a message with too many is
//! not decoded at all.

use prost::encoding::{WireType, decode_key, decode_varint};

/// Most fields of a message, those of all its parts together. A Collector with 300 components reports 3,000 of them.
/// What is decoded takes at most 300 bytes for each (see `no_field_takes_more_than_it_is_counted_for`), so this is
/// 30 MB for each thread of the program, beside the bytes of the message themselves.
pub const MAX_FIELDS: usize = 100_000;

/// A message, or a part of one, in which something may come any number of times. The entries of a map are parts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    AgentToServer,
    Description,
    Attribute,
    Value,
    Values,
    Attributes,
    Health,
    HealthEntry,
    EffectiveConfig,
    ConfigMap,
    Packages,
    Components,
    Component,
    ComponentEntry,
    Capabilities,
}

impl Part {
    /// The part that a field holds; nothing for all that is kept as it comes, and for parts that come once.
    fn within(self, field: u32) -> Option<Self> {
        Some(match (self, field) {
            (Self::AgentToServer, 3) => Self::Description,
            (Self::AgentToServer, 5) | (Self::HealthEntry, 2) => Self::Health,
            (Self::AgentToServer, 6) => Self::EffectiveConfig,
            (Self::AgentToServer, 8) => Self::Packages,
            (Self::AgentToServer, 12) => Self::Capabilities,
            (Self::AgentToServer, 14) => Self::Components,
            (Self::Description, 1 | 2) | (Self::Health, 7) | (Self::Attributes | Self::Component, 1) => {
                Self::Attribute
            }
            (Self::Attribute, 2) | (Self::Values, 1) => Self::Value,
            (Self::Value, 5) => Self::Values,
            (Self::Value, 6) => Self::Attributes,
            (Self::Health, 6) => Self::HealthEntry,
            (Self::EffectiveConfig, 1) => Self::ConfigMap,
            (Self::Components, 1) | (Self::Component, 2) => Self::ComponentEntry,
            (Self::ComponentEntry, 2) => Self::Component,
            _ => return None,
        })
    }
}

/// Whether an encoded `AgentToServer` has more than [`MAX_FIELDS`] fields. What is malformed is left to the decoder, but
/// for what it would make of the rest before it comes there.
pub fn has_too_many_fields(message: &[u8]) -> bool {
    let mut left = MAX_FIELDS;
    let mut parts = vec![(Part::AgentToServer, message)];
    while let Some((part, mut rest)) = parts.pop() {
        while !rest.is_empty() {
            let Some((field, content)) = next(&mut rest) else { break };
            let Some(below) = left.checked_sub(1) else { return true };
            left = below;
            parts.extend(content.and_then(|content| Some((part.within(field)?, content))));
        }
    }
    false
}

/// The next field: its number, and its content if that has a length. Nothing if it is malformed.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    let (field, kind) = decode_key(rest).ok()?;
    let length = match kind {
        WireType::Varint => decode_varint(rest).map(|_| 0).ok()?,
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(rest).ok()?).ok()?,
        // Deprecated, and in no message of ours. What is in a group counts as if it stood where the group does.
        WireType::StartGroup | WireType::EndGroup => 0,
    };
    let content;
    (content, *rest) = rest.split_at_checked(length)?;
    Some((field, (kind == WireType::LengthDelimited).then_some(content)))
}

#[cfg(test)]
mod tests;
