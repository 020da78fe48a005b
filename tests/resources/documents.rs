//! Finds the manifests that README.md, docs/ and examples/ show.

use std::fs;
use std::path::{Path, PathBuf};

/// First line of a YAML text that is no Kubernetes resource, such as a supervisor's configuration.
const NO_RESOURCE: &str = "# not a resource";

/// A YAML text that we show to people.
pub struct Shown {
    /// File and line, for people.
    pub place: String,
    /// The YAML.
    pub text: String,
}

/// What was found.
#[derive(Default)]
pub struct Found {
    /// The manifests.
    pub manifests: Vec<Shown>,
    /// How many texts say that they are no resource.
    pub others: usize,
}

/// All YAML that the project in this folder shows: the fenced blocks of its Markdown, and the files of examples/.
pub fn find(root: &Path) -> Found {
    let mut files = vec![root.join("README.md")];
    files.extend(walk(&root.join("docs")));
    files.extend(walk(&root.join("examples")));
    let mut found = Found::default();
    for path in files.iter().filter(|path| path.exists()) {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let example = name.starts_with("examples");
        let text = || fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("md") => blocks(&name, &text()).into_iter().for_each(|shown| found.add(shown)),
            Some("yaml" | "yml") if example => found.add(Shown { place: name.clone(), text: text() }),
            _ => {}
        }
    }
    found
}

impl Found {
    fn add(&mut self, shown: Shown) {
        if shown.text.trim_start().starts_with(NO_RESOURCE) {
            self.others += 1;
        } else {
            self.manifests.push(shown);
        }
    }
}

/// All files below a folder, in order of name; none if it is not there.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// The fenced YAML blocks of a Markdown text. A block in a list is indented as its fence is.
pub fn blocks(file: &str, markdown: &str) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some((fence, language)) = fence(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let block = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != fence);
        let text = block.map(|line| line.get(indent..).unwrap_or_default()).collect::<Vec<_>>().join("\n");
        if matches!(language, "yaml" | "yml") {
            shown.push(Shown { place: format!("{file}:{}", number + 1), text });
        }
    }
    shown
}

/// The fence that a line opens, and the language that it names.
fn fence(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let ticks = line.len() - line.trim_start_matches('`').len();
    let (fence, rest) = line.split_at(ticks);
    (ticks >= 3).then(|| (fence, rest.split_whitespace().next().unwrap_or_default()))
}

/// The namespaces that a manifest names.
pub fn namespaces(manifest: &str) -> impl Iterator<Item = &str> {
    let values = manifest.lines().filter_map(|line| line.trim().strip_prefix("namespace:"));
    values.map(|value| value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']))
}
