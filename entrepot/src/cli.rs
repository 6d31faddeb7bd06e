//! The command line of `entrepot`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::admin::Command;
use crate::archive::{self, Archive};
use crate::bytesize::Size;
use crate::config::{Config, Format};
use crate::serve::{self, Serving};
use crate::{log, run, tags};

/// Stores, serves, augments and produces the artifacts of builds and CI.
#[derive(Debug, Parser)]
#[command(name = "entrepot", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Configuration file (TOML); without one the built-in defaults count
    #[arg(long, short, global = true, env = "ENTREPOT_CONFIG_FILE", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How log lines look
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve until a signal to end; a second process on one data directory serves as a guest of the first
    Serve {
        /// Listen here instead of where the configuration says
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        /// Bytes that the namespace `main` may hold
        #[arg(long, value_name = "SIZE")]
        quota: Option<Size>,
    },
    /// Print the configuration as it is understood, and check the files that it names
    CheckConfig,
    /// Bearer tokens
    #[command(subcommand)]
    Token(Token),
    /// Tags of images: list them, see what they have pointed at, roll them back
    #[command(subcommand)]
    Tag(Tag),
    /// Evict what was least recently used
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// Which namespace
        #[arg(long, default_value = "main")]
        namespace: String,
        /// Evict down to this size; the quota where nothing is said
        #[arg(long, value_name = "SIZE")]
        target: Option<Size>,
    },
    /// Read every blob and check it; what is damaged becomes absent until it is pushed again
    Fsck,
    /// Say why a blob is kept
    Why {
        /// SHA-256, with or without /SIZE
        digest: String,
        /// Only in this namespace
        #[arg(long)]
        namespace: Option<String>,
    },
    /// Pack a directory as a layer for images, with the recipe that adds it
    Pack(crate::pack::Pack),
    /// Copy the catalog, consistently, while the hub runs
    Backup {
        /// The new file
        to: PathBuf,
    },
    /// OSTree repositories in directories
    #[command(subcommand)]
    Ostree(Ostree),
    /// Write shell completions to standard output
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man { to: PathBuf },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token; it is shown once
    Make {
        /// What it is for
        label: String,
        /// RIGHTS[:NAMESPACE[:PREFIX]]; rights are read, write, delete, digest, admin, and pull, push, all
        #[arg(long = "grant", value_name = "GRANT", default_value = "push")]
        grants: Vec<String>,
        /// Ends after this many days
        #[arg(long, value_name = "DAYS")]
        days: Option<u64>,
    },
    /// List the tokens
    List,
    /// End a token now
    Revoke {
        /// Its id, as listed
        id: String,
    },
}

#[derive(Debug, Subcommand)]
enum Tag {
    /// List the tags of a repository
    List {
        /// The repository, without a host: team/app
        repository: String,
    },
    /// Show what a tag points at and has pointed at, newest first
    History {
        /// The repository
        repository: String,
        /// The tag
        tag: String,
    },
    /// Point a tag again at what it pointed at before
    Rollback {
        /// The repository
        repository: String,
        /// The tag
        tag: String,
        /// At this one of its history instead of the last
        #[arg(long, value_name = "DIGEST")]
        to: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Ostree {
    /// Take an archive-z2 repository in; each object is checked, and a broken import goes on where it stopped
    Import {
        /// The repository's directory
        from: PathBuf,
        /// Which of the configured repositories it goes into: its path or name
        #[arg(long, value_name = "PATH")]
        repository: Option<String>,
    },
    /// Write a repository as an archive-z2 directory
    Export {
        /// The directory; it is made when it is missing
        to: PathBuf,
        /// Which of the configured repositories: its path or name
        #[arg(long, value_name = "PATH")]
        repository: Option<String>,
    },
}

impl Ostree {
    fn command(self, config: &Config) -> anyhow::Result<Command> {
        let (repository, verb) = match self {
            // Relative to this process, not to the owner.
            Self::Import { from, repository } => (repository, archive::Verb::Import(std::path::absolute(from)?)),
            Self::Export { to, repository } => (repository, archive::Verb::Export(std::path::absolute(to)?)),
        };
        let repository = archive::choose(&config.repositories(), repository.as_deref())?;
        Ok(Command::Ostree(Archive { repository, verb }))
    }
}

pub(crate) fn main() -> ExitCode {
    let Cli { global, verb } = Cli::parse();
    match verb {
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "entrepot", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Verb::Man { to } => run(async move {
            clap_mangen::generate_to(Cli::command(), &to)?;
            clap_mangen::generate_to(crate::dropin::command(), &to)?;
            clap_mangen::generate_to(crate::receiver::command(), &to)?;
            Ok(())
        }),
        Verb::Pack(pack) => run(async move { pack.run() }),
        verb => run(execute(global, verb)),
    }
}

impl Tag {
    fn ask(self, config: &Config) -> tags::Ask {
        let (repository, what) = match self {
            Self::List { repository } => (repository, tags::What::List),
            Self::History { repository, tag } => (repository, tags::What::History { tag }),
            Self::Rollback { repository, tag, to } => (repository, tags::What::Rollback { tag, to }),
        };
        let (namespace, history_days) = (config.registry.namespace.clone(), config.registry.history_days);
        tags::Ask { namespace, repository, history_days, what }
    }
}

async fn execute(global: Global, verb: Verb) -> anyhow::Result<()> {
    let mut config = Config::read(global.config.as_deref())?;
    if let Some(data) = global.data {
        config.data = data;
    }
    if let Some(level) = global.log_level {
        config.log.level = level;
    }
    if let Some(format) = global.log_format {
        config.log.format = format;
    }
    let command = match verb {
        Verb::Serve { listen, quota } => {
            if let Some(listen) = listen {
                config.listen.truncate(1);
                config.listen[0].address = Some(listen);
            }
            log::begin(&config.log.level, config.log.format)?;
            let ssh = config.ssh.iter().map(|ssh| format!("{} (SSH)", ssh.address()));
            let where_: Vec<_> = config.listen.iter().map(|listen| listen.address().to_owned()).chain(ssh).collect();
            let started = format!("entrepot serves {} at {}", config.data.display(), where_.join(", "));
            let quota = quota.map(|quota| quota.0);
            return serve::serve(Serving { config, quota, started }).await;
        }
        Verb::CheckConfig => {
            for listen in &config.listen {
                listen.check_files()?;
            }
            for ssh in &config.ssh {
                ssh.check_files(&config.data)?;
            }
            drop(std::io::stdout().write_all(toml::to_string_pretty(&config)?.as_bytes()));
            return Ok(());
        }
        Verb::Token(Token::Make { label, grants, days }) => {
            let expires = days.map(|days| days.saturating_mul(24 * 3600));
            Command::MakeToken { label, grants, expires }
        }
        Verb::Token(Token::List) => Command::ListTokens,
        Verb::Token(Token::Revoke { id }) => Command::RevokeToken { id },
        Verb::Tag(tag) => Command::Tags(tag.ask(&config)),
        Verb::Gc { dry_run, namespace, target } => Command::Gc { namespace, target, dry_run },
        Verb::Fsck => Command::Fsck,
        Verb::Why { digest, namespace } => Command::Why { namespace, digest },
        // Relative to this process, not to the owner.
        Verb::Backup { to } => Command::Backup { to: std::path::absolute(to)? },
        Verb::Ostree(ostree) => ostree.command(&config)?,
        Verb::Pack(_) | Verb::Completions { .. } | Verb::Man { .. } => return Ok(()),
    };
    log::begin("warn", config.log.format)?;
    serve::once(&config, command).await
}
