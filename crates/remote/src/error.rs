//! What can go wrong on the way to a machine. Each error has a code of `docs/errors`.

/// A failure on the way to a machine, or on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No TCP connection.
    #[error("`{address}` cannot be reached: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// In the words of the operating system.
        why: String,
    },
    /// It took too long.
    #[error("`{address}` did not answer within {seconds} s")]
    Timeout {
        /// Where.
        address: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Another host key than the pinned one: another machine, or somebody in between.
    #[error("`{address}` shows the host key `{found}`, but `{expected}` is pinned")]
    HostKey {
        /// Where.
        address: String,
        /// The pinned fingerprint.
        expected: String,
        /// The one shown.
        found: String,
    },
    /// The machine knows neither this user nor this key.
    #[error("`{address}` refuses the key for this user")]
    Refused {
        /// Where.
        address: String,
    },
    /// The private key cannot be used.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// The session ended.
    #[error("the SSH session to `{address}` broke: {why}")]
    Broken {
        /// Where.
        address: String,
        /// Why, as far as is known.
        why: String,
    },
    /// Nothing listens on the port on that machine, or it may not be reached.
    #[error("port {port} on `{address}` takes no connection: {why}")]
    Port {
        /// Where.
        address: String,
        /// The port.
        port: u16,
        /// In the words of the machine.
        why: String,
    },
    /// A command printed more than was allowed.
    #[error("a command on `{address}` printed more than {limit} bytes")]
    TooMuch {
        /// Where.
        address: String,
        /// The limit.
        limit: usize,
    },
    /// The local end of a forward could not be opened.
    #[error("`{address}` cannot be bound here: {why}")]
    Bind {
        /// The local address.
        address: String,
        /// In the words of the operating system.
        why: String,
    },
}

impl Error {
    /// The code of the page that explains it.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "R0001",
            Self::Timeout { .. } => "R0002",
            Self::HostKey { .. } => "R0003",
            Self::Refused { .. } => "R0004",
            Self::Key(_) => "R0005",
            Self::Broken { .. } => "R0006",
            Self::Port { .. } => "R0007",
            Self::TooMuch { .. } => "R0008",
            Self::Bind { .. } => "R0009",
        }
    }

    /// Will waiting not help, because a person has to change something?
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::HostKey { .. } | Self::Refused { .. } | Self::Key(_))
    }

    /// What a person can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                "check `address` in the configuration, and that the machine is on and lets port 22 in"
            }
            Self::HostKey { .. } => {
                "if the machine was installed anew, put its new fingerprint into `host-key`; if not, somebody stands in between"
            }
            Self::Refused { .. } => {
                "check `user` and `key-file`, and that the public key stands in `~/.ssh/authorized_keys` there"
            }
            Self::Key(_) => "name a private key in OpenSSH format without a passphrase in `key-file`",
            Self::Broken { .. } => "it is tried again by itself; look at the machine if it goes on",
            Self::Port { .. } => {
                "the program there does not listen yet, or the SSH server forbids forwarding (`AllowTcpForwarding`)"
            }
            Self::TooMuch { .. } => "look at the machine: a small command answered with far too much",
            Self::Bind { .. } => "choose another port, or 0 for a free one",
        }
    }
}
