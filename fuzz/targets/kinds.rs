//! Every kind finds the links of any bytes, or refuses them; it never panics.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for kind in reapi::kinds() {
        let _ = kind.links(bytes);
    }
});
