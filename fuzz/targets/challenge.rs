//! Any header is challenges or none, each with a scheme; what is understood is understood again when it is written in
//! the usual way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use upstream_oci::challenges;

fuzz_target!(|bytes: &[u8]| {
    for found in challenges(bytes.split(|byte| *byte == b'\n')) {
        assert!(!found.scheme.is_empty());
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let parameters: Vec<_> =
            found.parameters.iter().map(|(name, value)| format!("{name}=\"{}\"", quote(value))).collect();
        let written = format!("{} {}", found.scheme, parameters.join(", "));
        // Beyond the bounds, less is understood.
        if written.len() < 4096 {
            assert_eq!(challenges([written.as_bytes()]), [found]);
        }
    }
});
