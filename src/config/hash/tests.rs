use super::{ConfigHash, Form, HashKey, HashKeyError, ParseHashError, content_hash};
use crate::config::ConfigFile;

const HEX: &str = "87b8e591cc53504a5bc935744db72fe2266d388b2faf63eaf2ad5589f27944c4";

fn key() -> HashKey {
    let bytes: Vec<u8> = (0..32).collect();
    HashKey::try_from(bytes.as_slice()).unwrap_or_else(|error| panic!("{error}"))
}

fn files() -> Vec<ConfigFile> {
    vec![
        ConfigFile::new("collector.yaml", "text/yaml", *b"receivers:\n  nop:\n"),
        ConfigFile::new("", "", *b"\x00\xff"),
        ConfigFile::new("größe.yaml", "", *b""),
    ]
}

fn hash_of(name: &str, content_type: &str, body: &str) -> ConfigHash {
    content_hash(&key(), &[ConfigFile::new(name, content_type, body.as_bytes())])
}

/// Computed apart from this code, with Python's `hmac`. These vectors can never change: hashes are
/// stored in revisions and reported by agents, and another hash for the same content would roll
/// every fleet out anew.
#[test]
fn content_hash_stays_as_it_was_frozen() {
    let empty = "d38b42096d80f45f826b44a9d5607de72496a415d3f4a1a8c88e3bb9da8dc1cb";
    assert_eq!(content_hash(&key(), &[]).to_string(), empty);
    assert_eq!(content_hash(&key(), &files()).to_string(), HEX);
}

#[test]
fn content_hash_is_the_same_in_any_order_of_files() {
    let mut reordered = files();
    for _ in 0..3 {
        reordered.rotate_left(1);
        assert_eq!(content_hash(&key(), &reordered).to_string(), HEX);
    }
    reordered.swap(0, 1);
    assert_eq!(content_hash(&key(), &reordered).to_string(), HEX);
}

#[test]
fn content_hash_changes_when_a_byte_moves_between_parts() {
    let variants = [
        hash_of("ab", "c", "d"),
        hash_of("a", "bc", "d"),
        hash_of("a", "b", "cd"),
        hash_of("abc", "", "d"),
        hash_of("", "abc", "d"),
        hash_of("", "", "abcd"),
        hash_of("abcd", "", ""),
    ];
    for (index, one) in variants.iter().enumerate() {
        for other in &variants[index + 1..] {
            assert_ne!(one, other);
        }
    }
}

#[test]
fn content_hash_changes_when_a_file_is_split_in_two() {
    let one = [ConfigFile::new("a", "", *b"xy")];
    let two = [ConfigFile::new("a", "", *b"x"), ConfigFile::new("b", "", *b"y")];
    assert_ne!(content_hash(&key(), &one), content_hash(&key(), &two));
}

#[test]
fn content_hash_changes_with_the_key() {
    let other = HashKey::try_from([7; 32].as_slice()).unwrap_or_else(|error| panic!("{error}"));
    assert_ne!(content_hash(&key(), &files()), content_hash(&other, &files()));
}

#[test]
fn hash_key_is_refused_unless_it_has_32_bytes() {
    for length in [0, 31, 33, 64] {
        let refused = HashKey::try_from(vec![1; length].as_slice()).err();
        assert_eq!(refused, Some(HashKeyError { found: length }));
    }
}

#[test]
fn hash_text_reads_back_to_the_same_hash() {
    let hash: ConfigHash = HEX.parse().unwrap();
    assert_eq!(hash.to_string(), HEX);
    assert_eq!(format!("{hash:?}"), HEX);
}

#[test]
fn hash_text_is_refused_unless_it_is_64_lower_case_hex_digits() {
    let longer = format!("{HEX}00");
    let upper = HEX.to_uppercase();
    let foreign = HEX.replace('8', "g");
    for text in ["", &HEX[1..], &HEX[2..], &longer, &upper, &foreign] {
        assert_eq!(text.parse::<ConfigHash>(), Err(ParseHashError), "{text}");
    }
}

#[test]
fn hash_is_known_on_the_wire_with_and_without_the_counter_byte() {
    let hash: ConfigHash = HEX.parse().unwrap();
    assert_eq!(hash.to_wire(Form::Plain), hash.as_bytes());
    assert_eq!(ConfigHash::from_wire(hash.as_bytes()), Some((hash, Form::Plain)));
    for counter in [0, 1, 255] {
        let sent = hash.to_wire(Form::Correction(counter));
        assert_eq!((&sent[..32], &sent[32..]), (&hash.as_bytes()[..], &[counter][..]));
        assert_eq!(ConfigHash::from_wire(&sent), Some((hash, Form::Correction(counter))));
    }
}

#[test]
fn each_form_differs_from_the_one_before_in_its_hash_and_in_its_padding() {
    let hash: ConfigHash = HEX.parse().unwrap();
    let mut form = Form::Plain;
    for _ in 0..600 {
        let next = form.next();
        assert_ne!(hash.to_wire(form), hash.to_wire(next), "{form:?}");
        assert_ne!(form.is_padded(), next.is_padded(), "{form:?}");
        form = next;
    }
}

#[test]
fn reported_hash_is_foreign_when_it_has_another_length() {
    for length in [0, 1, 31, 34, 64] {
        assert_eq!(ConfigHash::from_wire(&vec![0; length]), None, "{length}");
    }
}

#[test]
fn hash_is_a_hex_string_in_json() {
    let hash: ConfigHash = HEX.parse().unwrap();
    let text = serde_json::to_string(&hash).unwrap();
    assert_eq!(text, format!("\"{HEX}\""));
    assert_eq!(serde_json::from_str::<ConfigHash>(&text).unwrap(), hash);
    assert!(serde_json::from_str::<ConfigHash>("\"00\"").is_err());
}
