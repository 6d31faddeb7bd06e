//! Where a request comes from. A proxy in front of us may say so in headers; anybody else may not, so those headers
//! are removed from every request, after they were read where the peer is a configured proxy.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use model::Error;

use crate::connection::Connection;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// True when the address lies in it. IPv4 written as IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u32::from(ours) ^ u32::from(theirs)).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (u128::from(ours) ^ u128::from(theirs)).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    /// `10.0.0.0/8`, `::1`, `192.0.2.7`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::malformed(format!("{text:?} is no network: write an address or ADDRESS/BITS, such as 10.0.0.0/8"))
        };
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The proxies in front of a listener, and which of their headers count. Each identity is switched on by itself,
/// because a proxy passes on, from anybody, the headers that it does not set.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they connect from. Their `X-Forwarded-For`, `-Proto` and `-Host` are believed.
    pub from: Vec<Network>,
    /// They set `X-Forwarded-User` on each request: to a user's name or to nothing.
    pub user: bool,
    /// They set `X-SSL-Client-Verify` (nginx `$ssl_client_verify`) and `X-SSL-Client-S-DN`
    /// (`$ssl_client_s_dn`) on each request.
    pub certificate: bool,
}

/// Where a request comes from; in the extensions of each request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The client, as far as configured proxies tell.
    pub client: IpAddr,
    /// True when the client used https.
    pub https: bool,
    /// The host and port that the client asked for, as it wrote them.
    pub host: Option<String>,
    /// True for a client on this machine that no proxy stands before.
    pub local: bool,
}

impl Origin {
    /// The URL of a path here as this client has to write it; `None` when it did not say which host it asked, or
    /// wrote what is no host and port (RFC 3986, section 3.2.2) and must not be repeated in an answer.
    #[must_use]
    pub fn url(&self, path: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let host = self.host.as_deref().filter(|host| !host.is_empty() && host.bytes().all(plain))?;
        Some(format!("{}://{host}{path}", if self.https { "https" } else { "http" }))
    }
}

/// What a configured proxy found out about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Vouched {
    /// The name of a user.
    User(String),
    /// The subject of a certificate.
    Certificate(String),
}

/// Reads what proxies say and removes it from the headers.
pub(crate) fn read(
    proxies: &Proxies,
    connection: &Connection,
    host: Option<&str>,
    headers: &mut HeaderMap,
) -> (Origin, Option<Vouched>) {
    let is_proxy = |address: IpAddr| proxies.from.iter().any(|network| network.contains(address));
    let peer = connection.peer;
    let mut origin = Origin {
        peer,
        client: peer.ip(),
        https: connection.tls,
        host: host.map(str::to_owned),
        local: peer.ip().is_loopback(),
    };
    let mut vouched = None;
    if is_proxy(peer.ip()) {
        // Each proxy appends whom it saw; the last one that is no proxy of ours is the client.
        let seen: Vec<_> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
        let seen = seen.join(",");
        for address in seen.rsplit(',') {
            let Ok(address) = address.trim().parse::<IpAddr>() else { break };
            origin.client = address.to_canonical();
            if !is_proxy(address) {
                break;
            }
        }
        if let Some(proto) = single(headers, "x-forwarded-proto") {
            origin.https = proto.eq_ignore_ascii_case("https");
        }
        origin.host = single(headers, "x-forwarded-host").map(str::to_owned).or(origin.host);
        vouched = vouch(proxies, headers);
    }
    // A stranger's header only takes rights away: a proxy here that nobody configured speaks for others.
    origin.local &= !strip(headers);
    (origin, vouched)
}

fn vouch(proxies: &Proxies, headers: &HeaderMap) -> Option<Vouched> {
    if proxies.certificate && single(headers, "x-ssl-client-verify") == Some("SUCCESS") {
        return single(headers, "x-ssl-client-s-dn").map(|name| Vouched::Certificate(common_name(name).to_owned()));
    }
    let user = if proxies.user { single(headers, "x-forwarded-user") } else { None };
    user.filter(|name| !name.is_empty()).map(|name| Vouched::User(name.to_owned()))
}

/// The value of a header that is there once. Twice means that a client added its own, so neither counts.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim())
}

/// The common name in a subject as nginx writes it: `CN=client,O=Example` or, formerly, `/O=Example/CN=client`.
fn common_name(subject: &str) -> &str {
    let parts = subject.split([',', '/']).map(str::trim);
    parts.filter_map(|part| part.strip_prefix("CN=")).next().unwrap_or(subject)
}

/// Removes what proxies say; true when there was something.
fn strip(headers: &mut HeaderMap) -> bool {
    let spoken_for = |name: &str| {
        name == "forwarded"
            || name == "x-real-ip"
            || ["x-forwarded-", "x-ssl-client-"].iter().any(|prefix| name.starts_with(prefix))
    };
    let names: Vec<_> = headers.keys().filter(|name| spoken_for(name.as_str())).cloned().collect();
    for name in &names {
        headers.remove(name);
    }
    !names.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn from(peer: &str) -> Connection {
        Connection {
            peer: SocketAddr::new(peer.parse().expect("an address"), 1),
            tls: false,
            certificate: None,
            lane: None,
        }
    }

    fn proxies() -> Proxies {
        Proxies { from: vec!["10.0.0.0/8".parse().expect("a network")], user: true, certificate: true }
    }

    #[test]
    fn networks_contain_what_they_should() {
        let network = |text: &str| text.parse::<Network>().expect("a network");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(network("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(network("10.0.0.0/8").contains(address("::ffff:10.0.0.1")));
        assert!(!network("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(network("0.0.0.0/0").contains(address("1.2.3.4")) && !network("0.0.0.0/0").contains(address("::1")));
        assert!(network("::1").contains(address("::1")) && !network("::1").contains(address("::2")));
        assert!("10.0.0.0/33".parse::<Network>().is_err() && "x".parse::<Network>().is_err());
    }

    #[test]
    fn strangers_are_not_believed_and_their_headers_are_gone() {
        let mut sent = headers(&[
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-user", "root"),
            ("x-ssl-client-verify", "SUCCESS"),
            ("x-ssl-client-s-dn", "CN=root"),
            ("accept", "*/*"),
        ]);
        let (origin, vouched) = read(&proxies(), &from("192.0.2.1"), Some("hub"), &mut sent);
        assert_eq!((origin.client, vouched), ("192.0.2.1".parse().expect("an address"), None));
        assert_eq!(sent.len(), 1);
    }

    #[test]
    fn a_proxy_tells_who_the_client_is() {
        let mut sent = headers(&[
            ("x-forwarded-for", "127.0.0.1, 192.0.2.9, 10.0.0.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "cache.example"),
            ("x-ssl-client-verify", "SUCCESS"),
            ("x-ssl-client-s-dn", "CN=client,O=Example"),
        ]);
        let (origin, vouched) = read(&proxies(), &from("10.0.0.1"), None, &mut sent);
        assert_eq!(origin.client, "192.0.2.9".parse::<IpAddr>().expect("an address"));
        assert!(origin.https && !origin.local);
        assert_eq!(origin.host.as_deref(), Some("cache.example"));
        assert_eq!(vouched, Some(Vouched::Certificate("client".into())));
    }

    #[test]
    fn urls_are_the_clients_own() {
        let url =
            |host: &str| read(&Proxies::default(), &from("192.0.2.1"), Some(host), &mut HeaderMap::new()).0.url("/v2");
        assert_eq!(url("[::1]:5000").as_deref(), Some("http://[::1]:5000/v2"));
        assert!(url("").is_none() && url("a\",b=\"c").is_none() && url("a/b").is_none());
    }

    #[test]
    fn a_header_that_came_twice_or_is_not_configured_counts_for_nothing() {
        let twice = [("x-forwarded-user", "alice"), ("x-forwarded-user", "root")];
        assert_eq!(read(&proxies(), &from("10.0.0.1"), None, &mut headers(&twice)).1, None);
        let off = Proxies { user: false, ..proxies() };
        assert_eq!(read(&off, &from("10.0.0.1"), None, &mut headers(&twice[..1])).1, None);
    }

    #[test]
    fn whoever_speaks_for_others_is_not_local() {
        let mut sent = headers(&[("x-forwarded-for", "192.0.2.1")]);
        assert!(!read(&Proxies::default(), &from("127.0.0.1"), None, &mut sent).0.local);
        assert!(read(&Proxies::default(), &from("127.0.0.1"), None, &mut HeaderMap::new()).0.local);
    }
}
