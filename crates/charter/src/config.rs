//! Where things are, and what the file says: flag, environment, file, built-in, in this order.

use crate::cli::Global;
use crate::environment;
use charter_api::file::{self, File};
use charter_api::problem::Problem;
use std::path::{Path, PathBuf};

/// The data directory.
pub(crate) fn data_dir(global: &Global) -> Result<PathBuf, Problem> {
    let chosen = global.data_dir.clone().or_else(|| environment::folder("XDG_DATA_HOME", ".local/share"));
    chosen.ok_or_else(|| Problem::new(0, "C0008", "no data directory is known", "set `--data-dir`, or `HOME`"))
}

/// The configuration file: the one that was named, or the first that is there.
pub(crate) fn find(global: &Global, named: Option<&PathBuf>) -> Option<PathBuf> {
    if let Some(path) = named.or(global.config.as_ref()) {
        return Some(path.clone());
    }
    let user = environment::folder("XDG_CONFIG_HOME", ".config").map(|f| f.join("charter.yaml"));
    [Some(PathBuf::from("charter.yaml")), user].into_iter().flatten().find(|p| p.exists())
}

/// Reads a configuration.
pub(crate) fn read(path: &Path) -> Result<File, Problem> {
    let text = std::fs::read(path).map_err(|e| {
        Problem::new(0, "C0002", format!("`{}` cannot be read", path.display()), "name the file with `-f` or `--config`")
            .with_detail(e.to_string())
    })?;
    let text = String::from_utf8(text)
        .map_err(|_| Problem::new(0, "C0003", format!("`{}` is no text", path.display()), "a configuration is UTF-8 text"))?;
    file::read(&path.display().to_string(), &text).map_err(|error| {
        let count = error.faults.len();
        let errors = if count == 1 { "an error".to_owned() } else { format!("{count} errors") };
        Problem::new(
            0,
            "C0003",
            format!("`{}` has {errors}", path.display()),
            "`charter explain C0003` tells how the file is read",
        )
        .with_detail(error.text)
    })
}

/// The file that `up` and `plan` work on.
pub(crate) fn required(global: &Global, named: Option<&PathBuf>) -> Result<(PathBuf, File), Problem> {
    let Some(path) = find(global, named) else {
        let hint = "write one, or run a model without a file: `charter deploy MODEL`";
        return Err(Problem::new(0, "C0002", "there is no `charter.yaml` here", hint));
    };
    let file = read(&path)?;
    Ok((path, file))
}
