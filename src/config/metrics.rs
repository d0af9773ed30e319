//! Where a mount offers its metrics.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The address at which a mount offers its metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetricsAddress {
    /// A TCP address of this machine.
    Tcp(SocketAddr),
    /// The path of a Unix socket, absolute.
    Unix(PathBuf),
}

impl MetricsAddress {
    /// Parses `ADDRESS:PORT`, `:PORT` (the loopback address) or `unix:PATH`; a relative path refers to `directory`.
    ///
    /// # Errors
    ///
    /// The text is none of these. Names of hosts are not resolved: they could lead to another address than meant.
    pub fn parse(text: &str, directory: &Path) -> Result<MetricsAddress, String> {
        let tcp = |text: &str| match text.strip_prefix(':') {
            Some(port) => port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
            None => text.parse().ok(),
        };
        // Nobody would learn which port was chosen.
        let tcp = |text: &str| tcp(text).filter(|address: &SocketAddr| address.port() != 0);
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(MetricsAddress::Unix(directory.join(path))),
            _ => tcp(text).map(MetricsAddress::Tcp).ok_or_else(|| {
                format!("'{text}' is no address for metrics; expected 127.0.0.1:9311, :9311, [::1]:9311 or unix:PATH")
            }),
        }
    }

    /// Why the user should think again, if others can read the metrics.
    pub fn warning(&self) -> Option<String> {
        match self {
            MetricsAddress::Tcp(address) if !address.ip().is_loopback() => Some(format!(
                "everyone on the network can read the metrics at {address}; use :{} or unix:PATH to keep them on this \
                 machine",
                address.port()
            )),
            _ => None,
        }
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricsAddress::Tcp(address) => write!(f, "{address}"),
            MetricsAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_local_unless_another_one_is_written() {
        let parsed = |text| MetricsAddress::parse(text, Path::new("/run"));
        let shown = |text| parsed(text).map(|address| address.to_string());
        assert_eq!(shown(":9311").as_deref(), Ok("127.0.0.1:9311"));
        assert_eq!(shown("[::1]:9311").as_deref(), Ok("[::1]:9311"));
        assert_eq!(shown("unix:m.sock").as_deref(), Ok("unix:/run/m.sock"));
        for text in ["", "9311", ":", ":70000", ":0", "localhost:9311", "unix:", "127.0.0.1", "0.0.0.0"] {
            assert!(shown(text).unwrap_err().contains("expected"), "{text}");
        }
        for (text, warns) in
            [(":1", false), ("127.0.0.2:1", false), ("0.0.0.0:1", true), ("[::]:1", true), ("unix:x", false)]
        {
            assert_eq!(parsed(text).unwrap().warning().is_some(), warns, "{text}");
        }
    }
}
