//! A name is kept as it came, or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Name;

fuzz_target!(|text: &str| {
    if let Ok(name) = Name::new(text) {
        assert_eq!(name.as_str(), text);
    }
});
