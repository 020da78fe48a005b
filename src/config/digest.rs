//! A configuration as eight bytes, to tell whether two are the same without keeping either.

use super::compare::{is_empty, scalar::canonical};
use super::hash::keyed;
use super::{HashKey, Text, Value};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// Eight bytes that stand for a configuration. They are keyed, so that they tell nothing about a secret in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 8]);

impl Digest {
    /// The digest that these bytes are.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(self) -> [u8; 8] {
        self.0
    }

    /// Reads 16 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The digest of bytes.
    pub fn of_bytes<'a>(key: &HashKey, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut mac = keyed(key);
        for part in parts {
            add(&mut mac, part);
        }
        finish(mac)
    }

    /// The digest of a configuration. Sections without content count for nothing, nor does what `skips` says. The
    /// order of headers and the like does not count.
    pub fn of_value(key: &HashKey, value: &Value, skips: &dyn Fn(&[Cow<'_, str>]) -> bool) -> Self {
        let mut walk = Walk { mac: keyed(key), path: Vec::new(), skips };
        walk.value(value);
        finish(walk.mac)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn finish(mac: Hmac<Sha256>) -> Digest {
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    let (first, _) = bytes.split_first_chunk().expect("32 bytes are more than 8");
    Digest(*first)
}

/// Text with its length, so that where one ends and the next begins cannot be mistaken.
fn add(mac: &mut Hmac<Sha256>, text: &[u8]) {
    mac.update(&(text.len() as u64).to_be_bytes());
    mac.update(text);
}

struct Walk<'a> {
    mac: Hmac<Sha256>,
    path: Vec<Cow<'a, str>>,
    skips: &'a dyn Fn(&[Cow<'_, str>]) -> bool,
}

impl<'a> Walk<'a> {
    fn value(&mut self, value: &'a Value) {
        match value {
            Value::List(list) => match list.iter().map(pair).collect::<Option<Vec<_>>>() {
                Some(pairs) if !pairs.is_empty() => self.pairs(pairs),
                _ => self.list(list),
            },
            Value::Map(map) => self.map(map),
            leaf => {
                self.mac.update(b"=");
                add(&mut self.mac, canonical(leaf).unwrap_or_default().as_bytes());
            }
        }
    }

    fn map(&mut self, map: &'a BTreeMap<Text, Value>) {
        self.mac.update(b"{");
        for (key, value) in map.iter().filter(|(_, value)| !is_empty(value)) {
            self.path.push(key.as_str().into());
            if !(self.skips)(&self.path) {
                add(&mut self.mac, key.as_bytes());
                self.value(value);
            }
            self.path.pop();
        }
        self.mac.update(b"}");
    }

    fn list(&mut self, list: &'a [Value]) {
        self.mac.update(b"[");
        for (index, value) in list.iter().enumerate() {
            let named = value.as_str().filter(|_| self.path.first().is_some_and(|first| first == "service"));
            self.path.push(named.map_or_else(|| index.to_string().into(), Cow::Borrowed));
            if !(self.skips)(&self.path) {
                self.value(value);
            }
            self.path.pop();
        }
        self.mac.update(b"]");
    }

    /// Headers, which a Collector may list in any order.
    fn pairs(&mut self, mut pairs: Vec<(&'a str, &'a Value)>) {
        pairs.sort_by_key(|(name, _)| *name);
        self.mac.update(b"p");
        for (name, value) in pairs {
            self.path.push(name.into());
            if !(self.skips)(&self.path) {
                add(&mut self.mac, name.as_bytes());
                self.value(value);
            }
            self.path.pop();
        }
        self.mac.update(b"}");
    }
}

/// An element of a list that is a name and a value and nothing else.
fn pair(element: &Value) -> Option<(&str, &Value)> {
    let map = element.as_map().filter(|map| map.len() == 2)?;
    Some((map.get("name")?.as_str()?, map.get("value")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn digest(yaml: &str, skipped: &str) -> Digest {
        let key = HashKey::try_from(&[7; 32][..]).expect("32 bytes");
        let value = parse(yaml.as_bytes()).unwrap_or_else(|error| panic!("{error}: {yaml}"));
        Digest::of_value(&key, &value, &|path| path.join("::") == skipped)
    }

    #[test]
    fn what_means_nothing_changes_no_digest() {
        for (one, other) in [
            ("{a: 1, b: 2}", "{b: 2, a: 1}"),
            ("{a: 1, b: }", "{a: 1}"),
            ("{a: 1, b: {}}", "{a: 1, b: []}"),
            (
                "{h: [{name: a, value: 1}, {name: b, value: 2}]}",
                "{h: [{name: b, value: 2}, {name: a, value: 1}]}",
            ),
            ("{a: 1, b: true, c: 1.5}", "{a: '1', b: 'true', c: '1.50'}"),
            ("{a: 5m}", "{a: 300s}"),
            ("{a: 1, skipped: 2}", "{a: 1, skipped: 3}"),
        ] {
            assert_eq!(digest(one, "skipped"), digest(other, "skipped"), "{one} beside {other}");
        }
    }

    #[test]
    fn any_other_change_changes_the_digest() {
        let texts = [
            "{a: 1}",
            "{a: 2}",
            "{a: 1.5}",
            "{a: true}",
            "{a: 5s}",
            "{a: 5x}",
            "{a: [1]}",
            "{a: [[1]]}",
            "{a: {a: 1}}",
            "{b: 1}",
            "{a: ab}",
            "{a: [a, b]}",
            "{a: [b, a]}",
            "{aa: b}",
            "{a: [ab]}",
            "{}",
            "{h: [{name: a, value: 1}]}",
            "{h: [{name: a, value: 2}]}",
            "{h: [{name: a, value: 1, more: 2}]}",
        ];
        let mut found: Vec<String> = texts.iter().map(|text| digest(text, "").to_string()).collect();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), texts.len());
    }

    #[test]
    fn digest_depends_on_the_key_and_is_read_back() {
        let of = |byte: u8| {
            let key = HashKey::try_from(&[byte; 32][..]).expect("32 bytes");
            Digest::of_bytes(&key, [&b"a"[..], b"b"])
        };
        assert_ne!(of(1), of(2));
        assert_eq!(Digest::parse(&of(1).to_string()), Some(of(1)));
        assert_eq!(Digest::parse("0"), None);
    }
}
