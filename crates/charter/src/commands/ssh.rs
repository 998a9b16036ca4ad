//! `ssh` and `forward`: the way to a deployment's machine for people and for other programs.

use super::{Context, Done};
use crate::cli::Forward;
use crate::client::segment;
use crate::config;
use charter_api::problem::Problem;
use charter_api::ssh::{OpenPort, PortWish, SshWay};
use charter_remote::{KeyPair, Session, Target};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Most that a command may print, and how long it may take.
const OUTPUT_MAX: usize = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn ssh(context: &Context<'_>, name: &str, print: bool, command: &[String]) -> Done {
    let client = context.client()?;
    let way: SshWay = client.get(&format!("/api/v1/deployments/{}/ssh", segment(name))).await?;
    let SshWay { host, port, user, host_key, key_file: named, key_of, .. } = way;
    let data_dir = config::data_dir(&context.global)?;
    let key_file = key_file(&data_dir, named.as_deref(), key_of.as_deref())?;
    let mut words = vec!["ssh".to_owned(), "-i".to_owned(), key_file.display().to_string(), "-p".to_owned(), port.to_string()];
    words.extend(["-o".to_owned(), "IdentitiesOnly=yes".to_owned(), format!("{user}@{host}")]);
    if print {
        let line = charter_controller::shell_line(&words);
        if context.printer.json {
            context.printer.document(&json!({"command": line, "host_key": host_key}));
        } else {
            context.printer.data(&line);
            context.printer.say(&format!("the machine's host key must be {}", host_key.unwrap_or_default()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    if command.is_empty() {
        return interactive(&words);
    }
    let failed = |e: charter_remote::Error| Problem::new(0, e.code(), e.to_string(), e.hint());
    let pem = std::fs::read_to_string(&key_file).map_err(|e| key_problem(&key_file, &e))?;
    let key = KeyPair::from_openssh(&pem).map_err(failed)?;
    let target = Target { host, port, user, key, host_key };
    let session = Session::connect(&target).await.map_err(failed)?;
    // As OpenSSH does: the words are joined, and the shell there reads them.
    let output = session.exec(&command.join(" "), b"", OUTPUT_MAX, PATIENCE).await.map_err(failed)?;
    std::io::stdout().write_all(&output.stdout).ok();
    std::io::stderr().write_all(&output.stderr).ok();
    let status = output.status.and_then(|s| u8::try_from(s).ok()).unwrap_or(255);
    Ok(ExitCode::from(status))
}

fn key_problem(path: &Path, error: &dyn std::fmt::Display) -> Problem {
    let message = format!("the private key `{}` cannot be read", path.display());
    Problem::new(0, "R0005", message, "run this as the user, and on the machine, of the server").with_detail(error.to_string())
}

/// The key that leads to a machine: the file that the server's configuration names, the one that belongs to a rented instance
/// alone, or the installation's own; the last two written out for OpenSSH where only this user can read them.
fn key_file(data_dir: &Path, named: Option<&str>, instance: Option<&str>) -> Result<PathBuf, Problem> {
    if let Some(named) = named {
        return Ok(PathBuf::from(named));
    }
    let secret = data_dir.join("installation.key");
    let secret = std::fs::read_to_string(&secret).map_err(|e| key_problem(&secret, &e))?;
    let (pair, path) = if let Some(instance) = instance {
        let name: String = instance.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
        (KeyPair::derive(secret.trim().as_bytes(), instance), data_dir.join(format!("id_ed25519-{name}")))
    } else {
        (KeyPair::derive(secret.trim().as_bytes(), "installation"), data_dir.join("id_ed25519"))
    };
    let text = pair.to_openssh().map_err(|e| key_problem(&path, &e))?;
    let mut file = crate::install::private_file(&path).map_err(|e| key_problem(&path, &e))?;
    file.write_all(text.as_bytes()).map_err(|e| key_problem(&path, &e))?;
    Ok(path)
}

/// Hands the terminal to OpenSSH.
fn interactive(words: &[String]) -> Done {
    let status = std::process::Command::new(&words[0]).args(&words[1..]).status();
    match status {
        Ok(status) => Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(255))),
        Err(error) => {
            let hint = "install OpenSSH's client (package openssh-client), or run one command: `charter ssh NAME -- CMD`";
            Err(Problem::new(0, "R0011", "no shell could be opened", hint).with_detail(error.to_string()))
        }
    }
}

pub(crate) async fn forward(context: &Context<'_>, args: &Forward) -> Done {
    let client = context.client()?;
    let body = PortWish { bind: args.bind.clone(), port: args.port, insecure: args.insecure_listen, close: args.close };
    let answer: OpenPort = client.post(&format!("/api/v1/deployments/{}/forward", segment(&args.name)), &body).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(closed) = answer.closed.filter(|_| !args.close) {
        printer.say(&format!("`{closed}` was open before, and is closed now"));
    }
    match (answer.address, answer.key) {
        (Some(address), Some(key)) => {
            printer.data(&address);
            printer.say(&format!("the engine asks for its own key: authorization: Bearer {key}"));
        }
        _ => printer.data("closed"),
    }
    Ok(ExitCode::SUCCESS)
}
