//! The verbs of Entrepot. What must be right for all protocols is in here, once: rights, quota, completeness,
//! retention, audit, metrics.
//!
//! The laws:
//!
//! 1. **Bytes before row.** A lease is written only after the bytes are durable.
//! 2. **Row before answer.** A client hears "stored" only after its lease is durable.
//! 3. **Closure before Name.** A Name is bound only if everything it must link to is held in the namespace.
//! 4. **And backwards on the way out.** Name, then lease, then the blob's row, then bytes.
//! 5. **A location is never reused.** A remover can never delete what a later writer wrote.

mod absence;
mod bury;
mod clock;
mod closure;
mod evict;
mod fetch;
mod follow;
mod hub;
mod known;
mod metrics;
mod mirror;
mod names;
mod namespace;
mod pass;
mod presence;
mod quota;
mod read;
mod relay;
mod rights;
mod sizes;
mod small;
mod space;
mod sweep;
mod tasks;
mod token;
mod upload;

pub use evict::Victim;
pub use hub::{Hub, Settings};
pub use namespace::Namespace;
pub use rights::{Caller, Grant, Rights};
pub use sweep::Checked;
pub use upload::{Claim, Upload};
