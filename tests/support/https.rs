//! A poll over TLS, by whoever shows a token.

use super::within;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use opamp_operator::opamp::PATH;
use opamp_operator::opamp::proto::{
    AgentConfigMap, AgentConfigObject, AgentDescription, AgentToServer, EffectiveConfig, RemoteConfigStatus,
};
use prost::Message as _;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A server, and whom to trust there.
pub struct Https {
    address: SocketAddr,
    connector: TlsConnector,
}

impl Https {
    /// The server at an address, with a certificate for it that this authority vouches for.
    ///
    /// # Panics
    /// When they are none.
    pub fn new(address: &str, authority: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address: address.parse().expect("an address"),
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Sends an agent's full state with this token; the status of the answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn poll(&self, token: &str, uid: [u8; 16]) -> u16 {
        self.poll_showing(token, uid, &[]).await
    }

    /// The same, of an agent that reports this as in effect.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn poll_showing(&self, token: &str, uid: [u8; 16], effective: &[u8]) -> u16 {
        let file = AgentConfigObject { body: effective.to_vec().into(), ..AgentConfigObject::default() };
        let config_map = [(String::new(), file)].into_iter().collect();
        let effective = EffectiveConfig { config_map: Some(AgentConfigMap { config_map }) };
        let message = AgentToServer {
            instance_uid: uid.to_vec(),
            agent_description: Some(AgentDescription::default()),
            remote_config_status: Some(RemoteConfigStatus::default()),
            effective_config: Some(effective),
            ..AgentToServer::default()
        };
        let request = hyper::Request::post(PATH)
            .header("host", "server")
            .header("content-type", "application/x-protobuf")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(bytes::Bytes::from(message.encode_to_vec())))
            .expect("a request");
        within("a response", async {
            let stream = TcpStream::connect(self.address).await.expect("a connection");
            let name = ServerName::from(self.address.ip());
            let stream = self.connector.connect(name, stream).await.expect("a handshake");
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a client");
            let driver = tokio::spawn(connection);
            let status = sender.send_request(request).await.expect("a response").status().as_u16();
            driver.abort();
            status
        })
        .await
    }
}
