//! A network that is read, printed and read again is the same network.

#![no_main]

use libfuzzer_sys::fuzz_target;
use server::Network;

fuzz_target!(|text: &str| {
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(network.to_string().parse::<Network>().ok(), Some(network));
    }
});
