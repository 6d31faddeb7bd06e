//! Tells systemd how the service is doing (sd_notify(3), for units of `Type=notify`).
//!
//! Without `$NOTIFY_SOCKET` nobody listens and nothing is done. A message that cannot be sent is logged and nothing
//! more: the service works whether or not systemd hears of it.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// Requests are answered, with a line for `systemctl status`.
    Ready(&'a str),
    /// The configuration is being read again; [`News::Ready`] ends it.
    Reloading,
    /// It is ending.
    Stopping,
    /// It is alive; due at least every [`watchdog`] interval.
    Alive,
}

impl News<'_> {
    fn text(self) -> String {
        match self {
            // A line ends a value, so a status is one line.
            Self::Ready(status) => format!("READY=1\nSTATUS={}", status.replace('\n', " ")),
            Self::Reloading => "RELOADING=1".to_owned(),
            Self::Stopping => "STOPPING=1".to_owned(),
            Self::Alive => "WATCHDOG=1".to_owned(),
        }
    }
}

/// Tells systemd, if it listens.
pub fn tell(news: News<'_>) {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
        && let Err(error) = send(&socket, &news.text())
    {
        tracing::warn!(%error, socket = %socket.display(), "systemd could not be told: {news:?}");
    }
}

/// How often systemd wants to hear [`News::Alive`], if it does: half of `WatchdogSec=`, as sd_watchdog_enabled(3)
/// recommends.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
    number("WATCHDOG_USEC").filter(|micros| meant && *micros > 0).map(|micros| Duration::from_micros(micros / 2))
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    // An address that begins with @ is in the abstract name space.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_socket_in_the_file_system_hears() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        send(path.as_os_str(), &News::Ready("serving\nall").text()).expect("it is sent");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving all");
    }

    #[test]
    fn an_abstract_socket_hears() {
        let name = format!("entrepot-notify-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        send(OsStr::new(&format!("@{name}")), &News::Stopping.text()).expect("it is sent");
        assert_eq!(heard(&socket), "STOPPING=1");
    }
}
