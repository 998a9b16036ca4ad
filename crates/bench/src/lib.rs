//! The rig that measures gateways: a mock upstream, a load generator, and the least that a gateway can be. Here is what they share.

#![allow(
    missing_docs,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::exit,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    clippy::str_to_string,
    clippy::collapsible_match,
    clippy::collapsible_if,
    reason = "a rig, and no part of the product: a wrong argument ends it"
)]

pub mod processes;

/// CLOCK_MONOTONIC in nanoseconds. Comparable between processes of one machine, which is what
/// lets the load generator read the one-way delay of every streamed chunk.
pub fn now_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Value of a header, case-insensitive.
pub fn header<'a>(headers: &'a [httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

pub fn ascii_contains(hay: &[u8], needle: &str) -> bool {
    let hay = String::from_utf8_lossy(hay).to_ascii_lowercase();
    hay.contains(needle)
}

pub fn parse_usize(v: &[u8]) -> Option<usize> {
    std::str::from_utf8(v).ok()?.trim().parse().ok()
}

/// Incremental decoder of `transfer-encoding: chunked`.
pub struct Chunked {
    state: St,
    left: usize,
    line: Vec<u8>,
}

enum St {
    Size,
    Data,
    DataEnd,
    Trailer,
    Done,
}

impl Default for Chunked {
    fn default() -> Self {
        Chunked { state: St::Size, left: 0, line: Vec::new() }
    }
}

impl Chunked {
    pub fn done(&self) -> bool {
        matches!(self.state, St::Done)
    }

    /// Feeds bytes; payload goes to `out`. Returns how many bytes were taken (fewer than given
    /// only once the body has ended), or None on a malformed chunk.
    pub fn feed(&mut self, mut b: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let total = b.len();
        while !b.is_empty() {
            match self.state {
                St::Done => break,
                St::Data => {
                    let n = self.left.min(b.len());
                    out.extend_from_slice(&b[..n]);
                    b = &b[n..];
                    self.left -= n;
                    if self.left == 0 {
                        self.state = St::DataEnd;
                    }
                }
                St::Size | St::DataEnd | St::Trailer => {
                    let Some(p) = memchr::memchr(b'\n', b) else {
                        self.line.extend_from_slice(b);
                        b = &[];
                        continue;
                    };
                    self.line.extend_from_slice(&b[..p]);
                    b = &b[p + 1..];
                    if self.line.last() == Some(&b'\r') {
                        self.line.pop();
                    }
                    match self.state {
                        St::DataEnd => {
                            if !self.line.is_empty() {
                                return None;
                            }
                            self.state = St::Size;
                        }
                        St::Size => {
                            let s = std::str::from_utf8(&self.line).ok()?;
                            let s = s.split(';').next().unwrap_or("").trim();
                            self.left = usize::from_str_radix(s, 16).ok()?;
                            self.state = if self.left == 0 { St::Trailer } else { St::Data };
                        }
                        St::Trailer => {
                            if self.line.is_empty() {
                                self.state = St::Done;
                            }
                        }
                        _ => {}
                    }
                    self.line.clear();
                }
            }
        }
        Some(total - b.len())
    }
}

/// `--name value` command line arguments; a name may repeat.
pub struct Args(Vec<(String, String)>);

impl Args {
    pub fn from_env() -> Args {
        let mut v = Vec::new();
        let mut it = std::env::args().skip(1);
        while let Some(k) = it.next() {
            let Some(k) = k.strip_prefix("--") else {
                eprintln!("not an option: {k}");
                std::process::exit(2);
            };
            match k.split_once('=') {
                Some((k, x)) => v.push((k.to_string(), x.to_string())),
                None => {
                    let Some(x) = it.next() else {
                        eprintln!("--{k} wants a value");
                        std::process::exit(2);
                    };
                    v.push((k.to_string(), x));
                }
            }
        }
        Args(v)
    }
    pub fn get(&self, k: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == k).map(|(_, v)| v.as_str())
    }
    pub fn all<'a>(&'a self, k: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(n, _)| n == k).map(|(_, v)| v.as_str())
    }
    pub fn num<T: std::str::FromStr>(&self, k: &str, d: T) -> T {
        match self.get(k) {
            None => d,
            Some(v) => v.parse().unwrap_or_else(|_| {
                eprintln!("--{k}: bad number {v}");
                std::process::exit(2);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunked_byte_by_byte_equals_whole() {
        let wire = b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\nHTTP";
        let mut whole = Chunked::default();
        let mut a = Vec::new();
        assert_eq!(whole.feed(wire, &mut a), Some(wire.len() - 4));
        assert!(whole.done());
        let mut one = Chunked::default();
        let mut b = Vec::new();
        for c in wire.iter() {
            one.feed(std::slice::from_ref(c), &mut b).unwrap();
        }
        assert_eq!(a, b"hello, world");
        assert_eq!(a, b);
    }

    #[test]
    fn chunked_refuses_garbage() {
        assert_eq!(Chunked::default().feed(b"zz\r\n", &mut Vec::new()), None);
        assert_eq!(Chunked::default().feed(b"1\r\nab\r\n", &mut Vec::new()), None);
    }
}
