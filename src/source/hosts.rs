//! Rules about hosts: names, name suffixes, addresses and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What `sources.deny_hosts` holds unless it is set: the addresses and names under which clouds
/// hand their machines credentials (AWS, Azure, GCP, OpenStack and DigitalOcean share the first;
/// then AWS over IPv6, AWS tasks and pods, Alibaba, Azure's host, Oracle).
pub const DEFAULT_DENY_HOSTS: &[&str] = &[
    "169.254.169.254",
    "fd00:ec2::254",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "metadata.google.internal",
];

/// One entry of a host list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostRule {
    /// Exactly this name, lower case, without a trailing dot.
    Name(String),
    /// Every name that ends with this text, which begins with a dot.
    Suffix(String),
    Net(IpNet),
}

/// An entry that is neither a host name, an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a host name, '*.suffix', IP address or CIDR network")]
pub struct HostRuleError(String);

/// A list of rules as the settings spell it.
#[derive(Debug, Clone, Default)]
pub(super) struct HostList {
    rules: Vec<HostRule>,
}

impl HostList {
    pub(super) fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, HostRuleError> {
        let rules = entries
            .iter()
            .map(|e| parse_rule(e.as_ref()))
            .collect::<Result<_, _>>()?;
        Ok(HostList { rules })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule about names covers `name`, which [`canonical_name`] made.
    pub(super) fn covers_name(&self, name: &str) -> bool {
        self.rules.iter().any(|r| match r {
            HostRule::Name(n) => n == name,
            HostRule::Suffix(s) => name.ends_with(s.as_str()),
            HostRule::Net(_) => false,
        })
    }

    /// Whether a rule about addresses covers `ip` in any form that reaches the same machine.
    pub(super) fn covers_address(&self, ip: IpAddr) -> bool {
        let forms = [Some(ip), Some(reached_by(ip)), embedded_v4(ip)];
        self.rules.iter().any(|r| match r {
            HostRule::Net(net) => forms.iter().flatten().any(|ip| net.contains(ip)),
            HostRule::Name(_) | HostRule::Suffix(_) => false,
        })
    }
}

fn parse_rule(entry: &str) -> Result<HostRule, HostRuleError> {
    let bad = || HostRuleError(entry.chars().take(80).collect());
    let text = entry.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(net) = bare.parse::<IpNet>() {
        return Ok(HostRule::Net(net.trunc()));
    }
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(HostRule::Net(IpNet::from(ip.to_canonical())));
    }
    let (name, is_suffix) = match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    // The URL parser turns international names into the ASCII form that requests carry.
    let name = match url::Host::parse(name) {
        Ok(url::Host::Domain(d)) => canonical_name(&d),
        Ok(_) | Err(_) => return Err(bad()),
    };
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !name.split('.').all(label) {
        return Err(bad());
    }
    Ok(if is_suffix {
        HostRule::Suffix(format!(".{name}"))
    } else {
        HostRule::Name(name)
    })
}

/// A host name in the one form that rules are compared in: lower case, no trailing dot.
pub(super) fn canonical_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The address that a connection to `ip` really reaches: IPv4 for an IPv4-mapped one, and the
/// loopback address for the unspecified one, as Linux connects them.
fn reached_by(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) if v4.octets()[0] == 0 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

/// The IPv4 address that a translator may connect to for an IPv6 one: NAT64 (RFC 6052
/// `64:ff9b::/96`), 6to4 (RFC 3056 `2002::/16`) and IPv4-compatible (RFC 4291 2.5.5.1).
fn embedded_v4(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = ip else { return None };
    let o = v6.octets();
    let at = match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => 12,
        [0x2002, ..] => 2,
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => 12,
        _ => return None,
    };
    Some(IpAddr::V4(Ipv4Addr::new(
        o[at],
        o[at + 1],
        o[at + 2],
        o[at + 3],
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> HostList {
        HostList::parse(entries).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn names_match_exactly_and_suffixes_below() {
        let l = list(&["Example.com.", "*.cdn.net", ".lan"]);
        for yes in ["example.com", "a.cdn.net", "a.b.cdn.net", "nas.lan"] {
            assert!(l.covers_name(yes), "{yes}");
        }
        for no in ["www.example.com", "cdn.net", "evilcdn.net", "lan", ""] {
            assert!(!l.covers_name(no), "{no}");
        }
    }

    #[test]
    fn every_spelling_of_an_address_is_covered() {
        let l = list(&["169.254.169.254", "127.0.0.0/8", "::1"]);
        for yes in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "127.9.9.9",
            "0.0.0.0",
            "::",
            "::1",
        ] {
            assert!(l.covers_address(ip(yes)), "{yes}");
        }
        for no in ["169.254.169.253", "10.0.0.1", "2001:db8::1", "::2"] {
            assert!(!l.covers_address(ip(no)), "{no}");
        }
    }

    #[test]
    fn defaults_are_valid() {
        let l = list(DEFAULT_DENY_HOSTS);
        assert!(l.covers_address(ip("fd00:ec2::254")));
        assert!(l.covers_name("metadata.google.internal"));
        assert!(!l.covers_address(ip("127.0.0.1")));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for bad in [
            "",
            "a b",
            "http://x/",
            "*",
            "1.2.3.4/40",
            "a..b",
            "*.",
            "x:80",
            "a/b",
        ] {
            let e = HostList::parse(&[bad]).unwrap_err();
            assert!(e.to_string().contains(bad), "{bad}: {e}");
        }
    }

    #[test]
    fn networks_may_have_host_bits_and_names_may_be_international() {
        assert!(list(&["10.1.2.3/8"]).covers_address(ip("10.200.0.1")));
        assert!(list(&["::ffff:10.0.0.1"]).covers_address(ip("10.0.0.1")));
        assert!(list(&["bücher.example"]).covers_name("xn--bcher-kva.example"));
    }
}
