//! `testbed serve`: a marketplace on this computer.

use super::{Context, Done};
use crate::cli::TestbedServe;
use crate::serve::signal_problem;
use crate::sockets::{bind, refuse_open};
use charter_api::file::decode::usd_micros;
use charter_api::problem::Problem;
use charter_testbed::market::{Faults, Market, Settings};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A folder of its own for machines, which is removed at the end.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let unique: String = crate::ports::random::<6>().iter().map(|b| format!("{b:02x}")).collect();
    std::env::temp_dir().join(format!("charter-{name}-{unique}"))
}

/// A market from what the command line says.
pub(crate) fn settings(args: &TestbedServe) -> Result<Settings, Problem> {
    let wrong = |why: String| Problem::new(0, "C0001", why, "see `charter testbed serve --help`");
    let faults = Faults::parse(&args.faults).map_err(wrong)?;
    let balance = usd_micros(&args.balance).map_err(wrong)?;
    let realistic = args.faults.split(',').any(|f| f.trim() == "realistic");
    let base = if realistic { Settings::realistic() } else { Settings::default() };
    let balance_micros = u64::try_from(balance).unwrap_or(0);
    let sshd = args.sshd.clone();
    Ok(Settings { seed: args.seed, speed: args.speed, faults, rate_limits: args.rate_limits, balance_micros, sshd, ..base })
}

pub(crate) async fn serve(context: &Context<'_>, args: TestbedServe) -> Done {
    refuse_open(args.listen, false)?;
    let settings = settings(&args)?;
    let listener = bind(args.listen, "test bed").await?;
    let folder = scratch("testbed");
    let program = std::env::current_exe().map_err(|e| signal_problem(&e))?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|e| signal_problem(&e))?;
    let market = Market::new(settings, &folder, &program);
    market.serve(listener);
    context.printer.data(&format!("api-key: {}\nbase-url: {}\nready", market.key(), market.url()));
    std::io::Write::flush(&mut std::io::stdout()).ok();
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    market.end().await;
    tokio::fs::remove_dir_all(&folder).await.ok();
    Ok(ExitCode::SUCCESS)
}
