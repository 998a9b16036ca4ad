//! The marketplace of the test bed as a process of its own.

use super::{Place, request};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A running marketplace.
pub struct Bed {
    pub key: String,
    pub address: SocketAddr,
    child: Child,
}

impl Drop for Bed {
    fn drop(&mut self) {
        super::signal("TERM", self.child.id());
        self.child.wait().ok();
    }
}

impl Bed {
    pub fn start(_: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_charter"))
            .args(["testbed", "serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("test bed");
        let mut lines = BufReader::new(child.stdout.take().expect("output")).lines().map_while(Result::ok);
        let mut field = |name: &str| lines.find_map(|l| l.strip_prefix(name).map(|v| v.trim().to_owned())).expect("a line");
        let key = field("api-key:");
        let address = field("base-url:").trim_start_matches("http://").parse().expect("an address");
        Self { key, address, child }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A configuration with this marketplace, one profile, and deployments as given.
    pub fn configure(&self, place: &Place, profile: &str, deployments: &str) {
        std::fs::write(place.folder.join("vast.key"), &self.key).expect("key");
        let text = format!(
            "version: 1\nserver:\n  providers:\n    vast: {{kind: vast, base-url: \"{}\", api-key: {{file: {}/vast.key}}}}\n\
             profiles:\n  small:\n    model: demo/small-7B\n    served-name: small\n    gpu: {{min-vram: 16GB}}\n    disk: 40GB\n{profile}\
             deployments:\n{deployments}",
            self.url(),
            place.folder.display()
        );
        std::fs::write(place.folder.join("charter.yaml"), text).expect("configuration");
    }

    pub fn ledger(&self) -> serde_json::Value {
        let answer = request(self.address, "GET", "/testbed/ledger", &self.key, b"").expect("ledger");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    pub fn set_faults(&self, list: &str) {
        let answer = request(self.address, "PUT", "/testbed/faults", &self.key, list.as_bytes()).expect("faults");
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Nothing is rented, and nothing was rented twice for one tag.
    pub fn must_be_empty(&self) {
        let ledger = self.ledger();
        assert_eq!((ledger["alive"].as_u64(), ledger["twice"].as_u64()), (Some(0), Some(0)), "{ledger}");
    }
}
