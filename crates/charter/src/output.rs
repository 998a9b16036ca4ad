//! What people and programs see: data on standard output, talk on standard error, one document with `--json`.

use crate::cli::{Color, Global};
use charter_api::problem::Problem;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Prints.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    color_out: bool,
    color_err: bool,
    pub(crate) live: bool,
    terminal: bool,
}

/// Columns that people can be expected to have.
const WIDTH: usize = 80;

/// Breaks a text at spaces; the lines after the first stand two columns further in. A word is never broken.
fn wrap(indent: &str, text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    let mut line = indent.to_owned();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, format!("{indent}  ")));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// Colours by meaning. They never carry meaning alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    Good,
    Bad,
    Busy,
    Faint,
    Strong,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Busy => "33",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let wanted = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && crate::environment::var("NO_COLOR").is_none(),
        };
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            json: global.json,
            quiet: global.quiet,
            color_out: wanted(out),
            color_err: wanted(err),
            live: err && !global.json,
            terminal: out,
        }
    }

    /// A piece of standard output in a tone.
    pub(crate) fn tint(&self, tone: Tone, text: &str) -> String {
        tint(self.color_out, tone, text)
    }

    /// A line of data.
    #[expect(clippy::unused_self, reason = "all printing goes through the printer")]
    pub(crate) fn data(&self, line: &str) {
        // A reader that has left, such as `head`, is no failure of ours.
        writeln!(std::io::stdout(), "{line}").ok();
    }

    /// Data that may be long: broken at spaces where a terminal shows it, whole where a program reads it.
    pub(crate) fn wrapped(&self, indent: &str, text: &str) {
        wrap(indent, text, if self.terminal { WIDTH } else { usize::MAX }).iter().for_each(|line| self.data(line));
    }

    /// The one document of `--json`.
    pub(crate) fn document(&self, value: &impl serde::Serialize) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.data(&text);
    }

    /// A line of talk.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            writeln!(std::io::stderr(), "{line}").ok();
        }
    }

    /// Talk behind a mark, such as a time: broken at spaces where a terminal shows it, the rest standing below the text.
    pub(crate) fn say_behind(&self, mark: &str, text: &str) {
        let indent = " ".repeat(mark.chars().count());
        let lines = wrap(&indent, text, if self.live { WIDTH } else { usize::MAX });
        for (index, line) in lines.iter().enumerate() {
            let rest: String = line.chars().skip(mark.chars().count()).collect();
            self.say(&if index == 0 { format!("{mark}{rest}") } else { line.clone() });
        }
    }

    /// A line of talk in a tone.
    pub(crate) fn say_in(&self, tone: Tone, line: &str) {
        self.say(&tint(self.color_err, tone, line));
    }

    /// A line that the next one replaces; nothing where there is no terminal.
    pub(crate) fn transient(&self, line: &str) {
        if self.live && !self.quiet {
            let short: String = line.chars().take(78).collect();
            write!(std::io::stderr(), "\r\u{1b}[K{short}").ok();
            std::io::stderr().flush().ok();
        }
    }

    /// Removes the transient line.
    pub(crate) fn settle(&self) {
        self.transient("");
    }

    /// Tells of a failure and gives the exit status.
    pub(crate) fn failed(&self, problem: &Problem) -> ExitCode {
        self.settle();
        if self.json {
            self.document(&problem.to_cli_json());
        } else {
            let text = problem.to_string();
            let (head, rest) = text.split_once('\n').map_or((text.as_str(), ""), |(head, rest)| (head, rest));
            writeln!(std::io::stderr(), "{}", tint(self.color_err, Tone::Bad, head)).ok();
            if !rest.is_empty() {
                writeln!(std::io::stderr(), "{rest}").ok();
            }
        }
        ExitCode::FAILURE
    }
}

fn tint(on: bool, tone: Tone, text: &str) -> String {
    if on { format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code()) } else { text.to_owned() }
}

/// Wrong usage ends with status 1: status 2 is an answer of `plan` and its like.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args().any(|a| a == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let problem = Problem::new(0, "C0001", message, "see `charter --help`");
        writeln!(std::io::stdout(), "{}", problem.to_cli_json()).ok();
        return ExitCode::FAILURE;
    }
    if error.print().is_err() {
        return ExitCode::FAILURE;
    }
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Cuts a name that no column of a terminal can hold. Whoever reads a pipe gets it whole.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width || !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let head: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{head}…")
}

/// A table: columns as wide as their widest cell, two spaces between, no trailing spaces.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let count = |text: &str| strip(text).chars().count();
    let mut widths: Vec<usize> = head.iter().map(|h| h.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(count(cell));
        }
    }
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width.saturating_sub(count(cell)))))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut out = vec![line(&head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>())];
    out.extend(rows.iter().map(|r| line(r)));
    out
}

fn strip(text: &str) -> String {
    charter_engines::log::clean::strip_codes(text)
}
