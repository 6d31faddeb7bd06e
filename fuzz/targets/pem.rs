//! Certificates and keys of any text are read or refused; they never panic. The text serves as all three files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use server::{Material, Pem, Tls};

fuzz_target!(|text: &str| {
    let pem = || Pem::Text { name: "fuzz".into(), text: text.to_owned() };
    let _ = Tls::open(Material { certificate: pem(), key: Some(pem()), clients: Some(pem()) });
});
