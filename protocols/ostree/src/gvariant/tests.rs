use proptest::prelude::*;

use super::*;

fn of(text: &str) -> Type {
    text.parse().unwrap()
}

#[test]
fn the_hello_is_what_the_old_client_sends() {
    // Byte by byte from the specification of the push protocol.
    let hello = [
        0x6d, 0x6f, 0x64, 0x65, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x69, 0x05, 0, 0x72, 0x65, 0x66, 0x73, 0, 0, 0, 0, 0, 0x61,
        0x7b, 0x73, 0x73, 0x7d, 0x05, 0x0f, 0x1f,
    ];
    let entries = as_dictionary(&hello).unwrap();
    assert_eq!(entries.iter().map(|(key, ..)| *key).collect::<Vec<_>>(), ["mode", "refs"]);
    assert_eq!(entries[0].2, [0; 4]);
    assert_eq!((entries[1].1.clone(), entries[1].2), (of("a{ss}"), &[][..]));
}

#[test]
fn an_empty_tree_is_one_byte() {
    let tree = of("(a(say)a(sayay))");
    let empty: [&[u8]; 2] = [&[], &[]];
    assert_eq!(join(&tree, &empty), [0]);
    assert!(check(&tree, &[0]).is_ok() && check(&tree, &[]).is_err() && check(&tree, &[1]).is_err());
}

#[test]
fn examples_of_the_specification() {
    // GVariant specification 1.0, section 3: `('foo', -1)`, `("foo", "bar")` as an array, a nested structure.
    assert_eq!(join(&of("(si)"), &[text("foo"), (-1_i32).to_le_bytes().to_vec()]), b"foo\0\xff\xff\xff\xff\x04");
    assert_eq!(
        join(&of("as"), &[text("i"), text("can"), text("has"), text("strings?")]),
        b"i\0can\0has\0strings?\0\x02\x06\x0a\x13"
    );
    let inner = join(&of("(ys)"), &[vec![b'i'], text("can")]);
    let list = join(&of("as"), &[text("has"), text("strings?")]);
    assert_eq!(join(&of("((ys)as)"), &[inner, list]), b"ican\0has\0strings?\0\x04\x0d\x05");
    assert_eq!(join(&of("(yy)"), &[[0x70], [0x80]]), [0x70, 0x80]);
    assert_eq!(join(&of("(iy)"), &[vec![0x60, 0, 0, 0], vec![0x70]]), [0x60, 0, 0, 0, 0x70, 0, 0, 0]);
    assert_eq!(join(&of("ms"), &[text("hello world")]), b"hello world\0\0");
}

#[test]
fn what_is_not_normal_is_refused() {
    let of = of("(sas)");
    let good = join(&of, &[text("a"), join(&Type::array(Type::Text), &[text("b"), text("c")])]);
    assert!(check(&of, &good).is_ok());
    for at in 0..good.len() {
        let mut shorter = good.clone();
        shorter.remove(at);
        assert!(check(&of, &shorter).is_err() || shorter.len() < good.len() - 1, "without byte {at}");
    }
    assert!(check(&of, &[&good[..], &[0]].concat()).is_err());
    // Wider offsets than needed.
    assert!(check(&Type::array(Type::Text), b"a\0\x02").is_ok());
    assert!(check(&Type::array(Type::Text), b"a\0\x02\0").is_err());
    // Padding that is not zero, a bool that is neither, a text without its end.
    assert!(check(&"(yu)".parse().unwrap(), &[1, 0, 0, 9, 0, 0, 0, 0]).is_err());
    assert!(
        check(&Type::Bool, &[2]).is_err() && check(&Type::Text, b"a").is_err() && check(&Type::Text, b"a\0\0").is_err()
    );
}

#[test]
fn depth_is_bounded() {
    assert!("a".repeat(100).parse::<Type>().is_err());
    let mut value = vec![0];
    let mut kind = Type::Y;
    for _ in 0..100 {
        value = variant(&kind.to_string(), &value);
        kind = Type::Variant;
    }
    assert!(check(&Type::Variant, &value).is_err());
}

fn any_type() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        Just(Type::Y),
        Just(Type::Number(2)),
        Just(Type::U),
        Just(Type::T),
        Just(Type::Bool),
        Just(Type::Text),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Type::array),
            inner.clone().prop_map(|inner| Type::Maybe(Box::new(inner))),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Type::Tuple),
            inner.prop_map(|value| Type::entry(Type::Text, value)),
        ]
    })
}

/// Some value of a type, of what the seed gives.
fn value(of: &Type, seed: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let mut next = || seed.next().unwrap_or(0);
    match of {
        Type::Number(size) => (0..*size).map(|_| next()).collect(),
        Type::Bool => vec![next() & 1],
        Type::Text => text(&"x".repeat(usize::from(next()) * usize::from(next() & 3))),
        Type::Array(inner) => {
            let parts: Vec<_> = (0..next() % 5).map(|_| value(inner, seed)).collect();
            join(of, &parts)
        }
        Type::Maybe(inner) => {
            let parts: Vec<_> = (0..next() % 2).map(|_| value(inner, seed)).collect();
            join(of, &parts)
        }
        Type::Tuple(members) => {
            let parts: Vec<_> = members.iter().map(|member| value(member, seed)).collect();
            join(of, &parts)
        }
        Type::Entry(pair) => {
            let parts: Vec<_> = pair.iter().map(|member| value(member, seed)).collect();
            join(of, &parts)
        }
        Type::Path | Type::Signature | Type::Variant => unreachable!("not made here"),
    }
}

proptest! {
    #[test]
    fn what_is_joined_is_normal_and_splits_into_the_same(of in any_type(), seed in proptest::collection::vec(any::<u8>(), 200)) {
        let bytes = value(&of, &mut seed.into_iter());
        prop_assert!(check(&of, &bytes).is_ok());
        prop_assert_eq!(of.to_string().parse::<Type>().ok(), Some(of.clone()));
        if let Ok(parts) = split(&of, &bytes) {
            prop_assert_eq!(join(&of, &parts), bytes);
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(of in any_type(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if check(&of, &bytes).is_ok() && let Ok(parts) = split(&of, &bytes) {
            prop_assert_eq!(join(&of, &parts), bytes);
        }
    }
}
