//! `bst-artifact-server`: the command line of BuildStream's own server (1.93.6), option for option.
//!
//! Without `--enable-push` nothing can be written. With it and without `--client-certs` anybody may push. With
//! `--client-certs` every call needs a listed certificate.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use kernel::{Grant, Rights};

use crate::config::{Config, Format};
use crate::listen::Plan;
use crate::serve::{self, Serving};
use crate::{log, run};

const NAME: &str = "bst-artifact-server";
/// What the original takes when nothing is said.
const QUOTA: u64 = 10_000_000_000;
/// The original's exit status for options that do not go together (-1).
const COMBINATION: u8 = 255;
/// The status for a command line that cannot be read.
const USAGE: u8 = 2;

/// CAS Artifact Server
#[derive(Debug, Parser)]
#[command(name = NAME, version, disable_version_flag = true)]
struct Options {
    /// Port number
    #[arg(short, long, value_name = "INTEGER", required = true)]
    port: u16,
    /// Private server key for TLS (PEM-encoded)
    #[arg(long, value_name = "TEXT")]
    server_key: Option<PathBuf>,
    /// Public server certificate for TLS (PEM-encoded)
    #[arg(long, value_name = "TEXT")]
    server_cert: Option<PathBuf>,
    /// Public client certificates for TLS (PEM-encoded)
    #[arg(long, value_name = "TEXT")]
    client_certs: Option<PathBuf>,
    /// Allow clients to upload blobs and update artifact cache
    #[arg(long)]
    enable_push: bool,
    /// Maximum disk usage in bytes  [default: 10000000000]
    #[arg(long, value_name = "INTEGER")]
    quota: Option<u64>,
    /// Only provide the BuildStream artifact and source services ("index"), not the CAS ("storage")
    #[arg(long)]
    index_only: bool,
    /// The log level to launch with
    #[arg(long, value_enum, ignore_case = true, default_value = "warning")]
    log_level: Level,
    /// The directory of the artifacts; it is made when it is missing
    #[arg(value_name = "REPO", required = true)]
    repo: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Warning,
    Info,
    Trace,
}

/// The command line, for man pages and completions.
pub(crate) fn command() -> clap::Command {
    Options::command()
}

pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let parsed = command().try_get_matches_from(arguments).and_then(|matches| Options::from_arg_matches(&matches));
    let options = match parsed {
        Ok(options) => options,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            // A reader that has enough is no error.
            drop(std::io::stdout().write_all(error.to_string().as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("Usage: {NAME} [OPTIONS] REPO\nTry '{NAME} --help' for help.\n\n{}", complaint(&error));
            return ExitCode::from(USAGE);
        }
    };
    if let Err(complaint) = combination(&options) {
        eprintln!("ERROR: {complaint}");
        return ExitCode::from(COMBINATION);
    }
    run(async move {
        let level = match options.log_level {
            Level::Warning => "warn",
            Level::Info => "info",
            Level::Trace => "trace",
        };
        log::begin(level, Format::Text)?;
        serve::serve(serving(options)).await
    })
}

/// The first line of clap's error, in the original's words where they are the habit.
fn complaint(error: &clap::Error) -> String {
    let text = error.to_string();
    let value = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::MissingRequiredArgument if text.contains("--port") => {
            "Error: Missing option '-p' / '--port'.".into()
        }
        ErrorKind::MissingRequiredArgument => "Error: Missing argument 'REPO'.".into(),
        ErrorKind::UnknownArgument => {
            format!("Error: No such option: {}", value(clap::error::ContextKind::InvalidArg))
        }
        _ => text.lines().next().unwrap_or_default().replacen("error:", "Error:", 1),
    }
}

fn combination(options: &Options) -> Result<(), &'static str> {
    if options.server_key.is_some() != options.server_cert.is_some() {
        return Err("--server-key and --server-cert are both required for TLS");
    }
    if options.client_certs.is_some() && options.server_key.is_none() {
        return Err("--client-certs can only be used with --server-key");
    }
    Ok(())
}

fn serving(options: Options) -> Serving {
    let grant = |rights| vec![Grant::everywhere(rights).to_string()];
    let rights = grant(if options.enable_push { Rights::PUSH } else { Rights::PULL });
    let certified = options.client_certs.is_some();
    let address = format!("[::]:{}", options.port);
    let said = [
        (options.enable_push, "push and pull"),
        (!options.enable_push, "pull only"),
        (options.server_cert.is_some(), "TLS"),
        (certified, "client certificates"),
        (options.index_only, "index only"),
    ];
    let said: Vec<&str> = said.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
    let started = format!("{NAME} serves {} at {address}: {}", options.repo.display(), said.join(", "));
    let plan = Plan {
        name: Some(format!("{NAME}-{}", options.port)),
        address: Some(address),
        certificate: options.server_cert,
        key: options.server_key,
        clients: options.client_certs,
        anonymous: Some(if certified { Vec::new() } else { rights.clone() }),
        certified: Some(rights),
        tokens: Some(false),
        pull_only: !options.enable_push,
        index_only: options.index_only,
        ..Plan::default()
    };
    let mut config =
        Config { data: options.repo, listen: vec![plan], repository: Some(Vec::new()), ..Config::default() };
    config.namespaces.entry("main".into()).or_default().quota.0 = QUOTA;
    Serving { config, quota: options.quota, started }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(std::iter::once(NAME).chain(line.split_whitespace()))
    }

    #[test]
    fn the_options_are_the_original_s() {
        let options = parse(
            "-p 1 --server-key k --server-cert c --client-certs a --enable-push --quota 5 --index-only --log-level INFO dir",
        );
        assert!(options.is_ok_and(|options| combination(&options).is_ok()));
        assert!(parse("--port 1 --log-level debug dir").is_err(), "debug is no level of the original");
        assert!(parse("--port 1").is_err() && parse("dir").is_err());
    }

    #[test]
    fn bad_combinations_are_told_in_the_original_s_words() {
        for (line, text) in [
            ("-p 1 --server-key k d", "--server-key and --server-cert are both required for TLS"),
            ("-p 1 --server-cert c d", "--server-key and --server-cert are both required for TLS"),
            ("-p 1 --client-certs c d", "--client-certs can only be used with --server-key"),
        ] {
            assert_eq!(parse(line).ok().map(|options| combination(&options)), Some(Err(text)), "{line}");
        }
    }

    #[test]
    fn without_enable_push_nobody_may_write() {
        let rights = |line: &str| parse(line).ok().map(serving).map(|serving| serving.config.listen[0].clone());
        let pull = rights("-p 1 d").expect("a plan");
        assert!(pull.pull_only && pull.anonymous == Some(vec!["read,digest:*:".into()]));
        let push = rights("-p 1 --enable-push d").expect("a plan");
        assert!(!push.pull_only && push.anonymous == Some(vec!["read,write,digest:*:".into()]));
        let certified = rights("-p 1 --server-key k --server-cert c --client-certs a --enable-push d").expect("a plan");
        assert_eq!(certified.anonymous, Some(vec![]));
    }
}
