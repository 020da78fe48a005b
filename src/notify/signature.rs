//! Signatures of webhooks as Standard Webhooks 1.0 has them: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use std::fmt;

/// How a key of this scheme begins.
const PREFIX: &str = "whsec_";
/// How many bytes a key has.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A key that the receiver has too.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads one: `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// With what is wrong, without what stands there.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let bytes = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        let key = bytes.filter(|bytes| LENGTHS.contains(&bytes.len()));
        key.map(Self).ok_or(
            "a key is whsec_ and 24 to 64 random bytes in base64: make one with \
             echo whsec_$(openssl rand -base64 32)",
        )
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret key]")
    }
}

/// The headers of a message with this id and body, sent at this time.
pub fn headers(id: &str, time: Timestamp, body: &[u8], keys: &[SigningKey]) -> [(&'static str, String); 3] {
    let time = time.as_second().to_string();
    let sign = |key: &SigningKey| {
        // A key may have any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
        for part in [id.as_bytes(), b".", time.as_bytes(), b".", body] {
            mac.update(part);
        }
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    let signatures = keys.iter().filter_map(sign).collect::<Vec<_>>().join(" ");
    [("webhook-id", id.to_owned()), ("webhook-timestamp", time), ("webhook-signature", signatures)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn signature_is_that_of_the_standards_example() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        let time = Timestamp::from_second(1_614_265_330).expect("in range");
        let found = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", time, br#"{"test": 2432232314}"#, &[key]);
        assert_eq!(found[0], ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
        assert_eq!(found[1], ("webhook-timestamp", "1614265330".to_owned()));
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(found[2], ("webhook-signature", expected.to_owned()));
    }

    #[test]
    fn every_key_signs_so_that_one_can_take_anothers_place() {
        let keys = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];
        let keys = keys.map(|key| SigningKey::parse(key).expect("a key"));
        let [_, _, (_, both)] = headers("m", Timestamp::UNIX_EPOCH, b"x", &keys);
        let alone = keys.map(|key| headers("m", Timestamp::UNIX_EPOCH, b"x", &[key])[2].1.clone());
        assert_eq!(both, alone.join(" "));
        assert_ne!(alone[0], alone[1]);
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        for text in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_c2hvcnQ=",
            "whsec_!!!!MfKQ9r8GKYqrTwjUPD8ILPZIo",
        ] {
            let said = SigningKey::parse(text).expect_err(text);
            assert!(said.contains("openssl rand") && (text.is_empty() || !said.contains("MfKQ")), "{said}");
        }
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a key");
        assert_eq!(format!("{key:?}"), "[secret key]");
    }
}
