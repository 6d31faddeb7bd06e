//! Any text is keys and refused lines, never a panic, and as many as it has lines that say something.

#![no_main]

use libfuzzer_sys::fuzz_target;
use server::ssh::AuthorizedKeys;

fuzz_target!(|text: &str| {
    let (keys, refused) = AuthorizedKeys::count(text);
    assert!(keys + refused <= text.lines().count());
});
