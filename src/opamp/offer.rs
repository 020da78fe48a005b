//! Configuration offers as they go over the wire: their files encoded once, shared by all agents that get them.

use super::proto::{AgentConfigMap, AgentConfigObject, ServerToAgent};
use crate::config::ConfigFile;
use crate::fleet::Offer;
use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

/// The number of `ServerToAgent.remote_config`.
const REMOTE_CONFIG_FIELD: u32 = 3;
/// The number of `AgentRemoteConfig.config`.
const CONFIG_FIELD: u32 = 1;
/// The number of `AgentRemoteConfig.config_hash`.
const CONFIG_HASH_FIELD: u32 = 2;

/// Files as an encoded `AgentConfigMap`, with the bodies byte for byte; nothing for no files, because an empty
/// config map stops a Collector. Two such maps put one behind the other are the map of all their files.
pub fn encode_files(files: &[ConfigFile]) -> Option<Bytes> {
    if files.is_empty() {
        return None;
    }
    let config_map = files.iter().map(|file| (file.name.clone(), object(file))).collect();
    Some(AgentConfigMap { config_map }.encode_to_vec().into())
}

fn object(file: &ConfigFile) -> AgentConfigObject {
    let body = Bytes::from_owner(file.body.clone());
    AgentConfigObject { body, content_type: file.content_type.clone(), ..Default::default() }
}

/// An encoded `ServerToAgent` in two parts, of which the second is shared. Together they are one message:
/// protobuf fields may come in any order, so the offered files are put behind all else.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// All but the revision's own files.
    pub head: Bytes,
    /// The revision's files; empty without an offer.
    pub files: Bytes,
}

impl Encoded {
    /// Encodes a message and an offer. An offer without files is left out: it would be an empty config map.
    pub fn new(message: &ServerToAgent, offer: Option<&Offer>) -> Self {
        let mut head = message.encode_to_vec();
        let Some(offer) = offer.filter(|offer| !offer.revision.payload.files.is_empty()) else {
            return Self { head: head.into(), files: Bytes::new() };
        };
        let files = offer.revision.payload.files.clone();
        let padding = if offer.form.is_padded() { &offer.revision.payload.padding[..] } else { &[] };
        let mut config = Vec::new();
        put_bytes(CONFIG_HASH_FIELD, &offer.revision.hash.to_wire(offer.form), &mut config);
        put_length(CONFIG_FIELD, padding.len() + files.len(), &mut config);
        config.extend_from_slice(padding);
        put_length(REMOTE_CONFIG_FIELD, config.len() + files.len(), &mut head);
        head.extend_from_slice(&config);
        Self { head: head.into(), files }
    }

    /// The message's length in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.files.len()
    }
}

/// Announces a field of this length.
fn put_length(field: u32, length: usize, buffer: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
}

fn put_bytes(field: u32, bytes: &[u8], buffer: &mut Vec<u8>) {
    put_length(field, bytes.len(), buffer);
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigHash, Form};
    use crate::fleet::{Payload, Revision};
    use crate::opamp::proto::AgentRemoteConfig;
    use std::sync::Arc;

    const HASH: ConfigHash = ConfigHash::from_bytes([7; 32]);

    fn files() -> Vec<ConfigFile> {
        let odd: &[u8] = b"\xff\x00 not utf-8\r\n";
        vec![ConfigFile::new("b.yaml", "text/yaml", odd), ConfigFile::new("", "", &b""[..])]
    }

    fn offer(form: Form, padding: &[ConfigFile]) -> Offer {
        let payload = Payload {
            files: encode_files(&files()).expect("files"),
            padding: encode_files(padding).unwrap_or_default(),
        };
        let revision = Revision {
            name: "r".into(),
            hash: HASH,
            payload,
            desired: None,
            needs: None,
            secrets: Box::default(),
        };
        Offer { revision: Arc::new(revision), form }
    }

    /// The offer as an agent reads it out of a message.
    fn read(offer: &Offer) -> AgentRemoteConfig {
        let encoded = Encoded::new(&ServerToAgent::default(), Some(offer));
        let together = [&encoded.head[..], &encoded.files].concat();
        assert_eq!(together.len(), encoded.len());
        let Ok(message) = ServerToAgent::decode(&*together) else { panic!("not a ServerToAgent") };
        message.remote_config.expect("an offer")
    }

    fn names(offer: &Offer) -> Vec<String> {
        read(offer).config.expect("a config map").config_map.into_keys().collect()
    }

    #[test]
    fn offer_holds_hash_names_types_and_bodies_as_they_are() {
        let read = read(&offer(Form::Plain, &[]));
        assert_eq!(&read.config_hash[..], &[7; 32]);
        let map = read.config.expect("a config map").config_map;
        let read: Vec<_> =
            map.iter().map(|(name, object)| (&**name, &*object.content_type, &object.body[..])).collect();
        assert_eq!(read, [("", "", &b""[..]), ("b.yaml", "text/yaml", b"\xff\x00 not utf-8\r\n")]);
    }

    #[test]
    fn odd_corrections_have_the_padding_and_all_have_another_hash() {
        let padding = [ConfigFile::new("pad", "text/yaml", &b"connectors: {}"[..])];
        for (form, padded, counter) in [
            (Form::Plain, false, &[][..]),
            (Form::Correction(1), true, &[1]),
            (Form::Correction(2), false, &[2]),
            (Form::Correction(255), true, &[255]),
        ] {
            let offer = offer(form, &padding);
            let expected = if padded { &["", "b.yaml", "pad"][..] } else { &["", "b.yaml"] };
            assert_eq!(names(&offer), expected, "{form:?}");
            let hash = read(&offer).config_hash;
            assert_eq!((&hash[..32], &hash[32..]), (&[7; 32][..], counter), "{form:?}");
        }
    }

    #[test]
    fn correction_without_a_padding_differs_in_its_hash_alone() {
        let (plain, correction) = (offer(Form::Plain, &[]), offer(Form::Correction(1), &[]));
        assert!(read(&plain).config == read(&correction).config);
        assert_ne!(read(&plain).config_hash, read(&correction).config_hash);
    }

    #[test]
    fn files_are_shared_by_all_forms() {
        let (plain, padded) = (offer(Form::Plain, &files()), offer(Form::Correction(1), &files()));
        for offer in [plain, padded] {
            let encoded = Encoded::new(&ServerToAgent::default(), Some(&offer));
            assert_eq!(encoded.files.as_ptr(), offer.revision.payload.files.as_ptr());
        }
    }

    #[test]
    fn empty_config_map_cannot_be_encoded() {
        assert!(encode_files(&[]).is_none());
    }

    #[test]
    fn message_with_an_offer_is_what_the_whole_message_would_be() {
        let offer = offer(Form::Plain, &[]);
        let message =
            ServerToAgent { instance_uid: vec![1; 16], flags: 1, capabilities: 3, ..Default::default() };
        let encoded = Encoded::new(&message, Some(&offer));
        let together = [&encoded.head[..], &encoded.files].concat();
        let whole = ServerToAgent { remote_config: Some(read(&offer)), ..message };
        assert!(ServerToAgent::decode(&*together).is_ok_and(|read| read == whole));
    }

    #[test]
    fn message_without_an_offer_has_no_remote_config() {
        let encoded = Encoded::new(&ServerToAgent::default(), None);
        assert!(encoded.head.is_empty() && encoded.len() == 0);
    }
}
