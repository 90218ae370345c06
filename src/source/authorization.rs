//! A client's credentials for its source.

use std::sync::Arc;

use http::HeaderValue;
use sha2::{Digest, Sha256};
use url::Url;

use crate::media::SourceLocator;

/// The value of an `Authorization` header for one http(s) host, and for no other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authorization {
    to: Arc<Place>,
    value: HeaderValue,
}

/// Scheme, host and port: where a browser would send the same credentials to (RFC 6454 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    scheme: String,
    host: String,
    port: u16,
}

impl Authorization {
    /// Credentials for the host of `source`; `None` for a source that is not http(s).
    pub fn new(source: &SourceLocator, mut value: HeaderValue) -> Option<Self> {
        let SourceLocator::Http(url) = source else {
            return None;
        };
        value.set_sensitive(true);
        Some(Authorization {
            to: Arc::new(Place::of(url)?),
            value,
        })
    }

    /// The header's value when a request to `url` may carry it.
    pub(super) fn for_url(&self, url: &Url) -> Option<&HeaderValue> {
        (Place::of(url).as_ref() == Some(&*self.to)).then_some(&self.value)
    }

    /// The header's value when a request over plain http, or one of ours over TLS, to `host` and
    /// `port` may carry it.
    pub(super) fn for_host(&self, https: bool, host: &str, port: u16) -> Option<&HeaderValue> {
        let same = self.is_https() == https
            && self.to.host.eq_ignore_ascii_case(host)
            && self.to.port == port;
        same.then_some(&self.value)
    }

    /// The http URL under which a gate knows the https `url` of this host; `None` for others.
    pub(super) fn as_plain(&self, url: &Url) -> Option<Url> {
        self.for_url(url).filter(|_| self.is_https())?;
        let mut plain = url.clone();
        plain.set_scheme("http").ok()?;
        plain.set_port(Some(self.to.port)).ok()?;
        plain.set_username("").ok()?;
        plain.set_password(None).ok()?;
        Some(plain)
    }

    pub(super) fn is_https(&self) -> bool {
        self.to.scheme == "https"
    }

    /// A text that is equal for equal credentials and tells nothing else of them.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.value.as_bytes());
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl Place {
    fn of(url: &Url) -> Option<Place> {
        Some(Place {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_one_place_only() {
        let url = |text: &str| Url::parse(text).unwrap();
        let source = SourceLocator::Http(url("http://films.example/a.mp4"));
        let value = HeaderValue::from_static("Bearer x");
        let auth = Authorization::new(&source, value).unwrap();
        assert!(auth.for_url(&url("http://films.example:80/b?c")).is_some());
        for other in [
            "http://films.example:81/a",
            "https://films.example/a",
            "http://films.example.evil/a",
            "http://example/a",
        ] {
            assert!(auth.for_url(&url(other)).is_none(), "{other}");
        }
        assert!(auth.as_plain(&url("http://films.example/b")).is_none());
        assert!(auth.for_host(false, "films.example", 80).is_some());
        assert!(auth.for_host(true, "films.example", 80).is_none());
        assert!(auth.for_host(false, "films.example", 8080).is_none());
        let source = SourceLocator::Http(url("https://films.example/a.mp4"));
        let auth = Authorization::new(&source, HeaderValue::from_static("x")).unwrap();
        let plain = auth
            .as_plain(&url("https://u:p@films.example/b?c"))
            .unwrap();
        assert_eq!(plain.as_str(), "http://films.example:443/b?c");
        assert!(auth.as_plain(&url("https://other.example/b")).is_none());
    }
}
