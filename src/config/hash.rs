//! The identity of a configuration's content (design, section 3: "Content is the revision").
//!
//! The same content gives the same hash for ever, on any replica, after any restart. It is keyed,
//! so that a hash tells nothing about a secret in the content.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Sha256;

use super::ConfigFile;

#[cfg(test)]
mod tests;

/// The length of a key and of a hash, in bytes.
const LENGTH: usize = 32;

/// The identity of one content: 32 bytes on the wire, 64 lower-case hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigHash([u8; LENGTH]);

/// How a content is offered, which its hash on the wire tells (design, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    #[default]
    Plain,
    /// Once more, to an agent that has already received it and would ignore the same again.
    Correction(u8),
}

/// The secret under which contents are hashed. No `Debug`: it is a secret.
#[derive(Clone)]
pub struct HashKey([u8; LENGTH]);

/// A hash key of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash key has {found} bytes instead of 32")]
pub struct HashKeyError {
    /// The length that was given, in bytes.
    pub found: usize,
}

/// A text that is not a configuration hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a configuration hash is 64 lower-case hex digits")]
pub struct ParseHashError;

impl ConfigHash {
    /// The hash that these bytes stand for.
    pub const fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// The bytes that go out as `config_hash`.
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// The bytes that go out as `config_hash` with an offer in this form: the hash alone, or the hash
    /// and the counter byte of a correction, so that an agent takes it for something new and every
    /// replica still knows the revision.
    pub fn to_wire(&self, form: Form) -> Vec<u8> {
        let mut bytes = self.0.to_vec();
        bytes.extend(match form {
            Form::Plain => None,
            Form::Correction(counter) => Some(counter),
        });
        bytes
    }

    /// Reads what an agent reports: the 32 bytes, or those of a correction, which stand for the same
    /// content. Any other length is not one of our hashes.
    pub fn from_wire(reported: &[u8]) -> Option<(Self, Form)> {
        let (hash, counter) = reported.split_first_chunk::<LENGTH>()?;
        let form = match counter {
            [] => Form::Plain,
            [counter] => Form::Correction(*counter),
            _ => return None,
        };
        Some((Self(*hash), form))
    }
}

impl Form {
    /// The form of the next offer of the same content to an agent that holds this one. The two differ
    /// in their hashes and, since the counter's lowest bit changes, in whether they are padded.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Plain => Self::Correction(1),
            Self::Correction(counter) => Self::Correction(counter.wrapping_add(1)),
        }
    }

    /// Whether the files go out with one more that says nothing. That it is every odd correction
    /// tells any replica which files an agent holds from the hash that it reports.
    pub const fn is_padded(self) -> bool {
        matches!(self, Self::Correction(counter) if counter % 2 == 1)
    }
}

impl TryFrom<&[u8]> for HashKey {
    type Error = HashKeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| HashKeyError { found: bytes.len() })
    }
}

/// The identity of a content: HMAC-SHA256 over, for each file in bytewise order of name, its name,
/// content type and body, each preceded by its length as 8 bytes big endian.
///
/// The order of `files` does not matter.
pub fn content_hash(key: &HashKey, files: &[ConfigFile]) -> ConfigHash {
    let mut ordered: Vec<&ConfigFile> = files.iter().collect();
    // Names are unique in a valid configuration; the other parts only keep the result independent
    // of the input order when they are not.
    ordered.sort_by_key(|file| (&file.name, &file.content_type, &file.body));
    let mut mac = keyed(key);
    for file in ordered {
        for part in [file.name.as_bytes(), file.content_type.as_bytes(), &file.body] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
    }
    ConfigHash(mac.finalize().into_bytes().into())
}

/// HMAC takes a key of one block: a shorter one is filled up with zeros (RFC 2104, section 2).
pub(super) fn keyed(key: &HashKey) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..LENGTH].copy_from_slice(&key.0);
    <Hmac<Sha256> as KeyInit>::new(&block.into())
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for ConfigHash {
    type Err = ParseHashError;

    /// Accepts the one spelling that [`fmt::Display`] writes, so that equal hashes are equal texts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ParseHashError);
        }
        let mut bytes = [0; LENGTH];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseHashError)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ConfigHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConfigHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
