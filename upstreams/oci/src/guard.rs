//! Which addresses an upstream may lead us to: the guard against server-side request forgery.
//!
//! Names are looked up by [`Guard`] for the connection itself, so that nothing is connected to that was not checked.
//! Addresses written in URLs do not pass a resolver; [`check`] looks at them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::{Error, Result};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The internet.
    Public,
    /// This machine, or networks that only this site has.
    Inside,
    /// No registry: link-local (with it the metadata services of clouds), multicast, unspecified, reserved.
    Never,
}

/// Metadata and management services of clouds outside of link-local: Alibaba, Azure, Oracle, AWS, Google.
const SERVICES: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

fn reach(address: IpAddr) -> Reach {
    if SERVICES.contains(&address) {
        return Reach::Never;
    }
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

/// The IANA registry of special-purpose IPv4 addresses (RFC 6890).
fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18 | 19, ..] => {
            Reach::Inside
        }
        [0 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Reach::Never
        }
        _ => Reach::Public,
    }
}

/// The same for IPv6. Addresses that carry an IPv4 address are what that is.
fn reach_v6(address: Ipv6Addr) -> Reach {
    let [a, b, c, .., y, z] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reach(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    if address.is_loopback() {
        return Reach::Inside;
    }
    match address.segments() {
        // Mapped (RFC 4291), and NAT64 by its well-known prefix (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => v4(y, z),
        // 6to4 (RFC 3056).
        [0x2002, ..] => v4(b, c),
        // Teredo and other protocol assignments, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] => Reach::Never,
        // Unique local, and the deprecated site-local.
        _ if a & 0xfe00 == 0xfc00 || a & 0xffc0 == 0xfec0 => Reach::Inside,
        _ if a & 0xe000 == 0x2000 => Reach::Public,
        _ => Reach::Never,
    }
}

/// True where an upstream may lead; `private` lets it into our own networks.
pub(crate) fn permits(address: IpAddr, private: bool) -> bool {
    match reach(address) {
        Reach::Public => true,
        Reach::Inside => private,
        Reach::Never => false,
    }
}

/// The addresses that may be connected to: of a name with both kinds, only the public ones.
fn choose(found: Vec<SocketAddr>, private: bool) -> Vec<SocketAddr> {
    let public = found.iter().any(|address| reach(address.ip()) == Reach::Public);
    found.into_iter().filter(|address| permits(address.ip(), private && !public)).collect()
}

/// Looks names up and keeps the addresses that may be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    /// Our own networks, too.
    pub(crate) private: bool,
    /// Hosts of proxies, which the operator named.
    pub(crate) proxies: Vec<String>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        let proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let chosen = if proxy { found } else { choose(found, private) };
            if chosen.is_empty() {
                return Err(Refused(name.as_str().to_owned()).into());
            }
            Ok(Box::new(chosen.into_iter()) as Addrs)
        })
    }
}

/// A name that leads nowhere we go.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.0;
        write!(f, "{host} is in a private or reserved network: set private = true for its upstream if that is meant")
    }
}

impl std::error::Error for Refused {}

/// Refuses URLs that nothing should be asked at: other schemes, addresses that the guard would refuse.
pub(crate) fn check(url: &Url, private: bool) -> Result<()> {
    let host = url.host_str().unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err(Error::upstream("an upstream leads to an address that is neither http nor https"));
    }
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match address {
        Ok(address) if !permits(address, private) => Err(Error::denied(Refused(host.to_owned()).to_string())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn inside_is_inside_in_every_spelling() {
        for inside in [
            "127.0.0.1",
            "127.255.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2002:c0a8:101::1",
        ] {
            assert_eq!(reach(address(inside)), Reach::Inside, "{inside}");
        }
    }

    #[test]
    fn nobody_is_led_to_metadata_services() {
        for never in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::a00:1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::ffff:100.100.100.200",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a00:1",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!permits(address(never), true), "{never}");
        }
    }

    #[test]
    fn the_rest_is_public() {
        for public in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1", "64:ff9b::101:101"] {
            assert!(permits(address(public), false), "{public}");
        }
    }

    #[test]
    fn of_both_kinds_only_the_public_ones_are_used() {
        let socket = |text: &str| SocketAddr::new(address(text), 0);
        let both = vec![socket("10.0.0.1"), socket("1.1.1.1"), socket("::1")];
        assert_eq!(choose(both.clone(), false), [socket("1.1.1.1")]);
        assert_eq!(choose(both, true), [socket("1.1.1.1")]);
        assert_eq!(choose(vec![socket("10.0.0.1")], true), [socket("10.0.0.1")]);
        assert!(choose(vec![socket("10.0.0.1")], false).is_empty());
    }

    #[test]
    fn addresses_in_urls_are_checked_in_every_spelling() {
        for wrong in
            ["http://127.0.0.1/", "https://2130706433/", "http://0x7f.1/", "https://[::ffff:a00:1]/", "ftp://a/"]
        {
            assert!(check(&wrong.parse().expect("a URL"), false).is_err(), "{wrong}");
        }
        assert!(check(&"https://a.example/".parse().expect("a URL"), false).is_ok());
        assert!(check(&"http://127.0.0.1:5000/".parse().expect("a URL"), true).is_ok());
        assert!(check(&"http://169.254.169.254/".parse().expect("a URL"), true).is_err());
    }

    #[tokio::test]
    async fn names_are_checked_when_they_are_looked_up() {
        let guard = |private| Guard { private, proxies: vec![] };
        let look = |guard: Guard| async move { guard.resolve("localhost".parse().expect("a name")).await };
        let refused = look(guard(false)).await.err().expect("refused");
        assert!(refused.to_string().contains("private = true"), "{refused}");
        assert!(look(guard(true)).await.is_ok_and(|mut found| found.all(|address| address.ip().is_loopback())));
        let proxy = Guard { private: false, proxies: vec!["localhost".into()] };
        assert!(look(proxy).await.is_ok());
    }
}
