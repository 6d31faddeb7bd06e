use model::Digest;
use sha2::{Digest as _, Sha256};

use super::*;

fn sha(bytes: &[u8]) -> String {
    Digest::new(Sha256::digest(bytes).into()).to_string()
}

#[test]
fn known_objects_have_their_known_checksums() {
    let dirmeta = [&[0; 8][..], &[0, 0, 0x41, 0xed]].concat();
    assert!(check(Sort::Dirmeta, &dirmeta).is_ok());
    assert_eq!(sha(&dirmeta), "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488");
    assert!(check(Sort::Dirtree, &[0]).is_ok());
    assert_eq!(sha(&[0]), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

#[test]
fn headers_have_the_documented_sizes() {
    let header = Header { uid: 0, gid: 0, mode: 0o100_644, target: String::new(), xattrs: Vec::new() };
    let (canonical, filez) = (header.canonical(), header.filez(5));
    assert_eq!((canonical[3], canonical.len(), canonical[25]), (18, 26, 0x11));
    assert_eq!((filez[3], filez.len(), filez[33]), (26, 34, 0x19));
    assert_eq!(Header::read_canonical(&canonical[8..]).ok(), Some(header.clone()));
    assert_eq!(Header::read_filez(&filez[8..]).ok(), Some((5, header)));
}

#[test]
fn what_cannot_be_a_file_is_refused() {
    let of = Type::Tuple(vec![Type::U, Type::U, Type::U, Type::U, Type::Text, xattrs_type()]);
    let pair = Type::Tuple(vec![Type::bytes(), Type::bytes()]);
    let xattr = |name: &[u8]| gvariant::join(&pair, &[name, b"value"]);
    let header = |mode: u32, rdev: u32, target: &str, names: &[&[u8]]| {
        let numbers = [0, 0, mode, rdev].map(|number: u32| number.to_be_bytes().to_vec());
        let xattrs: Vec<_> = names.iter().map(|name| xattr(name)).collect();
        let xattrs = gvariant::join(&xattrs_type(), &xattrs);
        let rest = [gvariant::text(target), xattrs];
        Header::read_canonical(&gvariant::join(&of, &[&numbers[..], &rest[..]].concat()))
    };
    assert!(header(0o100_644, 0, "", &[b"user.a\0", b"user.b\0"]).is_ok());
    assert!(header(0o120_777, 0, "target", &[]).is_ok());
    for bad in [
        header(0o040_755, 0, "", &[]),
        header(0o060_644, 0, "", &[]),
        header(0o644, 0, "", &[]),
        header(0o100_644, 1, "", &[]),
        header(0o100_644, 0, "target", &[]),
        header(0o120_777, 0, "", &[]),
        header(0o100_644, 0, "", &[b"user.b\0", b"user.a\0"]),
        header(0o100_644, 0, "", &[b"user.a\0", b"user.a\0"]),
        header(0o100_644, 0, "", &[b"user.a"]),
        header(0o100_644, 0, "", &[b"\0"]),
    ] {
        assert!(bad.is_err());
    }
}

#[test]
fn directories_are_in_order_and_have_names_that_can_be() {
    let file = Type::Tuple(vec![Type::Text, Type::bytes()]);
    let directory = Type::Tuple(vec![Type::Text, Type::bytes(), Type::bytes()]);
    let make = |files: &[&str], directories: &[&str]| {
        let sum = || vec![7; 32];
        let files: Vec<_> = files.iter().map(|name| gvariant::join(&file, &[gvariant::text(name), sum()])).collect();
        let directories: Vec<_> =
            directories.iter().map(|name| gvariant::join(&directory, &[gvariant::text(name), sum(), sum()])).collect();
        let parts = [
            gvariant::join(&Type::array(file.clone()), &files),
            gvariant::join(&Type::array(directory.clone()), &directories),
        ];
        let of = Type::Tuple(vec![Type::array(file.clone()), Type::array(directory.clone())]);
        Dirtree::read(&gvariant::join(&of, &parts))
    };
    assert!(make(&["a", "b"], &["c", "d"]).is_ok_and(|tree| tree.files.len() == 2 && tree.directories.len() == 2));
    for (files, directories) in [
        (&["b", "a"][..], &[][..]),
        (&["a", "a"], &[]),
        (&["a"], &["a"]),
        (&[".."], &[]),
        (&["a/b"], &[]),
        (&[""], &[]),
    ] {
        assert!(make(files, directories).is_err(), "{files:?} {directories:?}");
    }
}

#[test]
fn names_of_objects() {
    let hex = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    let name: ObjectName = format!("{hex}.filez").parse().unwrap();
    assert_eq!(name.path(), format!("6e/{}.filez", &hex[2..]));
    for bad in ["hello.txt", "../x.commit", &format!("{hex}.file"), &format!("{}.commit", hex.to_uppercase()), hex] {
        assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
    }
}
