//! GVariants, objects, their kinds and headers, names of refs: any bytes are taken or refused; and what is taken as a
//! variant in normal form is what its parts make.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ostree::gvariant::{self, Type};
use ostree::object::{self, Header, Sort};

fuzz_target!(|bytes: &[u8]| {
    for sort in [Sort::Commit, Sort::Dirtree, Sort::Dirmeta] {
        let _ = object::check(sort, bytes);
    }
    for kind in ostree::kinds() {
        let _ = kind.links(bytes);
    }
    let _ = gvariant::as_dictionary(bytes);
    if let Ok((size, header)) = Header::read_filez(bytes) {
        assert_eq!(&header.filez(size)[object::PREFIX..].len(), &bytes.len());
        assert!(Header::read_canonical(&header.canonical()[object::PREFIX..]).is_ok());
    }
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = ostree::refs::check(text);
        let _ = text.parse::<object::ObjectName>();
        // A type, a line, and a value of it.
        if let Some((of, value)) = text.split_once('\n')
            && let Ok(of) = of.parse::<Type>()
            && gvariant::check(&of, value.as_bytes()).is_ok()
            && let Ok(parts) = gvariant::split(&of, value.as_bytes())
        {
            assert_eq!(gvariant::join(&of, &parts), value.as_bytes());
        }
    }
});
