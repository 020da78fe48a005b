//! Settings of agents' connections, as they go over the wire.
//!
//! Always complete. The supervisor makes a new connection of what it is offered and keeps nothing of the one before:
//! without an interval it sends no heartbeats, and without the field `certificate` it does not check who the server is.

use super::proto::{
    ConnectionSettingsOffers, Header, Headers, OpAmpConnectionSettings, TlsCertificate, TlsConnectionSettings,
};
use crate::fleet::Successor;
use bytes::Bytes;
use prost::Message;
use std::time::Duration;

/// How agents reach this server from where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The URL.
    pub endpoint: String,
    /// The certificates, in PEM, by which they are to check the server; without them those of their system.
    pub authority: Option<String>,
    /// How often they are to give a sign of life.
    pub heartbeat: Duration,
}

impl Way {
    /// The settings of an agent that goes this way with a token.
    pub fn with_token(&self, token: &str) -> Bytes {
        let authorization = Header { key: "Authorization".to_owned(), value: format!("Bearer {token}") };
        let authority = self.authority.clone().unwrap_or_default();
        let settings = OpAmpConnectionSettings {
            destination_endpoint: self.endpoint.clone(),
            headers: Some(Headers { headers: vec![authorization] }),
            // No certificate for the agent, but the supervisor reads the authority from here and nowhere else.
            certificate: Some(TlsCertificate {
                ca_cert: authority.clone().into_bytes(),
                ..TlsCertificate::default()
            }),
            heartbeat_interval_seconds: self.heartbeat.as_secs().max(1),
            tls: Some(TlsConnectionSettings {
                include_system_ca_certs_pool: authority.is_empty(),
                ca_pem_contents: authority,
                ..TlsConnectionSettings::default()
            }),
            proxy: None,
        };
        settings.encode_to_vec().into()
    }
}

/// The offer of another token.
pub(super) fn offer(to: &Successor) -> ConnectionSettingsOffers {
    ConnectionSettingsOffers {
        hash: Bytes::copy_from_slice(to.hash.as_bytes()),
        opamp: OpAmpConnectionSettings::decode(to.payload.clone()).ok(),
        ..ConnectionSettingsOffers::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authority: Option<&str>, heartbeat: Duration) -> OpAmpConnectionSettings {
        let authority = authority.map(str::to_owned);
        let way = Way { endpoint: "wss://host:1/v1/opamp".to_owned(), authority, heartbeat };
        let Ok(read) = OpAmpConnectionSettings::decode(way.with_token("secret")) else {
            panic!("not connection settings")
        };
        read
    }

    #[test]
    fn settings_are_complete_whoever_vouches_for_the_server() {
        for (authority, pem, system) in [(None, "", true), (Some("PEM"), "PEM", false)] {
            let settings = read(authority, Duration::from_secs(30));
            assert_eq!(settings.destination_endpoint, "wss://host:1/v1/opamp");
            let headers = settings.headers.expect("headers").headers;
            let headers: Vec<_> = headers.iter().map(|header| (&*header.key, &*header.value)).collect();
            assert_eq!(headers, [("Authorization", "Bearer secret")]);
            assert_eq!(settings.heartbeat_interval_seconds, 30);
            let tls = settings.tls.expect("TLS");
            assert_eq!((&*tls.ca_pem_contents, tls.include_system_ca_certs_pool), (pem, system));
            assert!(!tls.insecure_skip_verify);
            let certificate = settings.certificate.expect("without it supervisors check nothing");
            assert_eq!(certificate.ca_cert, pem.as_bytes());
            assert!(certificate.cert.is_empty() && certificate.private_key.is_empty());
        }
    }

    #[test]
    fn heartbeats_are_never_switched_off() {
        for (heartbeat, expected) in [(Duration::ZERO, 1), (Duration::from_millis(2500), 2)] {
            assert_eq!(read(None, heartbeat).heartbeat_interval_seconds, expected);
        }
    }
}
