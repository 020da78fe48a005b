//! Agents' text is untrusted: what is kept of it is bounded and fit to be shown.

/// Makes agents' text fit for status and logs: cut to `limit` bytes at a character, control characters replaced.
pub fn clean(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character_and_loses_control_characters() {
        assert_eq!(clean("a\nb\u{7}c", 100), "a b c");
        assert_eq!(clean("ééé", 5), "éé");
    }
}
