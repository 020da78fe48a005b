//! Agents' text is untrusted: what is kept of it is bounded and fit to be shown.

/// Makes agents' text fit for status and logs: cut to `limit` bytes at a character, control characters replaced.
pub fn clean(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The text with each of the `secrets` in it replaced, in about `limit` bytes. Every secret that begins within
/// these is replaced as a whole, also one that goes on beyond, and however long the text is, its end costs nothing.
pub fn mask(text: &str, secrets: &[&str], limit: usize) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next()
        && masked.len() < limit
    {
        let here = secrets.iter().filter(|secret| rest.starts_with(**secret));
        let secret = here.map(|secret| secret.len()).max().filter(|length| *length > 0);
        if secret.is_some() {
            masked.push_str("[REDACTED]");
        } else {
            masked.push(next);
        }
        rest = &rest[secret.unwrap_or(next.len_utf8())..];
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        for (text, secrets, expected) in [
            ("key abcdef is bad", &["abcdef"][..], "key [REDACTED] is bad"),
            ("abcdefabcdef", &["abcdef"], "[REDACTED][REDACTED]"),
            ("a my-secret", &["secret", "my-secret"], "a [REDACTED]"),
            ("a my-secret", &["my-secret", "secret"], "a [REDACTED]"),
            ("secret-two", &["secret", "secret-two"], "[REDACTED]"),
            ("line one\nline two", &["one\nline"], "line [REDACTED] two"),
            ("é→é", &["→"], "é[REDACTED]é"),
            ("nothing", &["secret", ""], "nothing"),
            ("nothing", &[], "nothing"),
            ("", &["secret"], ""),
        ] {
            assert_eq!(mask(text, secrets, 100), expected, "{text}");
        }
    }

    #[test]
    fn secret_is_masked_whole_where_the_text_is_cut() {
        assert_eq!(mask("0123secret and more", &["secret"], 6), "0123[REDACTED]");
        assert_eq!(mask("0123456", &["secret"], 4), "0123");
    }

    #[test]
    fn text_is_cut_at_a_character_and_loses_control_characters() {
        assert_eq!(clean("a\nb\u{7}c", 100), "a b c");
        assert_eq!(clean("ééé", 5), "éé");
    }
}
