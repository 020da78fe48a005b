//! What the project's pages show, so that tests run what people copy.

use std::path::Path;

/// The fenced block of a page in docs/ that begins with this line.
///
/// # Panics
/// When there is not exactly one.
pub fn block(page: &str, first_line: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = std::fs::read_to_string(&path).expect(page);
    let fenced = text.split("\n```").skip(1).step_by(2);
    let blocks = fenced.filter_map(|block| Some(block.split_once('\n')?.1));
    let found: Vec<&str> = blocks.filter(|block| block.lines().next() == Some(first_line)).collect();
    assert_eq!(found.len(), 1, "blocks of {page} that begin with {first_line:?}");
    format!("{}\n", found[0])
}

/// The text with addresses, paths and the like replaced.
///
/// # Panics
/// When one of them is not in it: then the page and the test have drifted apart.
pub fn replaced(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to)
    })
}
