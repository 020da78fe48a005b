//! Settings of agents' connections, as they go over the wire.
//!
//! Always complete. The supervisor makes a new connection of what it is offered and keeps nothing of the one before:
//! without an interval it sends no heartbeats, and without the field `certificate` it does not check who the server is.

use super::proto::{
    AgentCapabilities, ConnectionSettingsOffers, Header, Headers, OpAmpConnectionSettings,
    TelemetryConnectionSettings, TlsCertificate, TlsConnectionSettings,
};
use crate::config::ConfigHash;
use crate::fleet::{Capabilities, Destination, Successor, Telemetry, ToldTelemetry};
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

/// Where agents send their own telemetry, with all signals.
pub fn encode_telemetry(telemetry: &Telemetry) -> Bytes {
    let settings = |destination: &Option<Destination>| {
        let Destination { endpoint, headers } = destination.clone()?;
        let headers = headers.into_iter().map(|(key, value)| Header { key, value }).collect();
        Some(TelemetryConnectionSettings {
            destination_endpoint: endpoint,
            headers: Some(Headers { headers }),
            ..TelemetryConnectionSettings::default()
        })
    };
    let offers = ConnectionSettingsOffers {
        own_metrics: settings(&telemetry.metrics),
        own_logs: settings(&telemetry.logs),
        own_traces: settings(&telemetry.traces),
        ..ConnectionSettingsOffers::default()
    };
    offers.encode_to_vec().into()
}

/// The offer of the signals that an agent reports; nothing if it reports none of them.
pub(super) fn telemetry(told: ToldTelemetry) -> Option<ConnectionSettingsOffers> {
    let mut offers = ConnectionSettingsOffers::decode(told.payload).ok()?;
    offers.hash = Bytes::copy_from_slice(told.hash.as_bytes());
    let reports = |bit: AgentCapabilities| told.capabilities.has(Capabilities(bit as u64));
    offers.own_metrics.take_if(|_| !reports(AgentCapabilities::ReportsOwnMetrics));
    offers.own_logs.take_if(|_| !reports(AgentCapabilities::ReportsOwnLogs));
    offers.own_traces.take_if(|_| !reports(AgentCapabilities::ReportsOwnTraces));
    let any = offers.own_metrics.is_some() || offers.own_logs.is_some() || offers.own_traces.is_some();
    any.then_some(offers)
}

/// The offer of another token.
pub(super) fn token((hash, to): (ConfigHash, &Successor)) -> ConnectionSettingsOffers {
    ConnectionSettingsOffers {
        hash: Bytes::copy_from_slice(hash.as_bytes()),
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

    #[test]
    fn agent_is_told_of_the_signals_that_it_reports_and_of_nothing_else() {
        let to = |path: &str| {
            let headers = vec![("api-key".to_owned(), "1".to_owned())];
            Some(Destination { endpoint: format!("http://host/{path}"), headers })
        };
        let all = Telemetry { metrics: to("m"), logs: to("l"), traces: None };
        for (capabilities, expected) in [
            (0x40, Some((true, false))),
            (0x80, Some((false, true))),
            (0x40 | 0x80, Some((true, true))),
            (0x20 | 0x40 | 0x80, Some((true, true))),
            // Traces go nowhere.
            (0x20, None),
            (0, None),
        ] {
            let told = ToldTelemetry {
                hash: ConfigHash::from_bytes([7; 32]),
                payload: encode_telemetry(&all),
                capabilities: Capabilities(capabilities),
            };
            let offers = telemetry(told);
            let shown =
                offers.as_ref().map(|offers| (offers.own_metrics.is_some(), offers.own_logs.is_some()));
            assert_eq!(shown, expected, "{capabilities:x}");
            let Some(offers) = offers else { continue };
            assert!(offers.opamp.is_none() && offers.own_traces.is_none());
            assert_eq!(&offers.hash[..], &[7; 32]);
            let metrics = offers.own_metrics.into_iter().chain(offers.own_logs).next().expect("a signal");
            let header = &metrics.headers.expect("headers").headers[0];
            assert_eq!((&*header.key, &*header.value), ("api-key", "1"));
        }
    }
}
