//! Rust files as tokens, and the paths in them. Tokens and not syntax trees, because paths stand in macros too; and
//! not text, because comments and strings speak of what code must not use.

use std::fs;
use std::path::{Path, PathBuf};
use syn::buffer::Cursor;
use syn::parse::{Parse, ParseStream};

/// A file of the project.
#[derive(Clone)]
pub struct Source {
    /// Relative to the project's folder.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// A token, without what no rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name or a keyword.
    Name(String),
    /// One character.
    Punct(char),
    /// What stands in brackets of any kind.
    Group(Vec<Token>),
    /// A literal or a lifetime.
    Other,
}

/// A path such as `crate::api::Body`, a single name included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The names in it.
    pub names: Vec<String>,
    /// How many inline modules it stands in.
    pub depth: usize,
    /// Whether it stands in a module `tests`.
    pub test: bool,
}

impl Source {
    /// The files below these folders with one of these endings, in order of name.
    pub fn all(folders: &[&str], endings: &[&str]) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = folders.iter().flat_map(|folder| walk(&root.join(folder)));
        let wanted =
            |path: &PathBuf| path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending));
        let read = |path: PathBuf| Self {
            path: path.strip_prefix(root).expect("below the root").display().to_string(),
            text: fs::read_to_string(&path).expect("text"),
        };
        files.filter(wanted).map(read).collect()
    }

    /// Whether a program wrote it.
    pub fn is_generated(&self) -> bool {
        self.text.lines().next().is_some_and(|line| line.contains("do not edit"))
    }

    /// Whether it holds nothing but the tests of the module beside it.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// Its tokens.
    pub fn tokens(&self) -> Vec<Token> {
        tokens(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    /// The paths in it.
    pub fn mentions(&self) -> Vec<Mention> {
        let mut found = Vec::new();
        collect(&self.tokens(), 0, self.is_test(), &mut found);
        found
    }

    /// The path of the module: `src/opamp/session.rs` is `[opamp, session]`.
    pub fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|name| *name != "mod").collect()
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let skipped = |path: &PathBuf| path.ends_with("node_modules") || path.ends_with("__pycache__");
    let below = |path: PathBuf| if path.is_dir() { walk(&path) } else { vec![path] };
    paths.into_iter().filter(|path| !skipped(path)).flat_map(below).collect()
}

/// The tokens of a Rust text.
pub fn tokens(text: &str) -> syn::Result<Vec<Token>> {
    struct Tokens(Vec<Token>);
    impl Parse for Tokens {
        fn parse(input: ParseStream) -> syn::Result<Self> {
            input.step(|cursor| {
                let (tokens, end) = read(*cursor);
                Ok((Self(tokens), end))
            })
        }
    }
    syn::parse_str::<Tokens>(text).map(|tokens| tokens.0)
}

fn read(mut cursor: Cursor<'_>) -> (Vec<Token>, Cursor<'_>) {
    let mut tokens = Vec::new();
    while !cursor.eof() {
        let (token, next) = if let Some((name, next)) = cursor.ident() {
            (Token::Name(name.to_string()), next)
        } else if let Some((punct, next)) = cursor.punct() {
            (Token::Punct(punct.as_char()), next)
        } else if let Some((inside, _, _, next)) = cursor.any_group() {
            (Token::Group(read(inside).0), next)
        } else if let Some((_, next)) = cursor.lifetime() {
            (Token::Other, next)
        } else {
            let (_, next) = cursor.literal().expect("a token");
            (Token::Other, next)
        };
        tokens.push(token);
        cursor = next;
    }
    (tokens, cursor)
}

fn collect(tokens: &[Token], depth: usize, test: bool, found: &mut Vec<Mention>) {
    let mut rest = tokens;
    while let Some(first) = rest.first() {
        rest = match (first, rest) {
            (Token::Name(keyword), [_, Token::Name(name), Token::Group(inside), after @ ..])
                if keyword == "mod" =>
            {
                collect(inside, depth + 1, test || name == "tests", found);
                after
            }
            (Token::Name(name), _) => {
                let mut paths = Vec::new();
                let after = path(vec![name.clone()], &rest[1..], &mut paths);
                found.extend(paths.into_iter().map(|names| Mention { names, depth, test }));
                after
            }
            (Token::Group(inside), _) => {
                collect(inside, depth, test, found);
                &rest[1..]
            }
            _ => &rest[1..],
        };
    }
}

/// Reads what follows the names of a path, a group of a `use` included, and returns what stands behind it.
fn path<'a>(mut names: Vec<String>, mut rest: &'a [Token], found: &mut Vec<Vec<String>>) -> &'a [Token] {
    while let [Token::Punct(':'), Token::Punct(':'), next, after @ ..] = rest {
        match next {
            Token::Name(name) => names.push(name.clone()),
            Token::Group(inside) => {
                for item in inside.split(|token| *token == Token::Punct(',')) {
                    if let [Token::Name(name), after @ ..] = item {
                        path([&names[..], std::slice::from_ref(name)].concat(), after, found);
                    }
                }
                return after;
            }
            _ => break,
        }
        rest = after;
    }
    found.push(names);
    rest
}
