//! A place where the hub can be reached: a socket, with or without TLS, who may do what there, and what is served.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use model::{Error, Result};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::identity::Access;
use crate::prefixes::Table;
use crate::tls::Tls;

/// Connections that the kernel keeps for us while all of ours are in use; Linux cuts it to `somaxconn` (4096).
const BACKLOG: i32 = 1024;

/// One listener.
pub struct Listener {
    /// What to call it in logs and metrics.
    pub name: Arc<str>,
    /// The bound socket.
    pub socket: TcpListener,
    /// TLS, or none.
    pub tls: Option<Arc<Tls>>,
    /// Who may do what here.
    pub access: Arc<Access>,
    /// What is served, as [`crate::Server::router`] puts it together.
    pub router: Table,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Binds `HOST:PORT`. `[::]:PORT` and `:PORT` take IPv4 and IPv6; where there is no IPv6, only IPv4. Port 0 lets
/// the system choose.
///
/// A port that is taken is an error, even by another hub: two processes never share a port (no `SO_REUSEPORT`),
/// because clients would then meet either at random.
///
/// # Errors
/// `Conflict` for a busy port, `Malformed` for what is no address of this machine, `Denied` for a port below 1024
/// without the right to it.
pub fn bind(address: &str) -> Result<TcpListener> {
    let written = if address.starts_with(':') { format!("[::]{address}") } else { address.to_owned() };
    let candidates: Vec<SocketAddr> = match written.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            return Err(Error::malformed(format!(
                "{address:?} is no address to listen at: write HOST:PORT, such as 127.0.0.1:9090 or [::]:9090"
            ))
            .because(error));
        }
    };
    let mut failure = None;
    for candidate in candidates {
        match listen(candidate) {
            Ok(socket) => return Ok(socket),
            // Another address of the same name may do, but not instead of one that is busy: that has to be seen.
            Err(errno @ (Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)) => failure = Some((candidate, errno)),
            Err(errno) => return Err(explain(candidate, errno)),
        }
    }
    let (candidate, errno) = failure.unwrap_or((SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), Errno::ADDRNOTAVAIL));
    Err(explain(candidate, errno))
}

fn explain(address: SocketAddr, errno: Errno) -> Error {
    let port = address.port();
    match errno {
        Errno::ADDRINUSE => Error::conflict(format!(
            "port {port} is busy: another program listens at {address}. See which with `ss -ltnp 'sport = :{port}'`, \
             then stop it or choose another port"
        )),
        Errno::ACCESS | Errno::PERM => Error::denied(format!(
            "may not listen at {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher port"
        )),
        Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => Error::malformed(format!(
            "{} is no address of this machine (see `ip address`); 0.0.0.0:{port} listens at all of them",
            address.ip()
        )),
        other => Error::io(format!("cannot listen at {address}"), other.into()),
    }
    .because(io::Error::from(errno))
}

fn listen(address: SocketAddr) -> Result<TcpListener, Errno> {
    let everywhere = address.ip() == Ipv6Addr::UNSPECIFIED;
    match open(address) {
        // A kernel or container without IPv6.
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if everywhere => {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        other => other,
    }
}

fn open(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT. This does not let two listeners share a port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Whether `[::]` takes IPv4 too is otherwise a setting of the machine.
        sockopt::set_ipv6_v6only(&socket, address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    // Accepted connections inherit these. A client that vanished in the middle of an HTTP/1.1 body is found within
    // two minutes; HTTP/2 has PINGs besides.
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(20))?;
    sockopt::set_tcp_keepcnt(&socket, 3)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Meaning;

    #[test]
    fn a_busy_port_is_a_loud_failure() {
        let first = bind("127.0.0.1:0").expect("a port");
        let address = first.local_addr().expect("an address");
        let error = bind(&address.to_string()).expect_err("it is taken");
        assert_eq!(*error.meaning(), Meaning::Conflict);
        assert!(error.text().contains(&format!("port {} is busy", address.port())), "{error}");
    }

    #[test]
    fn all_addresses_are_both_kinds() {
        let socket = bind(":0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4 reaches it");
    }

    #[test]
    fn nonsense_is_explained() {
        assert!(bind("nowhere").expect_err("no port").text().contains("HOST:PORT"));
        assert!(bind("192.0.2.1:0").expect_err("not ours").text().contains("no address of this machine"));
    }
}
