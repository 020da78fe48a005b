//! Whether every enumeration that is read from an object takes a value of a later version for what it is: not known.

use super::source::{Source, Token};

/// Notations and not values: what they cannot read the API server does not take, in any version.
const NOTATIONS: [(&str, &str); 1] = [("src/api/share.rs", "Written")];

/// The enumerations of a file that fail on a value that they do not know.
pub fn closed(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    look(&source.tokens(), &mut found);
    found.retain(|name| !NOTATIONS.contains(&(source.path.as_str(), name.as_str())));
    found
}

fn look(tokens: &[Token], found: &mut Vec<String>) {
    let mut reads = false;
    for (index, token) in tokens.iter().enumerate() {
        match (token, tokens.get(index + 1), tokens.get(index + 2)) {
            (Token::Punct('#'), Some(Token::Group(attribute)), _) => {
                reads |= is(attribute, "derive", "Deserialize");
            }
            (Token::Name(keyword), Some(Token::Name(name)), Some(Token::Group(variants)))
                if keyword == "enum" && reads =>
            {
                if !has_other(variants) {
                    found.push(name.clone());
                }
                reads = false;
            }
            (Token::Name(keyword), ..) if ["struct", "fn", "impl", "enum"].contains(&keyword.as_str()) => {
                reads = false;
            }
            (Token::Group(inside), ..) => look(inside, found),
            _ => {}
        }
    }
}

/// `#[serde(other)]` before one of the variants.
fn has_other(variants: &[Token]) -> bool {
    variants.iter().any(|token| matches!(token, Token::Group(attribute) if is(attribute, "serde", "other")))
}

/// Whether an attribute is of this name and has this among its arguments.
fn is(attribute: &[Token], name: &str, argument: &str) -> bool {
    let argument = Token::Name(argument.to_owned());
    matches!(attribute, [Token::Name(found), Token::Group(inside)] if found == name && inside.contains(&argument))
}
