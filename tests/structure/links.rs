//! The links of the project's pages: each leads to a file that is there, and to a heading that is on it.

use super::source::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Where pages are.
const FOLDERS: [&str; 8] = ["docs", "examples", "charts", "tools", "fuzz", "tests", "rules", "policies"];

#[test]
fn links_between_pages_lead_to_what_is_there() {
    let mut pages = Source::all(&FOLDERS, &["md"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    pages.push(Source { path: "README.md".into(), text: readme });
    let headings: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), anchors(&page.text))).collect();
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in &pages {
        for link in links(&page.text) {
            count += 1;
            let (path, anchor) =
                link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { page.path.clone() } else { joined(&page.path, path) };
            if !root.join(&target).exists() {
                wrong.push(format!("{}: {link} is not there", page.path));
            } else if let Some(anchor) = anchor
                && !headings.get(target.as_str()).is_some_and(|headings| headings.contains(anchor))
            {
                wrong.push(format!("{}: {link}: there is no such heading", page.path));
            }
        }
    }
    assert!(count > 100, "only {count} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The lines of a page outside fenced blocks.
fn prose(markdown: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    markdown.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Where the links of a page lead, other sites left out.
fn links(markdown: &str) -> Vec<&str> {
    let of_line = |line| {
        let parts: Vec<&str> = str::split(line, "](").skip(1).collect();
        parts.into_iter().filter_map(|part| Some(part.split_once(')')?.0))
    };
    prose(markdown).flat_map(of_line).filter(|link| !link.contains("://")).collect()
}

/// The names under which the headings of a page are reached, as GitHub makes them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in prose(markdown).filter(|line| line.starts_with('#')) {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut unique = name.clone();
        let mut number = 0;
        while !found.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}-{number}");
        }
    }
    found
}

/// A path as it is written on a page, from the project's folder.
fn joined(page: &str, path: &str) -> String {
    let mut whole = PathBuf::new();
    for part in Path::new(page).parent().expect("a folder").join(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole.display().to_string()
}

#[test]
fn links_and_headings_are_read_as_github_reads_them() {
    let page = "# One\n## Who changed it, and `who` may ask\n## One\n[a](b.md#c) [d](https://e) `f`\n\
                ```sh\n# not [a](link)\n```\n| [g](../h) | [i](#j) |\n";
    assert_eq!(links(page), ["b.md#c", "../h", "#j"]);
    let expected = ["one", "one-1", "who-changed-it-and-who-may-ask"];
    assert_eq!(anchors(page), expected.map(str::to_owned).into());
    assert_eq!(joined("docs/adr/a.md", "../b.md"), "docs/b.md");
    assert_eq!(joined("README.md", "docs/"), "docs");
}
