//! A certificate's subject as people write it (RFC 4514), in the order in which it stands there. Only certificates
//! that an authority has signed are read, and what cannot be read is left out.

/// Attributes that have a name; others are written as hex digits of their identifier.
const NAMES: [(&[u8], &str); 7] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// The subject, from its DER without the outer tag; empty if there is nothing in it.
pub fn subject(der: &[u8]) -> String {
    let mut written = Vec::new();
    let mut sets = der;
    while let Some((SET, mut pairs)) = next(&mut sets) {
        while let Some((SEQUENCE, mut pair)) = next(&mut pairs) {
            if let (Some((OBJECT_IDENTIFIER, key)), Some((_, value))) = (next(&mut pair), next(&mut pair)) {
                written.push(format!("{}={}", name(key), escaped(value)));
            }
        }
    }
    written.join(",")
}

fn name(key: &[u8]) -> String {
    let known = NAMES.iter().find(|(bytes, _)| *bytes == key);
    known.map_or_else(|| hex::encode(key), |(_, name)| (*name).to_owned())
}

/// Two values never look the same: what separates is escaped, and what is no text is written as hex digits.
fn escaped(value: &[u8]) -> String {
    let Some(text) = std::str::from_utf8(value).ok().filter(|text| !text.chars().any(char::is_control))
    else {
        return format!("#{}", hex::encode(value));
    };
    let mut escaped = String::new();
    for (index, c) in text.chars().enumerate() {
        if matches!(c, ',' | '+' | '=' | '"' | '\\' | '<' | '>' | ';') || index == 0 && c == '#' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The next value of DER: its tag and its content.
fn next<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..=0x7f => (short, rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((*tag, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        if length < 0x80 {
            [&[tag, length][..], content].concat()
        } else {
            [&[tag, 0x81, length][..], content].concat()
        }
    }

    fn pair(key: &[u8], value: &[u8]) -> Vec<u8> {
        let both = [tagged(OBJECT_IDENTIFIER, key), tagged(12, value)].concat();
        tagged(SET, &tagged(SEQUENCE, &both))
    }

    #[test]
    fn subject_is_written_in_order_with_what_separates_escaped() {
        let organisation = pair(&[0x55, 4, 10], b"a,CN=b");
        let der = [organisation, pair(&[0x55, 4, 3], b"c"), pair(&[0x2a, 3], "dü".as_bytes())].concat();
        assert_eq!(subject(&der), "O=a\\,CN\\=b,CN=c,2a03=dü");
        assert_eq!(subject(&pair(&[0x55, 4, 3], &[0xff, 0])), "CN=#ff00");
        assert_eq!(subject(&pair(&[0x55, 4, 3], b"#ff00")), "CN=\\#ff00");
        assert_eq!(subject(&pair(&[0x55, 4, 3], &[b'x'; 100])), format!("CN={}", "x".repeat(100)));
    }

    #[test]
    fn what_breaks_off_is_left_out() {
        let der = pair(&[0x55, 4, 3], b"name");
        for end in 0..der.len() {
            assert_eq!(subject(&der[..end]), "", "{end} bytes");
        }
        assert_eq!(subject(&[SET, 0x84, 0xff, 0xff, 0xff, 0xff]), "");
    }
}
