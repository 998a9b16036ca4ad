//! Where a gateway never connects to, whoever names it: addresses that lead to the machine's own keeper or to nowhere. A name is
//! judged by what it resolves to, each time anew, so that it cannot become another address later.

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// Is it an address that no backend can have? Metadata services of clouds stand at link-local ones.
#[must_use]
pub fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_forbidden_v4(ip),
        IpAddr::V6(ip) => is_forbidden_v6(ip),
    }
}

fn is_forbidden_v4(ip: Ipv4Addr) -> bool {
    ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.octets()[0] == 0
}

fn is_forbidden_v6(ip: Ipv6Addr) -> bool {
    /// The metadata service of a large cloud.
    const KEEPER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
    let segments = ip.segments();
    // An old address inside a new one, in the ways that networks translate.
    let [.., a, b] = segments;
    let inner = Ipv4Addr::from((u32::from(a) << 16) | u32::from(b));
    let carries = ip.to_ipv4_mapped().is_some() || segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let link_local = segments[0] & 0xffc0 == 0xfe80;
    link_local || ip.is_unspecified() || ip.is_multicast() || ip == KEEPER || (carries && is_forbidden_v4(inner))
}

/// Says that a host is none to connect to.
pub(crate) fn refused(host: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("`{host}` is an address that no backend can have"))
}

/// Resolves names, and leaves out what is forbidden.
#[derive(Clone, Debug)]
pub(crate) struct Judged(GaiResolver);

impl Judged {
    pub(crate) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Judged {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let host = name.to_string();
        let resolving = self.0.call(name);
        Box::pin(async move {
            let all: Vec<SocketAddr> = resolving.await?.filter(|a| !is_forbidden(a.ip())).collect();
            if all.is_empty() { Err(refused(&host)) } else { Ok(all.into_iter()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepers_and_nowhere_are_forbidden_and_networks_of_ones_own_are_not() {
        let forbidden = [
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "::",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ];
        let fine = ["127.0.0.1", "192.168.1.20", "10.0.0.7", "8.8.8.8", "::1", "fd12::1", "2001:db8::1", "::ffff:10.0.0.7"];
        forbidden.iter().for_each(|ip| assert!(is_forbidden(ip.parse().expect("an address")), "{ip}"));
        fine.iter().for_each(|ip| assert!(!is_forbidden(ip.parse().expect("an address")), "{ip}"));
    }
}
