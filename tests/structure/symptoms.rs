//! The symptoms of docs/troubleshooting.md are what people see: words of the program, the chart or the policies.

use super::pages::Page;
use super::source::Source;

const PAGE: &str = "docs/troubleshooting.md";
/// What others say.
const OF_OTHERS: [(&str, &str); 2] = [("Running", "kubectl"), ("exited unexpectedly", "the supervisor")];

#[test]
fn symptoms_are_words_of_the_program() {
    let mut sources = super::sources();
    sources.retain(|source| !source.is_test());
    sources.extend(Source::all(&["policies", "charts"], &["yaml", "tpl"]));
    let page = Page::read(PAGE);
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in page.rows().filter(|row| row[0] != "symptom") {
        for symptom in row[0].split('`').skip(1).step_by(2) {
            count += 1;
            let ours = sources.iter().any(|source| source.text.contains(symptom));
            if !ours && !OF_OTHERS.iter().any(|(words, _)| *words == symptom) {
                wrong.push(symptom.to_owned());
            }
        }
    }
    assert!(count > 50, "only {count} symptoms were found");
    assert!(wrong.is_empty(), "{PAGE} has symptoms that nobody tells: {wrong:#?}");
}
