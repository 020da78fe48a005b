//! A certificate's subject as people write it (RFC 4514). Only certificates that an authority has signed are read.

use sha2::{Digest, Sha256};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{DecodeValue, Header, Length, Reader, SliceReader, Tag};
use x509_cert::name::Name;

/// The subject, from its DER without the outer tag; empty if there is nothing in it, or it cannot be read.
///
/// Two subjects are written alike only if they say the same, in whatever types of text. So a text that does not read
/// back as what it was made of gets the digest of the DER behind it, after a `;`, which stands in no other text without
/// a `\` in front.
pub fn subject(der: &[u8]) -> String {
    let Some(name) = read(der).filter(|name| !name.is_empty()) else { return String::new() };
    let text = name.to_string();
    let reads_back = text.parse().is_ok_and(|again: Name| parts(&again) == parts(&name));
    if reads_back { text } else { format!("{text};sha256={}", hex::encode(Sha256::digest(der))) }
}

fn read(der: &[u8]) -> Option<Name> {
    let header = Header::new(Tag::Sequence, Length::try_from(der.len()).ok()?);
    let mut reader = SliceReader::new(der).ok()?;
    let name = Name::decode_value(&mut reader, header).ok()?;
    reader.is_finished().then_some(name)
}

/// What a name says: attributes and their values, in the sets in which they stand.
fn parts(name: &Name) -> Vec<Vec<(ObjectIdentifier, &[u8])>> {
    name.iter_rdn().map(|set| set.iter().map(|pair| (pair.oid, pair.value.value())).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const BITS: u8 = 0x03;
    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content.to_vec()].concat()
    }

    fn pair(key: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        tagged(SEQUENCE, &[tagged(OBJECT_IDENTIFIER, key), tagged(tag, value)].concat())
    }

    fn set(pairs: &[Vec<u8>]) -> Vec<u8> {
        tagged(SET, &pairs.concat())
    }

    fn one(key: &[u8], value: &[u8]) -> Vec<u8> {
        set(&[pair(key, UTF8, value)])
    }

    #[test]
    fn subject_is_written_as_the_standard_says() {
        for (der, expected) in [
            ([one(O, b"Acme, Inc."), one(CN, "dü".as_bytes())].concat(), "CN=dü,O=Acme\\, Inc."),
            (one(CN, b"#ff"), "CN=\\#ff"),
            (one(CN, &[b'x'; 100]), &*format!("CN={}", "x".repeat(100))),
            (one(&[0x2a, 3], b"x"), "1.2.3=#0c0178"),
            (set(&[pair(CN, UTF8, b"a"), pair(O, UTF8, b"b")]), "CN=a+O=b"),
            (Vec::new(), ""),
        ] {
            assert_eq!(subject(&der), expected);
        }
    }

    #[test]
    fn type_of_a_text_makes_no_other_subject() {
        assert_eq!(subject(&set(&[pair(CN, PRINTABLE, b"a")])), subject(&one(CN, b"a")));
    }

    #[test]
    fn different_subjects_are_written_differently() {
        let values: [&[u8]; 18] = [
            b"",
            b" ",
            b"a",
            b"a ",
            b"a,O=b",
            b"a\\,O=b",
            b"a+O=b",
            b"a;O=b",
            b"a\\",
            b"a\\\\",
            b"a\\\\,",
            b"#0c0161",
            b"\\61",
            b"a=b",
            b"\r",
            b"\\0d",
            b"\"a\"",
            b"a;sha256=00",
        ];
        let mut subjects: Vec<Vec<u8>> = values.iter().map(|value| one(CN, value)).collect();
        subjects.extend(values.iter().map(|value| [one(O, b"b"), one(CN, value)].concat()));
        subjects.extend(values.iter().map(|value| [one(CN, value), one(O, b"b")].concat()));
        subjects.extend(values.iter().map(|value| set(&[pair(CN, UTF8, value), pair(O, UTF8, b"b")])));
        subjects.extend(values.iter().map(|value| set(&[pair(CN, BITS, &[&[0], *value].concat())])));
        let mut written = HashMap::new();
        for der in subjects {
            let text = subject(&der);
            assert_ne!(text, "", "{der:02x?} cannot be read");
            assert_eq!(written.insert(text.clone(), der.clone()), None, "{text} is also {der:02x?}");
        }
    }

    #[test]
    fn attributes_for_which_the_library_has_one_name_are_told_apart() {
        // 1.3.6.1.5.5.7.6 and 1.2.840.113549.1.9.16.3, which are both id-alg.
        let first = subject(&one(&[0x2b, 6, 1, 5, 5, 7, 6], b"x"));
        let second = subject(&one(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 3], b"x"));
        assert_ne!(first, second);
        assert!([&first, &second].iter().all(|text| text.starts_with("ID-ALG=x")), "{first} {second}");
    }

    #[test]
    fn what_cannot_be_read_as_a_whole_is_nobody() {
        let der = [one(O, b"organisation"), one(CN, b"name")].concat();
        for end in (0..der.len()).filter(|end| *end != one(O, b"organisation").len()) {
            assert_eq!(subject(&der[..end]), "", "{end} bytes");
        }
        assert_eq!(subject(&[SET, 0x84, 0xff, 0xff, 0xff, 0xff]), "");
        assert_eq!(subject(&[&der[..], &[0]].concat()), "");
    }
}
