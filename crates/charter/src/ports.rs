//! Real time, ids, secrets and counters.

use charter_controller::{Clock, DataPlane, Ids, Secrets};
use charter_domain::profile::SecretRef;
use charter_domain::time::Time;
use charter_gateway::Gateway;
use charter_web::Gateways;
use nix::time::{ClockId, clock_gettime};
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock.
pub(crate) struct RealClock;

/// What the wall clock said when this process asked first, and how long the system had run by then.
static START: LazyLock<(Time, i64)> = LazyLock::new(|| (wall(), uptime_ms()));

#[expect(clippy::disallowed_methods, reason = "this is the Clock port's real side")]
fn wall() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long the system runs, the time that it slept included. It never jumps.
fn uptime_ms() -> i64 {
    let read = clock_gettime(ClockId::CLOCK_BOOTTIME).map(|t| t.tv_sec().saturating_mul(1000) + t.tv_nsec() / 1_000_000);
    read.unwrap_or(0)
}

/// The time: the wall clock's at the start of the process, and what has passed since. Whoever sets the wall clock by hours
/// neither ends nor keeps anything by that; the next start goes by the new time.
pub(crate) fn now() -> Time {
    let (wall, uptime) = *START;
    Time(wall.0.saturating_add(uptime_ms().saturating_sub(uptime)))
}

impl Clock for RealClock {
    fn now(&self) -> Time {
        now()
    }
}

/// Ids that rise with time.
pub(crate) struct RealIds;

impl Ids for RealIds {
    #[expect(clippy::disallowed_methods, reason = "this is the Ids port's real side")]
    fn fresh(&self) -> String {
        uuid::Uuid::now_v7().simple().to_string()
    }
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Nothing may be made from a predictable key.
        std::process::abort();
    }
    bytes
}

/// A new API key.
pub(crate) fn new_key() -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letters = random::<40>().map(|b| char::from(LETTERS[usize::from(b) % 62]));
    format!("chk_{}", letters.iter().collect::<String>())
}

/// Secrets of the server's environment, files and programs.
pub(crate) struct RealSecrets;

impl Secrets for RealSecrets {
    fn read(&self, secret: &SecretRef) -> Result<String, String> {
        let value = match secret {
            SecretRef::Env(name) => crate::environment::var(name)
                .ok_or_else(|| format!("the server's environment has no `{name}`: set it before `charter serve`"))?,
            SecretRef::File(path) => short_text(path).map_err(|e| format!("`{path}` cannot be read: {e}"))?,
            SecretRef::Command(argv) => {
                let (program, args) = argv.split_first().ok_or("the command is empty")?;
                let output = std::process::Command::new(program)
                    .args(args)
                    .output()
                    .map_err(|e| format!("`{program}` cannot be run: {e}"))?;
                if !output.status.success() {
                    return Err(format!("`{program}` ended with {}", output.status));
                }
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
        };
        let value = value.trim_end_matches(['\n', '\r']).to_owned();
        match value.len() {
            0 => Err("the secret is empty".to_owned()),
            1..=SECRET_MAX => Ok(value),
            more => Err(format!("the secret has {more} bytes: none is longer than {SECRET_MAX}")),
        }
    }
}

/// Longest secret, in bytes.
const SECRET_MAX: usize = 16 * 1024;

/// A file that may be a device without an end.
fn short_text(path: &str) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let most = u64::try_from(SECRET_MAX).unwrap_or(u64::MAX).saturating_add(16);
    std::fs::File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// The counters of all gateways: the one in this process, and those that report.
pub(crate) struct Counters {
    pub(crate) own: Option<Gateway>,
    pub(crate) others: Arc<Gateways>,
}

impl DataPlane for Counters {
    fn in_flight(&self, backend: &str, version: u64) -> Result<u64, String> {
        let others = self.others.in_flight(backend, version, now())?;
        let Some(own) = &self.own else { return Ok(others) };
        let stats = own.stats();
        if stats.version < version {
            return Err("waiting for the gateway to use the new routes".to_owned());
        }
        Ok(others + own.in_flight(backend))
    }

    fn waiting(&self, deployment: &str) -> u64 {
        let own = self.own.as_ref().map(|gateway| gateway.stats().waiting).unwrap_or_default();
        let here: u64 = own.iter().filter(|(name, _)| name == deployment).map(|(_, n)| n).sum();
        here + self.others.waiting(deployment, now())
    }

    fn gateways(&self) -> u32 {
        u32::from(self.own.is_some()) + self.others.count(now())
    }

    fn last_used(&self, backend: &str) -> Option<Time> {
        let own = self.own.as_ref().and_then(|g| g.last_used(backend));
        own.max(self.others.last_used(backend))
    }
}
