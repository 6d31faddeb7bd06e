//! A grant that is read, printed and read again is the same grant.

#![no_main]

use kernel::Grant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(grant) = text.parse::<Grant>() {
        assert_eq!(grant.to_string().parse::<Grant>().ok(), Some(grant));
    }
});
