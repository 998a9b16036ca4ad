//! The whole log of each run of an engine, kept on the server's own disk: cleaned of terminal codes and of what our own looking
//! writes into it, a UTC stamp and a prefix on each line. It is copied from the machine piece by piece; where a process of ours
//! ends in between, the next one goes on without a gap and without a line twice.

use crate::controller::Controller;
use charter_domain::replica::Replica;
use charter_domain::time::{Span, Time};
use charter_engines::log::clean::strip_codes;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How often machines are asked for what is new.
const PERIOD: Span = Span::s(5);
/// Read of one log in one go, and in one round.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 8;
/// A file that is larger becomes the one before, if nothing else is said (`LOG_MAX_MB`).
const FILE_MB: u64 = 50;
/// Files are kept for so long, if nothing else is said (`LOG_RETENTION_DAYS`).
const KEPT_DAYS: i64 = 14;
/// The end of the name of a run's log.
const ENDING: &str = "run.log";

/// How much of the logs is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Megabytes of one file; there are two of each run at the most.
    pub file_mb: u64,
    /// Days after the last line.
    pub days: i64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { file_mb: FILE_MB, days: KEPT_DAYS }
    }
}

/// How far a copy has come: bytes of the machine's log, and of our own file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct At {
    from: u64,
    len: u64,
}

/// What our own looking leaves in an engine's log.
fn is_noise(line: &str) -> bool {
    let asked = ["GET /metrics", "GET /health", "GET /v1/models", "GET /api/ps", "GET /api/tags", "GET /api/version"];
    asked.iter().any(|path| line.contains(path)) && (line.contains("HTTP/1.1\" 200") || line.contains("| 200 |"))
}

/// Lines as they are kept. Of a progress bar the last state counts.
fn kept(text: &str, now: Time, prefix: &str) -> String {
    let stamp = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for raw in text.lines() {
        let last = raw.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
        let line = strip_codes(last);
        if line.trim().is_empty() || is_noise(&line) {
            continue;
        }
        out.push_str(&stamp);
        out.push_str(prefix);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The files of one run.
struct Run {
    file: PathBuf,
    at: PathBuf,
}

impl Run {
    fn of(folder: &Path, name: &str) -> Self {
        Self { file: folder.join(format!("{name}.{ENDING}")), at: folder.join(format!("{name}.run.at")) }
    }

    fn before(&self) -> PathBuf {
        self.file.with_extension("log.1")
    }

    /// Where to go on. What was written and not noted is cut off again: it is copied once more.
    fn open(&self) -> std::io::Result<(File, At)> {
        let mut at: At = std::fs::read(&self.at).ok().and_then(|t| serde_json::from_slice(&t).ok()).unwrap_or_default();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.file)?;
        let len = file.metadata()?.len();
        // A file that is shorter than was noted has begun anew since.
        at.len = at.len.min(len);
        if len != at.len {
            file.set_len(at.len)?;
        }
        Ok((file, at))
    }

    fn add(&self, file: &mut File, at: &mut At, lines: &str, read: u64, most: u64) -> std::io::Result<()> {
        if at.len > most {
            std::fs::rename(&self.file, self.before())?;
            *file = OpenOptions::new().create(true).truncate(true).write(true).open(&self.file)?;
            at.len = 0;
            self.note(at)?;
        }
        file.seek(SeekFrom::Start(at.len))?;
        file.write_all(lines.as_bytes())?;
        file.flush()?;
        *at = At { from: at.from + read, len: at.len + u64::try_from(lines.len()).unwrap_or(0) };
        self.note(at)
    }

    fn note(&self, at: &At) -> std::io::Result<()> {
        let part = self.at.with_extension("part");
        std::fs::write(&part, serde_json::to_vec(at).unwrap_or_default())?;
        std::fs::rename(part, &self.at)
    }
}

/// A part of a kept log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Where the file goes on after it.
    pub next: u64,
    /// Whole lines.
    pub text: String,
}

impl Controller {
    pub(crate) fn spawn_run_logs(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "logs", PERIOD, move || {
            let this = this.clone();
            async move { this.copy_logs().await }
        });
    }

    /// Somebody is reading: what is new is fetched now.
    pub fn fetch_logs(&self) {
        self.0.tasks.wake("logs");
    }

    async fn copy_logs(&self) -> Result<String, String> {
        let open = self.store().replicas(None).await.map_err(|e| e.to_string())?;
        let mut copied = 0;
        for (row, _) in
            open.iter().filter(|(row, _)| row.state.process().is_some() && self.looks_after(row.state.deployment.as_str()))
        {
            // A machine that cannot be asked now is asked again.
            match self.copy_log(&row.state).await {
                Ok(bytes) => copied += bytes,
                Err(why) => tracing::debug!(replica = %row.state.id, why, "a log was not copied"),
            }
        }
        self.forget_logs();
        Ok(format!("{copied} bytes copied"))
    }

    async fn copy_log(&self, replica: &Replica) -> Result<u64, String> {
        let Some(instance) = replica.instance() else { return Ok(0) };
        let deployment = self.store().deployment(replica.deployment.as_str()).await.map_err(|e| e.to_string())?;
        let Some(deployment) = deployment.map(|row| row.state) else { return Ok(0) };
        let folder = &self.0.parts.settings.logs;
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        let run = Run::of(folder, &run_name(replica));
        let (mut file, mut at) = run.open().map_err(|e| e.to_string())?;
        let most = self.0.parts.settings.log_limits.file_mb * 1_000_000;
        let prefix = if instance.mapped_port().is_some() { " [docker] " } else { " [engine] " };
        let mut copied = 0;
        for _ in 0..PIECES {
            let (next, text) = self.read_log(replica, Some(at.from), PIECE).await?;
            let length = u64::try_from(text.len()).unwrap_or(0);
            if next < at.from {
                // It is counted anew, as a container's log is by a process that has just begun.
                at.from = next.saturating_sub(length);
            }
            let read = next.saturating_sub(at.from);
            // Only whole lines: the rest comes with what follows it.
            let whole = text.rfind('\n').map(|end| end + 1).or_else(|| (text.len() >= PIECE / 2).then_some(text.len()));
            let Some(whole) = whole.filter(|_| read > 0) else { break };
            // What was before the text that we were given is lost: it is not asked for again.
            let used = read.saturating_sub(length - u64::try_from(whole).unwrap_or(0));
            let masked = self.masked(&deployment, &instance.tag, text.get(..whole).unwrap_or_default());
            let lines = kept(&masked, self.now(), prefix);
            run.add(&mut file, &mut at, &lines, used, most).map_err(|e| e.to_string())?;
            copied += used;
        }
        Ok(copied)
    }

    /// Removes logs of which nobody has heard for long.
    fn forget_logs(&self) {
        let days = self.0.parts.settings.log_limits.days;
        let kept = std::time::Duration::from_secs(u64::try_from(days.max(1)).unwrap_or(1) * 86_400);
        let Ok(entries) = std::fs::read_dir(&self.0.parts.settings.logs) else { return };
        for entry in entries.flatten() {
            let old = entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > kept));
            if old && std::fs::remove_file(entry.path()).is_err() {
                tracing::debug!(file = %entry.path().display(), "an old log could not be removed");
            }
        }
    }

    /// Lines of a run's log from a byte on, or its last ones.
    #[must_use]
    pub fn run_log(&self, replica: &Replica, from: Option<u64>, most_bytes: u64) -> Piece {
        read(&Run::of(&self.0.parts.settings.logs, &run_name(replica)).file, from, most_bytes).unwrap_or_default()
    }

    /// The files of a run's log, the older one first, as far as they are there.
    #[must_use]
    pub fn run_log_files(&self, replica: &Replica) -> Vec<PathBuf> {
        let run = Run::of(&self.0.parts.settings.logs, &run_name(replica));
        [run.before(), run.file].into_iter().filter(|file| file.exists()).collect()
    }
}

fn run_name(replica: &Replica) -> String {
    format!("{}.{}", replica.id, replica.launches)
}

fn read(file: &Path, from: Option<u64>, most: u64) -> std::io::Result<Piece> {
    let mut file = File::open(file)?;
    let len = file.metadata()?.len();
    // A file that began anew is read from its beginning.
    let start = match from {
        Some(from) if from <= len => from,
        Some(_) => 0,
        None => len.saturating_sub(most),
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![];
    file.take(most).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    // The end of a log begins with a whole line.
    let begin = if from.is_none() && start > 0 { bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1) } else { 0 };
    let text = String::from_utf8_lossy(bytes.get(begin.min(end)..end).unwrap_or_default()).into_owned();
    Ok(Piece { next: start + u64::try_from(end).unwrap_or(0), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("charter-run-log-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn lines_are_clean_stamped_and_without_our_own_noise() {
        let text = "\u{1b}[32mINFO\u{1b}[0m: 127.0.0.1:5 - \"GET /metrics HTTP/1.1\" 200 OK\nINFO: \"GET /health HTTP/1.1\" 200 OK\n\
                    load:  0%\rload: 100%\r\n\n\u{1b}[1mhello\u{1b}[0m\nINFO: \"POST /v1/chat/completions HTTP/1.1\" 200 OK\n\
                    INFO: \"GET /health HTTP/1.1\" 503 Service Unavailable\n";
        let lines = kept(text, Time(1_795_259_775_000), " [engine] ");
        let said: Vec<&str> = lines.lines().filter_map(|l| l.strip_prefix("2026-11-21T11:16:15Z [engine] ")).collect();
        assert_eq!(
            said,
            [
                "load: 100%",
                "hello",
                "INFO: \"POST /v1/chat/completions HTTP/1.1\" 200 OK",
                "INFO: \"GET /health HTTP/1.1\" 503 Service Unavailable"
            ],
            "an answer that is no good one is no noise"
        );
    }

    #[test]
    fn a_process_that_ends_between_two_writes_leaves_no_line_twice() {
        let folder = folder("twice");
        let run = Run::of(&folder, "r.1");
        let (mut file, mut at) = run.open().expect("it opens");
        run.add(&mut file, &mut at, "one\n", 10, 1000).expect("written");
        // Written, and never noted.
        file.write_all(b"two\nhalf of thr").expect("written");
        let (mut file, mut at) = run.open().expect("it opens again");
        assert_eq!(at, At { from: 10, len: 4 });
        run.add(&mut file, &mut at, "two\nthree\n", 20, 1000).expect("written");
        assert_eq!(std::fs::read_to_string(&run.file).expect("text"), "one\ntwo\nthree\n");
        std::fs::remove_dir_all(folder).expect("gone");
    }

    #[test]
    fn a_process_that_ends_between_two_files_loses_neither() {
        let folder = folder("between");
        let run = Run::of(&folder, "r.1");
        let (mut file, mut at) = run.open().expect("it opens");
        run.add(&mut file, &mut at, "0123456789\n", 1, 10).expect("written");
        // Renamed, and nothing more.
        std::fs::rename(&run.file, run.before()).expect("renamed");
        let (mut file, mut at) = run.open().expect("it opens again");
        assert_eq!(at.len, 0);
        run.add(&mut file, &mut at, "new\n", 1, 10).expect("written");
        assert_eq!(std::fs::read_to_string(run.before()).expect("text"), "0123456789\n");
        assert_eq!(std::fs::read_to_string(&run.file).expect("text"), "new\n");
        std::fs::remove_dir_all(folder).expect("gone");
    }

    #[test]
    fn a_large_file_becomes_the_one_before_and_readers_go_on() {
        let folder = folder("large");
        let run = Run::of(&folder, "r.1");
        let (mut file, mut at) = run.open().expect("it opens");
        run.add(&mut file, &mut at, "0123456789\n", 1, 10).expect("written");
        let piece = read(&run.file, None, 100).expect("read");
        assert_eq!(piece, Piece { next: 11, text: "0123456789\n".into() });
        run.add(&mut file, &mut at, "new\n", 1, 10).expect("written");
        assert_eq!(std::fs::read_to_string(run.before()).expect("text"), "0123456789\n");
        assert_eq!(read(&run.file, Some(piece.next), 100).expect("read").text, "new\n");
        assert_eq!(read(&run.file, Some(4), 100).expect("read"), Piece { next: 4, text: String::new() });
        std::fs::remove_dir_all(folder).expect("gone");
    }

    #[test]
    fn the_end_of_a_log_begins_with_a_whole_line() {
        let folder = folder("end");
        let file = folder.join("x");
        std::fs::write(&file, "first line\nsecond\nthird\nunfinished").expect("written");
        let piece = read(&file, None, 20).expect("read");
        assert_eq!((piece.text.as_str(), piece.next), ("third\n", 24));
        std::fs::remove_dir_all(folder).expect("gone");
    }
}
