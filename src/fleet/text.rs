//! Agents' text is untrusted: what is kept of it is bounded and fit to be shown.

/// Makes agents' text fit for status and logs: cut to `limit` bytes at a character, control characters replaced.
pub fn clean(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Programs that quote only how a text begins show at least so many bytes of it: the YAML reader of Collectors seven.
const MIN_CUT_BYTES: usize = 4;

/// The text with each of the `secrets` in it replaced, in about `limit` bytes. Every secret that begins within
/// these is replaced as a whole, also one that goes on beyond, and however long the text is, its end costs nothing.
/// So is the beginning of a secret that somebody has cut: before an ellipsis, or at the end of the text.
pub fn mask(text: &str, secrets: &[&str], limit: usize) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next()
        && masked.len() < limit
    {
        let secret = secrets.iter().filter_map(|secret| told(rest, secret)).max();
        if secret.is_some() {
            masked.push_str("[REDACTED]");
        } else {
            masked.push(next);
        }
        rest = &rest[secret.unwrap_or(next.len_utf8())..];
    }
    masked
}

/// How many bytes of a secret a text begins with, if that tells of it.
fn told(text: &str, secret: &str) -> Option<usize> {
    let same = text.chars().zip(secret.chars()).take_while(|(one, other)| one == other);
    let length = same.map(|(c, _)| c.len_utf8()).sum();
    let rest = &text[length..];
    let cut = || rest.is_empty() || rest.starts_with("...") || rest.starts_with('…');
    (length > 0 && (length == secret.len() || length >= MIN_CUT_BYTES && cut())).then_some(length)
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
            ("`my-secr...` is bad", &["my-secret"], "`[REDACTED]...` is bad"),
            ("my-secr… is bad", &["my-secret"], "[REDACTED]… is bad"),
            ("cut at my-secr", &["my-secret"], "cut at [REDACTED]"),
            ("my-secr is bad, my...", &["my-secret"], "my-secr is bad, my..."),
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
