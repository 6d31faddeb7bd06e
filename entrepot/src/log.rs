//! Log lines go to standard error: text for people and the journal, or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::Format;

/// Begins to log. Called once.
pub(crate) fn begin(level: &str, format: Format) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level).map_err(|error| anyhow::anyhow!("log level {level:?}: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Json => lines.json().flatten_event(true).init(),
        // The journal has its own clock, and colours are for terminals.
        Format::Text if std::env::var_os("JOURNAL_STREAM").is_some() => lines.without_time().with_ansi(false).init(),
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
}
