//! The texts of a file that holds secrets, so that they can be found and masked where they must not stand.

use super::{ConfigFile, Value, parse};

/// Shorter texts are not masked: `true`, `otlp` or `5s` would blacken innocent words, and are no secrets.
const MIN_BYTES: usize = 6;

/// Every text in the file that may be a secret: the string leaves if it is YAML, else its lines. Longest first,
/// so that a text that contains another is masked whole.
pub fn secret_texts(file: &ConfigFile) -> Vec<Box<str>> {
    let mut texts = Vec::new();
    match parse(&file.body) {
        Ok(value) => collect(&value, &mut texts),
        Err(_) => {
            texts.extend(String::from_utf8_lossy(&file.body).lines().map(|line| line.trim().to_owned()));
        }
    }
    texts.retain(|text| text.len() >= MIN_BYTES);
    texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    texts.dedup();
    texts.into_iter().map(String::into_boxed_str).collect()
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.to_string()),
        Value::UInt(number) => texts.push(number.to_string()),
        Value::Int(number) => texts.push(number.to_string()),
        Value::List(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Map(entries) => entries.values().for_each(|value| collect(value, texts)),
        Value::Null | Value::Bool(_) | Value::Float(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Vec<String> {
        let file = ConfigFile::new("f", "", body.as_bytes());
        secret_texts(&file).into_iter().map(String::from).collect()
    }

    #[test]
    fn string_leaves_are_secret_and_keys_and_short_words_are_not() {
        let body = "exporters: {otlp: {headers: {authorization: 'Bearer abcdef', short: abc}, pin: 123456}}";
        assert_eq!(texts(body), ["Bearer abcdef", "123456"]);
    }

    #[test]
    fn longer_text_comes_before_one_that_it_contains() {
        assert_eq!(texts("[secret, my-secret, secret]"), ["my-secret", "secret"]);
    }

    #[test]
    fn lines_are_secret_where_the_file_is_no_yaml() {
        assert_eq!(texts("{ not yaml\n  password one\n"), ["password one", "{ not yaml"]);
    }
}
