//! What we do on a machine that runs no agent of ours: small POSIX scripts over an SSH session.
//!
//! A tag claims a folder under `~/.charter/instances`, an engine's process is started in it at most once per number,
//! detached from the session, and ending the tag ends every process of it and removes the folder. Names and numbers go
//! in as arguments, secrets on standard input; nothing that the machine answers is ever run.

use crate::error::Error;
use crate::link::Link;
use crate::session::quote;
use std::time::Duration;

const COMMON: &str = include_str!("common.sh");
/// What a script may print beside a log.
const ANSWER_MAX: usize = 256 * 1024;
/// How long a script may take that ends no process.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long ending processes may take, with the pause that lets them finish.
const END_PATIENCE: Duration = Duration::from_secs(75);

/// A machine as its scripts see it.
#[derive(Clone, Debug)]
pub struct Host(pub Link);

/// What went wrong on a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The way there failed; whether the script ran is not known.
    #[error(transparent)]
    Link(#[from] Error),
    /// The script ran and said no.
    #[error("{0}")]
    Said(String),
}

/// A GPU as `nvidia-smi` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Memory in use, in bytes.
    pub used_bytes: u64,
    /// Compute capability in tenths.
    pub compute_tenths: Option<u32>,
}

/// A machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Free disk under the home folder, in bytes.
    pub disk_bytes: u64,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// A line of `nvidia-smi` that describes no card: its error, most likely.
    pub odd: Option<String>,
    /// The driver's version.
    pub driver: Option<String>,
    /// Tags that hold something here, with the GPUs they claim.
    pub held: Vec<(String, Vec<u32>)>,
    /// The host key that was shown.
    pub host_key: String,
}

/// A process that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Process id of the session's leader.
    pub pid: u32,
    /// The port it was told to listen on.
    pub port: u16,
}

/// A process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// It runs.
    pub alive: bool,
    /// Its exit status, once it ended by itself.
    pub exit: Option<i32>,
    /// Something listens on its port.
    pub listening: bool,
    /// Memory of each GPU, used and total, in MiB.
    pub memory_mib: Vec<(u64, u64)>,
    /// Size of its log in bytes.
    pub log_bytes: u64,
    /// The end of its log, if it has changed.
    pub log: Option<String>,
}

impl Host {
    async fn run(
        &self,
        script: &str,
        args: &[&str],
        stdin: &[u8],
        limit: usize,
        patience: Duration,
    ) -> Result<Answer, HostError> {
        let words: Vec<String> = args.iter().map(|a| quote(a)).collect();
        let command = format!("exec /bin/sh -c {} charter {}", quote(&format!("{COMMON}{script}")), words.join(" "));
        let output = self.0.exec(&command, stdin, limit, patience).await?;
        let text = output.text();
        if let Some(why) = text.lines().find_map(|l| l.strip_prefix("error ")) {
            return Err(HostError::Said(clean(why)));
        }
        // Without the last line the answer was cut short, and nothing may be concluded from it.
        let Some((head, rest)) = text.split_once("end\n") else {
            let said = clean(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no answer"));
            return Err(HostError::Said(format!("the machine gave no whole answer: {said}")));
        };
        Ok(Answer { head: head.to_owned(), rest: rest.to_owned() })
    }

    /// What the machine has.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn inspect(&self) -> Result<Inspection, HostError> {
        let answer = self.run(include_str!("inspect.sh"), &[], b"", ANSWER_MAX, PATIENCE).await?;
        let mut seen = Inspection { host_key: self.0.session().await?.host_key().to_owned(), ..Inspection::default() };
        for (name, value) in answer.lines() {
            match name {
                "disk" => seen.disk_bytes = value.parse::<u64>().unwrap_or(0).saturating_mul(1024),
                "gpu" => {
                    if let Some((gpu, driver)) = gpu(value) {
                        seen.gpus.push(gpu);
                        seen.driver = Some(driver);
                    }
                }
                "odd" => seen.odd = Some(clean(value)),
                "held" => {
                    let (tag, gpus) = value.split_once(' ').unwrap_or((value, ""));
                    seen.held.push((tag.to_owned(), gpus.split(',').filter_map(|g| g.trim().parse().ok()).collect()));
                }
                _ => {}
            }
        }
        Ok(seen)
    }

    /// Claims a folder and GPUs for `tag`. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`HostError::Said`] when a GPU is taken.
    pub async fn claim(&self, tag: &str, gpus: &[u32]) -> Result<(), HostError> {
        let list = gpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        self.run(include_str!("claim.sh"), &[tag, &list], b"", ANSWER_MAX, PATIENCE).await.map(|_| ())
    }

    /// Starts `script` as start number `number` of `tag`, detached, with `env` given on standard input. A number that was
    /// started before starts nothing and answers with what runs; a smaller one is refused; a larger one ends the older first.
    ///
    /// # Errors
    /// Why not.
    pub async fn launch(
        &self,
        tag: &str,
        number: u32,
        port: u16,
        env: &[(String, String)],
        script: &str,
    ) -> Result<Started, HostError> {
        let mut stdin = format!("{}\n", env.len());
        for (name, value) in env {
            stdin.push_str(&format!("{name}\n{}\n", escape(value)));
        }
        stdin.push_str(script);
        let args = [tag, &number.to_string(), &port.to_string()];
        let answer = self.run(include_str!("launch.sh"), &args, stdin.as_bytes(), ANSWER_MAX, END_PATIENCE).await?;
        let number = |name: &str| answer.get(name).and_then(|v| v.trim().parse::<u32>().ok());
        match (number("pid"), number("port").and_then(|p| u16::try_from(p).ok())) {
            (Some(pid), Some(port)) => Ok(Started { pid, port }),
            _ => Err(HostError::Said("the machine named no process".into())),
        }
    }

    /// Looks at start number `number` of `tag`. The end of the log comes along if its size is not `known_bytes`.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn observe(&self, tag: &str, number: u32, known_bytes: u64, most_bytes: usize) -> Result<Observation, HostError> {
        let args = [tag, &number.to_string(), &known_bytes.to_string(), &most_bytes.to_string()];
        let answer = self.run(include_str!("observe.sh"), &args, b"", ANSWER_MAX + most_bytes * 3, PATIENCE).await?;
        let mut seen = Observation::default();
        for (name, value) in answer.lines() {
            match name {
                "alive" => seen.alive = value == "yes",
                "exit" => seen.exit = value.trim().parse().ok(),
                "listening" => seen.listening = value == "yes",
                "size" => seen.log_bytes = value.trim().parse().unwrap_or(0),
                "memory" => {
                    if let Some((used, total)) = value.split_once(',') {
                        seen.memory_mib.push((used.trim().parse().unwrap_or(0), total.trim().parse().unwrap_or(0)));
                    }
                }
                _ => {}
            }
        }
        if seen.log_bytes != known_bytes {
            seen.log = Some(answer.rest);
        }
        Ok(seen)
    }

    /// Reads a log from byte `from`: its whole size, and at most `most_bytes` of it.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn read_log(&self, tag: &str, number: u32, from: u64, most_bytes: usize) -> Result<(u64, String), HostError> {
        let args = [tag, &number.to_string(), &from.to_string(), &most_bytes.to_string()];
        let answer = self.run(include_str!("read.sh"), &args, b"", ANSWER_MAX + most_bytes * 3, PATIENCE).await?;
        Ok((answer.get("size").and_then(|s| s.trim().parse().ok()).unwrap_or(0), answer.rest))
    }

    /// Ends every process of `tag` and removes its folder. Doing it again is success.
    ///
    /// # Errors
    /// Why it is not sure that all is gone.
    pub async fn end(&self, tag: &str) -> Result<(), HostError> {
        self.run(include_str!("end.sh"), &[tag], b"", ANSWER_MAX, END_PATIENCE).await.map(|_| ())
    }

    /// Is anything of `tag` there: its folder, or a process?
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn is_present(&self, tag: &str) -> Result<bool, HostError> {
        let answer = self.run(include_str!("presence.sh"), &[tag], b"", ANSWER_MAX, PATIENCE).await?;
        Ok(answer.head.trim() != "absent")
    }
}

struct Answer {
    head: String,
    rest: String,
}

impl Answer {
    fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head.lines().filter_map(|l| l.split_once(' '))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.lines().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
}

/// `index, memory.total, memory.used, compute_cap, driver_version, name`.
fn gpu(value: &str) -> Option<(Gpu, String)> {
    let mut parts = value.splitn(6, ',').map(str::trim);
    let index = parts.next()?.parse().ok()?;
    let mut mib = || parts.next()?.parse::<u64>().ok().map(|m| m.saturating_mul(1024 * 1024));
    let (memory_bytes, used_bytes) = (mib()?, mib().unwrap_or(0));
    let compute = parts.next()?;
    let compute_tenths = compute.split_once('.').and_then(|(a, b)| Some(a.parse::<u32>().ok()? * 10 + b.parse::<u32>().ok()?));
    let driver = parts.next()?.to_owned();
    let name = clean(parts.next()?.trim_start_matches("NVIDIA GeForce ").trim_start_matches("NVIDIA "));
    Some((Gpu { index, name, memory_bytes, used_bytes, compute_tenths }, driver))
}

/// What a machine says may hold anything; people see a short line of printable characters.
fn clean(text: &str) -> String {
    // What follows an escape is a command to a terminal, and no text.
    let mut plain = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            if rest.next_if(|c| *c == '[').is_some() {
                while rest.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
            } else if rest.next_if(|c| *c == ']').is_some() {
                while rest.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {}
            }
        } else if !c.is_control() {
            plain.push(c);
        }
    }
    plain.chars().take(300).collect::<String>().trim().to_owned()
}

/// A value for `printf %b`, on one line.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_read_from_its_line() {
        let (gpu, driver) = gpu("0, 24576, 12, 8.6, 535.104.05, NVIDIA GeForce RTX 3090").expect("a GPU");
        assert_eq!((gpu.index, gpu.name.as_str(), gpu.compute_tenths), (0, "RTX 3090", Some(86)));
        assert_eq!((gpu.memory_bytes, driver.as_str()), (25_769_803_776, "535.104.05"));
        assert!(super::gpu("[N/A]").is_none());
    }

    #[test]
    fn what_a_machine_says_is_cut_and_cleaned() {
        assert_eq!(clean("\u{1b}[31mno\u{7}\u{1b}]0;title\u{7}!"), "no!");
        assert_eq!(clean(&"x".repeat(10_000)).len(), 300);
    }
}
