//! The address of a receiver. It is a secret as a whole, and errors do not repeat it.

use http::Uri;
use http::uri::PathAndQuery;
use std::fmt;

/// An address to post to: over TLS, or within the pod.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether TLS is spoken.
    pub encrypted: bool,
    /// The host, without the brackets of an IPv6 address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The value of the header `Host`.
    pub authority: String,
    /// What is asked for.
    pub path: PathAndQuery,
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// With what is wrong, without what stands there.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is no URL: write https://HOST/PATH")?;
        let authority = uri.authority().ok_or("it has no host: write https://HOST/PATH")?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("it must begin with https://"),
        };
        if authority.as_str().contains('@') {
            return Err("no user belongs into it");
        }
        if text.contains('#') {
            return Err("no fragment (#) belongs into it");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("it has no host: write https://HOST/PATH");
        }
        if !encrypted && !is_own(&host) {
            return Err("it must begin with https://; http:// is for 127.0.0.1, ::1 and localhost only");
        }
        let port = authority.port_u16();
        if port.is_none() && authority.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
            return Err("its port is none");
        }
        Ok(Self {
            encrypted,
            host,
            port: port.unwrap_or(if encrypted { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    /// Host and port, as a proxy is asked for them.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }
}

/// Whether a host is this one: its name, or its address in one of the usual spellings.
fn is_own(host: &str) -> bool {
    let parts: Vec<&str> = host.split('.').collect();
    let is_address = parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok());
    host == "localhost" || host == "::1" || is_address && parts[0] == "127"
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret URL]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_read_into_what_a_client_needs() {
        for (text, encrypted, host, port, authority, path) in [
            (
                "https://hooks.example.com/services/a?b=c",
                true,
                "hooks.example.com",
                443,
                "hooks.example.com",
                "/services/a?b=c",
            ),
            ("https://example.com:8443", true, "example.com", 8443, "example.com:8443", "/"),
            ("http://127.0.0.1:8080/x", false, "127.0.0.1", 8080, "127.0.0.1:8080", "/x"),
            ("http://[::1]:9/x", false, "::1", 9, "[::1]:9", "/x"),
            ("http://localhost/", false, "localhost", 80, "localhost", "/"),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!((url.encrypted, url.host.as_str(), url.port), (encrypted, host, port), "{text}");
            assert_eq!((url.authority.as_str(), url.path.as_str()), (authority, path), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_posted_to_safely_is_refused_without_being_repeated() {
        for (text, words) in [
            ("hooks.example.com/secret", "https://"),
            ("/secret", "no host"),
            ("http://example.com/secret", "https://"),
            ("ftp://example.com/secret", "https://"),
            ("http://127.example.com/secret", "https://"),
            ("http://127.0.0.1.example.com/secret", "https://"),
            ("https://me:secret@example.com/", "no user"),
            ("https://example.com/secret#x", "fragment"),
            ("https://example.com:99999/secret", ""),
            ("https://exa mple.com/secret", "no URL"),
            ("", "no URL"),
        ] {
            let said = Url::parse(text).expect_err(text);
            assert!(said.contains(words) && !said.contains("secret"), "{text}: {said}");
        }
    }

    #[test]
    fn address_has_host_and_port_always() {
        for (text, expected) in [
            ("https://hooks.example.com/a", "hooks.example.com:443"),
            ("https://hooks.example.com:8443/a", "hooks.example.com:8443"),
            ("https://[2001:db8::1]/a", "[2001:db8::1]:443"),
        ] {
            assert_eq!(Url::parse(text).expect("a URL").address(), expected);
        }
    }

    #[test]
    fn url_is_not_printed() {
        let url = Url::parse("https://hooks.example.com/services/T0/B0/x").expect("a URL");
        assert_eq!(format!("{url:?}"), "[secret URL]");
    }
}
