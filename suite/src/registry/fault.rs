//! What a registry can do wrong.

use std::time::Duration;

/// A wrong answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with these headers and body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Leads elsewhere, with this status.
    Redirect(u16, String),
    /// Leaves this header out.
    Without(&'static str),
    /// Says this in a header.
    With(&'static str, String),
    /// Sends other bytes of the same length.
    OtherBytes,
    /// Sends this instead, with status 200.
    Body(String),
    /// Packs the body, which nobody asked for.
    Gzip,
    /// Sends chunks, without `Content-Length`.
    Chunked,
    /// Sends until the connection ends, without `Content-Length`.
    Unbounded,
    /// Breaks the connection after so many bytes of the body.
    Break(usize),
    /// Ends chunks cleanly after so many bytes of the body.
    Short(usize),
    /// Sends so many bytes more than it should, in chunks.
    Longer(usize),
    /// Sends so many bytes, then one after each pause.
    Drip(usize, Duration),
    /// Takes the request and says nothing.
    Silent,
    /// Says nothing after so many bytes of the body.
    Stop(usize),
    /// Ends the connection without an answer.
    Close,
    /// Sends headers without end.
    EndlessHead,
    /// Sends a body without end, in chunks.
    EndlessBody,
    /// Sends something that is no HTTP.
    Noise,
    /// Answers a range with everything.
    NoRanges,
    /// Answers a range with another one.
    WrongRange,
}
