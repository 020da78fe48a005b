//! How names chosen by users are shown in error texts.

/// The characters of one name that are shown. Component ids are far shorter; what is longer was
/// hardly meant as a name.
const SHOWN: usize = 80;

/// The name with control characters escaped, cut after [`SHOWN`] characters.
pub(super) fn brief(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN).flat_map(escaped).collect();
    if name.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    let escape = character.is_control();
    let plain = (!escape).then_some(character);
    let code = escape.then(|| character.escape_default());
    plain.into_iter().chain(code.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::{SHOWN, brief};

    #[test]
    fn name_is_shown_as_it_is_when_short_and_printable() {
        assert_eq!(brief("otlp/größe $x"), "otlp/größe $x");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(brief("a\nb\u{1b}"), "a\\nb\\u{1b}");
    }

    #[test]
    fn name_is_cut_when_longer_than_the_limit() {
        assert_eq!(brief(&"ü".repeat(SHOWN + 1)), "ü".repeat(SHOWN) + "…");
        assert_eq!(brief(&"ü".repeat(SHOWN)), "ü".repeat(SHOWN));
    }
}
