//! The texts of a file that holds secrets, so that they can be found and masked where they must not stand.

use super::{ConfigFile, Value, parse};

/// Shorter texts are not masked: `true`, `otlp` or `5s` would blacken innocent words, and are no secrets.
const MIN_BYTES: usize = 6;

/// Every text in the file that may be a secret: the string leaves if it is YAML, else its lines; each as it is, as
/// programs print it in quotes, and its lines and words. Longest first, so that a text that contains another is masked
/// whole.
pub fn secret_texts(file: &ConfigFile) -> Vec<Box<str>> {
    let mut texts = Vec::new();
    match parse(&file.body) {
        Ok(value) => collect(&value, &mut texts),
        Err(_) => {
            texts.extend(String::from_utf8_lossy(&file.body).lines().map(|line| line.trim().to_owned()));
        }
    }
    let shown: Vec<String> = texts.iter().flat_map(|text| shown(text)).collect();
    texts.extend(shown);
    texts.retain(|text| text.len() >= MIN_BYTES);
    texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    texts.dedup();
    texts.into_iter().map(String::into_boxed_str).collect()
}

/// How a text shows itself beside the way it is: a program may put it in quotes, or quote a line or a word of it.
fn shown(text: &str) -> impl Iterator<Item = String> {
    let parts = text.lines().map(str::trim).chain(text.split_whitespace()).map(str::to_owned);
    [text, text.trim_end()].map(escaped).into_iter().chain(parts)
}

/// The text as Go prints it in quotes, without them.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c => escaped.push(c),
        }
    }
    escaped
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
        assert_eq!(texts(body), ["Bearer abcdef", "123456", "Bearer", "abcdef"]);
    }

    #[test]
    fn longer_text_comes_before_one_that_it_contains() {
        assert_eq!(texts("[secret, my-secret, secret]"), ["my-secret", "secret"]);
    }

    #[test]
    fn lines_are_secret_where_the_file_is_no_yaml() {
        assert_eq!(texts("{ not yaml\n  password one\n"), ["password one", "{ not yaml", "password"]);
    }

    #[test]
    fn text_is_also_secret_as_programs_print_it_and_line_by_line() {
        let body = "key: |\n  first-line\n  a \"second\" one\n";
        let texts = texts(body);
        for form in [
            "first-line\na \"second\" one\n",
            "first-line\\na \\\"second\\\" one\\n",
            "first-line\\na \\\"second\\\" one",
            "first-line",
            "a \"second\" one",
            "\"second\"",
        ] {
            assert!(texts.iter().any(|text| text == form), "{form:?} in {texts:?}");
        }
    }
}
