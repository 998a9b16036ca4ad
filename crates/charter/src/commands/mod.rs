//! One module per command, or per family of commands.

pub(crate) mod admin;
mod backend;
mod budget;
mod demo;
mod demo_upgrade;
mod doctor;
mod down;
mod engine;
mod hosts;
mod key;
mod logs;
mod manifest;
mod offers;
mod panic;
mod plan;
mod route;
mod spend;
mod ssh;
mod status;
mod sweep;
pub(crate) mod testbed;
mod up;
mod upgrade;

use crate::cli::{Cli, Command, Global};
use crate::client::Client;
use crate::output::Printer;
use crate::{alone, local, pages, serve};
use charter_api::problem::Problem;
use clap::CommandFactory;
use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;

/// What a command needs to know.
pub(crate) struct Context<'a> {
    pub(crate) global: Global,
    pub(crate) printer: &'a Printer,
}

impl Context<'_> {
    /// The running server.
    pub(crate) fn client(&self) -> Result<Client, Problem> {
        local::find(&self.global).map(Client)
    }
}

/// What commands return.
pub(crate) type Done = Result<ExitCode, Problem>;

/// Runs a command.
pub(crate) fn run(cli: Cli, printer: &Printer) -> Done {
    let context = Context { global: cli.global, printer };
    match cli.command {
        Command::Serve(args) => {
            logging(&context.global);
            large(serve::serve(&context.global, args)).map(|()| ExitCode::SUCCESS)
        }
        Command::Gateway(args) => {
            logging(&context.global);
            let global = Global { server: args.control.clone().or(context.global.server), ..context.global };
            large(alone::gateway(global, args)).map(|()| ExitCode::SUCCESS)
        }
        Command::Stop => small(status::stop(&context)),
        Command::Plan(names) => small(plan::plan(&context, names)),
        Command::Up(args) => small(up::up(&context, args)),
        Command::Deploy(args) => small(up::deploy(&context, args)),
        Command::Offers(args) => small(offers::offers(&context, args)),
        Command::Status { name } => small(status::status(&context, name)),
        Command::Logs { name, follow, tail } => small(logs::logs(&context, &name, follow, tail)),
        Command::Ssh { name, print, command } => small(ssh::ssh(&context, &name, print, &command)),
        Command::Forward(args) => small(ssh::forward(&context, &args)),
        Command::Down { names, all, no_wait } => small(down::down(&context, names, all, no_wait)),
        Command::Upgrade(args) => small(upgrade::upgrade(&context, args)),
        Command::Rollback(args) => small(upgrade::rollback(&context, args)),
        Command::Migrate(args) => small(upgrade::migrate(&context, args)),
        Command::Manifest(args) => small(manifest::manifest(&context, args)),
        Command::Saved(args) => small(manifest::saved(&context, args)),
        Command::Generations { name } => small(upgrade::generations(&context, &name)),
        Command::Backend(args) => small(backend::backend(&context, args)),
        Command::Hosts => small(hosts::hosts(&context)),
        Command::Budget => small(budget::budget(&context)),
        Command::Extend(args) => small(budget::extend(&context, &args)),
        Command::Sweep { execute } => small(sweep::sweep(&context, execute)),
        Command::Doctor => small(doctor::doctor(&context)),
        Command::Admin(args) => small(admin::admin(&context, args)),
        Command::Panic => small(panic::panic(&context)),
        Command::Key(args) => small(key::key(&context, args)),
        Command::Route(args) => small(route::route(&context, args)),
        Command::Rented { to } => small(route::rented(&context, to)),
        Command::Spend(args) => small(spend::spend(&context, &args)),
        Command::Engine(args) => engine::engine(&context, args),
        Command::Explain { code } => explain(&context, &code),
        Command::Completions { shell } => {
            let hidden = |c: &clap::Command| c.is_hide_set();
            let shown: Vec<clap::Command> = Cli::command().get_subcommands().filter(|c| !hidden(c)).cloned().collect();
            let mut command = clap::Command::new("charter").args(Cli::command().get_arguments()).subcommands(shown);
            clap_complete::generate(shell, &mut command, "charter", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Testbed(crate::cli::Testbed::Serve(args)) => {
            logging(&context.global);
            large(testbed::serve(&context, args))
        }
        Command::Demo { once } => large(demo::demo(&context, once)),
        Command::StandIn { args } => Ok(small(engine::stand_in(args))),
    }
}

/// Runs a future where little is to be done: no threads beside this one.
#[expect(clippy::expect_used, reason = "without a runtime nothing can be said or done")]
fn small<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[expect(clippy::expect_used, reason = "without a runtime nothing can be said or done")]
fn large<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Logs go to standard error.
fn logging(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "info,russh=warn,sqlx=warn",
        (false, 1) => "debug,russh=info,hyper=info,sqlx=info",
        (false, _) => "trace,russh=debug",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let ansi = std::io::stderr().is_terminal();
    let set = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).try_init();
    if set.is_err() {
        tracing::debug!("logging was set up before");
    }
}

fn explain(context: &Context<'_>, code: &str) -> Done {
    let Some(page) = pages::page(code) else {
        let hint = format!("known codes: {}", pages::codes().join(", "));
        return Err(Problem::new(0, "C0009", format!("there is no code `{code}`"), hint));
    };
    if context.printer.json {
        context.printer.document(&serde_json::json!({"code": code, "page": page}));
    } else {
        context.printer.data(page.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
