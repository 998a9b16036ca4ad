//! The `charter` program: the command line, the server, the gateway, and the demo.

mod alone;
mod asking;
mod assemble;
mod cli;
mod cli_gateway;
mod cli_upgrade;
mod client;
mod commands;
mod config;
mod doors;
mod environment;
mod examination;
mod http;
mod install;
mod local;
mod output;
mod outside;
mod pages;
mod ports;
mod premises;
mod releases;
mod retired;
mod serve;
mod sockets;
mod tls;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // One crypto provider for the whole process; a second call would only repeat it.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage(&error),
    };
    let printer = output::Printer::new(&cli.global);
    match commands::run(cli, &printer) {
        Ok(code) => code,
        Err(problem) => printer.failed(&problem),
    }
}
