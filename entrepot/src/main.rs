//! The binary: configuration becomes objects, objects are wired, and served. Called by the name of a server that
//! it replaces, it behaves as that server did.

mod admin;
mod archive;
mod bytesize;
mod cli;
mod config;
mod destination;
mod directory;
mod dropin;
mod listen;
mod log;
mod pack;
mod receive;
mod receiver;
mod registry;
mod repository;
mod serve;
mod ssh;
mod tags;
mod upstreams;

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&name).file_name().map(|name| name.to_string_lossy().into_owned());
    match name.as_deref() {
        Some("bst-artifact-server") => dropin::main(std::env::args_os()),
        Some(receive::NAME) => receiver::main(std::env::args_os()),
        _ => cli::main(),
    }
}

/// Runs a command; what went wrong is told with its causes.
fn run(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    run_as("entrepot", async { work.await.map(|()| ExitCode::SUCCESS) })
}

/// As [`run`], under another name and with an exit status of its own.
fn run_as(name: &str, work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(work);
    // Blocking reads of clients that are gone are not waited for.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
