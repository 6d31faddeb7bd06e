mod filez;
pub mod gvariant;
mod intake;
mod kinds;
mod memo;
pub mod object;
mod refs;
