//! Configuration offers as they go over the wire: encoded once, shared by all agents that get them.

use super::proto::{AgentConfigMap, AgentConfigObject, AgentRemoteConfig, ServerToAgent};
use crate::config::{ConfigFile, ConfigHash};
use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

/// The number of `ServerToAgent.remote_config`.
const REMOTE_CONFIG_FIELD: u32 = 3;

/// A configuration as an encoded `AgentRemoteConfig`, with the bodies byte for byte; nothing for no files,
/// because an empty config map stops a Collector.
pub fn encode_offer(hash: ConfigHash, files: &[ConfigFile]) -> Option<Bytes> {
    if files.is_empty() {
        return None;
    }
    let config_map = files.iter().map(|file| (file.name.clone(), object(file))).collect();
    let config = AgentConfigMap { config_map };
    let config_hash = Bytes::copy_from_slice(hash.as_bytes());
    Some(AgentRemoteConfig { config: Some(config), config_hash }.encode_to_vec().into())
}

fn object(file: &ConfigFile) -> AgentConfigObject {
    let body = Bytes::from_owner(file.body.clone());
    AgentConfigObject { body, content_type: file.content_type.clone(), ..Default::default() }
}

/// An encoded `ServerToAgent` in two parts, of which the second is shared. Together they are one message:
/// protobuf fields may come in any order, so the offer is put behind the others without decoding it.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// All but the offer's own bytes.
    pub head: Bytes,
    /// The offer's bytes; empty without an offer.
    pub offer: Bytes,
}

impl Encoded {
    /// Encodes a message and an offer. An offer without content is left out: it would be an empty config map.
    pub fn new(message: &ServerToAgent, offer: Bytes) -> Self {
        let mut head = message.encode_to_vec();
        if !offer.is_empty() {
            encode_key(REMOTE_CONFIG_FIELD, WireType::LengthDelimited, &mut head);
            encode_varint(offer.len() as u64, &mut head);
        }
        Self { head: head.into(), offer }
    }

    /// The message's length in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.offer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: ConfigHash = ConfigHash::from_bytes([7; 32]);

    fn files() -> Vec<ConfigFile> {
        let odd: &[u8] = b"\xff\x00 not utf-8\r\n";
        vec![ConfigFile::new("b.yaml", "text/yaml", odd), ConfigFile::new("", "", &b""[..])]
    }

    #[test]
    fn offer_holds_hash_names_types_and_bodies_as_they_are() {
        let offer = encode_offer(HASH, &files()).expect("files");
        let Ok(read) = AgentRemoteConfig::decode(offer) else { panic!("not an AgentRemoteConfig") };
        assert_eq!(&read.config_hash[..], &[7; 32]);
        let map = read.config.expect("a config map").config_map;
        let read: Vec<_> =
            map.iter().map(|(name, object)| (&**name, &*object.content_type, &object.body[..])).collect();
        assert_eq!(read, [("", "", &b""[..]), ("b.yaml", "text/yaml", b"\xff\x00 not utf-8\r\n")]);
    }

    #[test]
    fn empty_config_map_cannot_be_encoded() {
        assert!(encode_offer(HASH, &[]).is_none());
    }

    #[test]
    fn message_with_an_offer_is_what_the_whole_message_would_be() {
        let offer = encode_offer(HASH, &files()).expect("files");
        let message =
            ServerToAgent { instance_uid: vec![1; 16], flags: 1, capabilities: 3, ..Default::default() };
        let encoded = Encoded::new(&message, offer.clone());
        let together = [&encoded.head[..], &encoded.offer].concat();
        assert_eq!(together.len(), encoded.len());
        let Ok(remote_config) = AgentRemoteConfig::decode(offer) else { panic!("not an AgentRemoteConfig") };
        let whole = ServerToAgent { remote_config: Some(remote_config), ..message };
        assert!(ServerToAgent::decode(&*together).is_ok_and(|read| read == whole));
    }

    #[test]
    fn message_without_an_offer_has_no_remote_config() {
        let encoded = Encoded::new(&ServerToAgent::default(), Bytes::new());
        assert!(encoded.head.is_empty() && encoded.len() == 0);
    }
}
