//! Which receivers are reached through a proxy: what the usual variables of the environment say, as `curl` reads them. The
//! environment is an argument. A proxy's URL may have a password, so nothing prints it.

use crate::notify::url::Url;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The variables that name the proxy; the first that has a value counts.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// The variables that name what is reached without one.
const DIRECT: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The proxies of an environment.
pub struct Proxies {
    matcher: Matcher,
    /// There is something that names no proxy.
    unusable: bool,
}

/// How a receiver is reached.
#[derive(Debug, PartialEq)]
pub enum Way {
    /// As it is.
    Direct,
    /// Through this proxy.
    Through(Proxy),
    /// Not at all: there must be a proxy on the way, and it cannot be used.
    Unusable,
}

/// A proxy that speaks HTTP.
#[derive(Debug, PartialEq)]
pub struct Proxy {
    /// Its host, without the brackets of an IPv6 address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`. It is not printed.
    pub credentials: Option<HeaderValue>,
}

impl Proxies {
    /// Those of an environment, by the values of its variables.
    pub fn of(value: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| value(name));
            values.find(|value| !value.trim().is_empty()).unwrap_or_default()
        };
        let (proxy, direct) = (first(&PROXY), first(&DIRECT));
        let proxy = proxy.trim();
        let anywhere = Uri::from_static("https://receiver.example");
        let found = Matcher::builder().https(proxy).build().intercept(&anywhere);
        let unusable = !proxy.is_empty() && found.as_ref().and_then(read).is_none();
        // One that is of no use is asked for as any other: what may go without it does.
        let known = if unusable { "http://proxy.invalid" } else { proxy };
        Self { matcher: Matcher::builder().https(known).no(direct).build(), unusable }
    }

    /// None, for whatever is reached as it is.
    pub fn none() -> Self {
        Self::of(|_| None)
    }

    /// How a receiver is reached. One without TLS is in the pod itself.
    pub fn way(&self, url: &Url) -> Way {
        let uri = Uri::builder().scheme("https").authority(url.address()).path_and_query("/").build();
        let found = uri.ok().filter(|_| url.encrypted).and_then(|uri| self.matcher.intercept(&uri));
        match found.as_ref().map(read) {
            None => Way::Direct,
            Some(Some(proxy)) if !self.unusable => Way::Through(proxy),
            Some(_) => Way::Unusable,
        }
    }
}

/// A proxy as it was found, if it is spoken to in plain HTTP.
fn read(found: &Intercept) -> Option<Proxy> {
    let uri = found.uri();
    if uri.scheme_str() != Some("http") {
        return None;
    }
    Some(Proxy {
        host: uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: uri.port_u16().unwrap_or(80),
        credentials: found.basic_auth().cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(environment: &[(&str, &str)], url: &str) -> Way {
        let value = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Proxies::of(value).way(&Url::parse(url).expect("a URL"))
    }

    fn through(host: &str, port: u16) -> Way {
        Way::Through(Proxy { host: host.to_owned(), port, credentials: None })
    }

    const SLACK: &str = "https://hooks.slack.com/services/a";

    #[test]
    fn receivers_are_reached_through_the_first_proxy_that_is_named() {
        for (environment, expected) in [
            (&[][..], Way::Direct),
            (&[("HTTPS_PROXY", "http://proxy:3128")], through("proxy", 3128)),
            (&[("HTTPS_PROXY", "proxy:3128")], through("proxy", 3128)),
            (&[("https_proxy", " http://proxy/ ")], through("proxy", 80)),
            (&[("HTTPS_PROXY", "http://[2001:db8::1]:3128")], through("2001:db8::1", 3128)),
            (&[("ALL_PROXY", "http://all:1"), ("https_proxy", "http://one:2")], through("one", 2)),
            (&[("HTTPS_PROXY", ""), ("all_proxy", "http://all:1")], through("all", 1)),
            (&[("HTTP_PROXY", "http://proxy:3128")], Way::Direct),
        ] {
            assert_eq!(way(environment, SLACK), expected, "{environment:?}");
        }
        assert_eq!(way(&[("HTTPS_PROXY", "http://proxy")], "http://127.0.0.1:8080/"), Way::Direct, "no TLS");
    }

    #[test]
    fn what_no_proxy_names_is_reached_as_it_is() {
        let url = "https://hooks.example.com:8443/a";
        let away = through("proxy", 3128);
        for (url, direct, expected) in [
            (url, "example.com", Way::Direct),
            (url, ".example.com", Way::Direct),
            (url, "example.org, hooks.example.com", Way::Direct),
            (url, "*", Way::Direct),
            (url, "ample.com", away),
            (url, "", through("proxy", 3128)),
            ("https://192.0.2.9/", "192.0.2.0/24", Way::Direct),
            ("https://192.0.3.9/", "192.0.2.0/24", through("proxy", 3128)),
            ("https://[2001:db8::1]/", "2001:db8::/32", Way::Direct),
        ] {
            let environment = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", direct)];
            assert_eq!(way(&environment, url), expected, "{url} {direct}");
        }
        assert_eq!(way(&[("HTTPS_PROXY", "proxy"), ("no_proxy", "slack.com")], SLACK), Way::Direct);
    }

    #[test]
    fn nothing_goes_past_a_proxy_that_cannot_be_used() {
        for proxy in ["https://proxy:3128", "socks5://proxy:1080", "ftp://proxy", "no proxy", "http://"] {
            let environment = [("HTTPS_PROXY", proxy), ("NO_PROXY", "example.com")];
            assert_eq!(way(&environment, SLACK), Way::Unusable, "{proxy}");
            assert_eq!(way(&environment, "https://hooks.example.com/"), Way::Direct, "{proxy}");
        }
    }

    #[test]
    fn credentials_are_decoded_and_not_printed() {
        let Way::Through(proxy) = way(&[("HTTPS_PROXY", "http://me:hid%40den@proxy:3128")], SLACK) else {
            panic!("through the proxy")
        };
        let credentials = proxy.credentials.as_ref().and_then(|value| value.to_str().ok());
        assert_eq!((proxy.host.as_str(), credentials), ("proxy", Some("Basic bWU6aGlkQGRlbg==")));
        let printed = format!("{proxy:?}");
        assert!(!printed.contains("bWU6") && !printed.contains("hid"), "{printed}");
    }
}
