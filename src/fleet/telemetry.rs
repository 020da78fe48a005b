//! What agents are told of where to send their own telemetry, and which of them.

use super::{InstanceUid, Rank, Seed};
use crate::api::{TelemetrySpec, TelemetryStatus, TelemetryTarget};
use crate::config::{ConfigFile, ConfigHash, HashKey, content_hash, secret_texts};
use bytes::Bytes;

/// Most headers of one signal.
const MAX_HEADERS: usize = 32;
/// Longest list of headers, in bytes.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Where the agents of a group send their own telemetry. No `Debug`: headers are credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Where metrics go.
    pub metrics: Option<Destination>,
    /// Where logs go.
    pub logs: Option<Destination>,
    /// Where traces go.
    pub traces: Option<Destination>,
}

/// Where one signal goes. No `Debug`: headers are credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The URL.
    pub endpoint: String,
    /// The headers to send, in order.
    pub headers: Vec<(String, String)>,
}

/// What is wrong with headers. It repeats nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A line has no colon, or no name before it.
    #[error("line {0} is not of the form `Name: value`")]
    Form(usize),
    /// A character cannot stand there.
    #[error(
        "line {0} has a character that cannot stand in a header, or a quote or backslash, which supervisors cannot take"
    )]
    Character(usize),
    /// There are too many of them.
    #[error("it has more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes")]
    TooMany,
}

impl Telemetry {
    /// What a spec says, with the headers that `headers` finds.
    ///
    /// # Errors
    /// Those of `headers`.
    pub fn read<E>(
        spec: &TelemetrySpec,
        headers: impl Fn(&TelemetryTarget) -> Result<Vec<(String, String)>, E>,
    ) -> Result<Self, E> {
        let read = |target: &Option<TelemetryTarget>| {
            let read = |target: &TelemetryTarget| {
                Ok(Destination { endpoint: target.endpoint.clone(), headers: headers(target)? })
            };
            target.as_ref().map(read).transpose()
        };
        Ok(Self { metrics: read(&spec.metrics)?, logs: read(&spec.logs)?, traces: read(&spec.traces)? })
    }

    /// The texts in it that may be secrets, which agents may repeat in their messages and nobody shall read there.
    pub fn secrets(&self) -> Box<[Box<str>]> {
        let destinations = [&self.metrics, &self.logs, &self.traces].into_iter().flatten();
        let values = destinations.flat_map(|destination| &destination.headers).map(|(_, value)| value);
        // In quotes it is a text, whatever it looks like; there are none in it.
        values
            .flat_map(|value| secret_texts(&ConfigFile::new("", "", format!("\"{value}\"").into_bytes())))
            .collect()
    }

    /// Stands for all of it.
    pub fn hash(&self, key: &HashKey) -> ConfigHash {
        let signals = [("metrics", &self.metrics), ("logs", &self.logs), ("traces", &self.traces)];
        let files = signals.into_iter().filter_map(|(name, destination)| {
            let Destination { endpoint, headers } = destination.as_ref()?;
            let headers: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            Some(ConfigFile::new(name, endpoint.clone(), headers.join("\n").into_bytes()))
        });
        content_hash(key, &files.collect::<Vec<_>>())
    }
}

/// Reads headers, one `Name: value` a line. Empty lines say nothing.
///
/// # Errors
/// See [`HeaderError`].
pub fn read_headers(text: &[u8]) -> Result<Vec<(String, String)>, HeaderError> {
    if text.len() > MAX_HEADER_BYTES {
        return Err(HeaderError::TooMany);
    }
    let mut headers = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let (line, number) = (line.trim_ascii(), number + 1);
        if line.is_empty() {
            continue;
        }
        let text = std::str::from_utf8(line).map_err(|_| HeaderError::Character(number))?;
        let (name, value) = text.split_once(':').ok_or(HeaderError::Form(number))?;
        let (name, value) = (name, value.trim());
        if name.is_empty() {
            return Err(HeaderError::Form(number));
        }
        let in_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let in_value = |c: char| (c.is_ascii_graphic() || c == ' ') && !"\"\\".contains(c);
        if !name.chars().all(in_name) || !value.chars().all(in_value) {
            return Err(HeaderError::Character(number));
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    if headers.len() > MAX_HEADERS { Err(HeaderError::TooMany) } else { Ok(headers) }
}

/// What the agents of a group are told, and how far down the ranks. No `Debug`: headers are in the payload.
#[derive(Clone)]
pub struct TelemetryView {
    /// Stands for the payload.
    pub hash: ConfigHash,
    /// The settings of all signals as they go over the wire.
    pub payload: Bytes,
    /// Texts in them that may be secrets.
    pub secrets: Box<[Box<str>]>,
    boundary: Rank,
}

impl TelemetryView {
    /// The view of these settings, with the texts in them that may be secrets; nothing if the status is of others.
    pub fn new(
        hash: ConfigHash,
        payload: Bytes,
        secrets: Box<[Box<str>]>,
        status: &TelemetryStatus,
    ) -> Option<Self> {
        let boundary = Rank::parse(&status.boundary)?;
        (status.hash.parse() == Ok(hash)).then_some(Self { hash, payload, secrets, boundary })
    }

    /// Whether an agent is told by now.
    pub fn reaches(&self, uid: InstanceUid) -> bool {
        self.boundary == Rank::ALL || order_of(self.hash).rank(uid) <= self.boundary
    }
}

/// In which order agents are told of these settings.
pub fn order_of(hash: ConfigHash) -> Seed {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    Seed::new(u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_line_by_line_and_nothing_of_them_is_repeated() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (text, expected) in [
            ("", Ok(vec![])),
            ("Authorization: Bearer a:b\n", Ok(vec![pair("Authorization", "Bearer a:b")])),
            ("a:1\r\n\r\n  b :  2", Err(HeaderError::Character(3))),
            ("a:1\r\n\r\n  b:  2  \r\n", Ok(vec![pair("a", "1"), pair("b", "2")])),
            ("a: ${env:TOKEN}", Ok(vec![pair("a", "${env:TOKEN}")])),
            ("empty:", Ok(vec![pair("empty", "")])),
            ("secret", Err(HeaderError::Form(1))),
            ("a: 1\n: secret", Err(HeaderError::Form(2))),
            ("a: sec\"ret", Err(HeaderError::Character(1))),
            ("a: sec\\ret", Err(HeaderError::Character(1))),
            ("a: sec\u{7}ret", Err(HeaderError::Character(1))),
            ("a: secr\u{e9}t", Err(HeaderError::Character(1))),
            ("a b: secret", Err(HeaderError::Character(1))),
        ] {
            let read = read_headers(text.as_bytes());
            assert_eq!(read, expected, "{text:?}");
            assert!(read.is_ok() || !read.expect_err("an error").to_string().contains("secret"));
        }
        assert_eq!(read_headers(b"a: \xff"), Err(HeaderError::Character(1)));
        assert_eq!(read_headers("a: 1\n".repeat(33).as_bytes()), Err(HeaderError::TooMany));
        assert_eq!(read_headers(&[b'\n'; 8193]), Err(HeaderError::TooMany));
    }

    #[test]
    fn values_of_headers_may_be_secrets_and_names_are_not() {
        let headers =
            read_headers(b"api-key-name: 12345678\nauthorization: Bearer abcdefgh").expect("headers");
        let to = Some(Destination { endpoint: "http://host/".to_owned(), headers });
        let secrets = Telemetry { traces: to, ..Telemetry::default() }.secrets();
        let has = |text: &str| secrets.iter().any(|secret| **secret == *text);
        assert!(has("12345678") && has("Bearer abcdefgh") && has("abcdefgh"), "{secrets:?}");
        assert!(!has("api-key-name") && !has("authorization") && !has("http://host/"), "{secrets:?}");
    }

    #[test]
    fn hash_stands_for_every_part_of_every_signal() {
        let key = HashKey::try_from(&[7; 32][..]).expect("a key");
        let to = |endpoint: &str, header: &str| {
            let headers = vec![("a".to_owned(), header.to_owned())];
            Some(Destination { endpoint: endpoint.to_owned(), headers })
        };
        let all = [
            Telemetry { metrics: to("http://a/", "1"), ..Telemetry::default() },
            Telemetry { logs: to("http://a/", "1"), ..Telemetry::default() },
            Telemetry { traces: to("http://a/", "1"), ..Telemetry::default() },
            Telemetry { metrics: to("http://b/", "1"), ..Telemetry::default() },
            Telemetry { metrics: to("http://a/", "2"), ..Telemetry::default() },
            Telemetry { metrics: to("http://a/", "1"), logs: to("http://a/", "1"), traces: None },
        ];
        let hashes: std::collections::BTreeSet<ConfigHash> = all.iter().map(|told| told.hash(&key)).collect();
        assert_eq!(hashes.len(), all.len());
        assert_eq!(all[0].hash(&key), all[0].clone().hash(&key));
    }
}
