//! The Dockerfile as data, and its first stage carried out without an engine: what it copies into a folder of its own,
//! and what it runs there. Only the instructions that ours has are known.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the first stage.
const WORKDIR: &str = "/build";

/// A Dockerfile.
pub struct Dockerfile {
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// One stage.
pub struct Stage {
    /// The image that it begins with.
    pub base: String,
    /// Name and rest of each instruction.
    pub instructions: Vec<(String, String)>,
}

impl Dockerfile {
    /// Reads the project's.
    pub fn read() -> Self {
        let text = fs::read_to_string(root().join("Dockerfile")).expect("the Dockerfile");
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        let mut stages: Vec<Stage> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (name, rest) = line.split_once(' ').expect(line);
            if name == "FROM" {
                let base = rest.split_whitespace().find(|word| !word.starts_with("--")).expect(line);
                stages.push(Stage { base: base.to_owned(), instructions: Vec::new() });
            } else {
                let stage = stages.last_mut().expect("a stage");
                stage.instructions.push((name.to_owned(), rest.trim().to_owned()));
            }
        }
        Self { stages }
    }

    /// The stage that becomes the image.
    pub fn last(&self) -> &Stage {
        self.stages.last().expect("a stage")
    }

    /// Carries out the first stage in this folder, with these build arguments.
    ///
    /// # Panics
    /// When a command fails.
    pub fn run_first_stage(&self, folder: &Path, arguments: &[(&str, &str)]) {
        let mut environment: Vec<(String, String)> = Vec::new();
        for (name, rest) in &self.stages[0].instructions {
            match name.as_str() {
                "WORKDIR" => assert_eq!(rest, WORKDIR),
                "ARG" => {
                    let (key, default) =
                        rest.split_once('=').map_or((rest.as_str(), None), |(k, v)| (k, Some(v)));
                    let given = arguments.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
                    environment.extend(given.or(default).map(|value| (key.to_owned(), value.to_owned())));
                }
                "COPY" => copy(rest, folder),
                "RUN" => {
                    let command = rest.split(' ').skip_while(|word| word.starts_with("--"));
                    let command = command.collect::<Vec<_>>().join(" ");
                    run(
                        &command.replace(&format!(" {WORKDIR}/"), &format!(" {}/", folder.display())),
                        folder,
                        &environment,
                    );
                }
                _ => panic!("{name} is not known to this test"),
            }
        }
    }
}

impl Stage {
    /// The rest of the only instruction of this name.
    pub fn only(&self, name: &str) -> &str {
        let found = self.all(name);
        assert_eq!(found.len(), 1, "{name} stands once in the stage of {}", self.base);
        found[0]
    }

    /// The rest of each instruction of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.instructions.iter().filter(|(found, _)| found == name);
        named.map(|(_, rest)| rest.as_str()).collect()
    }
}

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a COPY without flags takes from the project's folder, and where it puts it.
pub fn sources(copy: &str) -> (Vec<&str>, &str) {
    let mut words: Vec<&str> = copy.split_whitespace().collect();
    let to = words.pop().expect("a place");
    (words, to)
}

/// Whether .dockerignore keeps this from the engine. The last line that speaks of it counts.
pub fn is_ignored(path: &str) -> bool {
    let text = fs::read_to_string(root().join(".dockerignore")).expect(".dockerignore");
    let mut ignored = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (pattern, keeps) = line.strip_prefix('!').map_or((line, false), |pattern| (pattern, true));
        assert!(pattern == "*" || !pattern.contains(['*', '?', '[']), "{line} is not known to this test");
        if pattern == "*" || path == pattern || path.starts_with(&format!("{pattern}/")) {
            ignored = !keeps;
        }
    }
    ignored
}

/// Copies as an engine does: a folder's contents, not the folder.
fn copy(copy: &str, folder: &Path) {
    let (from, to) = sources(copy);
    for source in from {
        assert!(!is_ignored(source), ".dockerignore keeps {source} from the engine");
        let path = root().join(source);
        let place: PathBuf = match path.file_name() {
            Some(name) if to.ends_with('/') && path.is_file() => folder.join(to).join(name),
            _ => folder.join(to),
        };
        fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        if place.is_dir() {
            fs::remove_dir_all(&place).expect("what an earlier run has left is removed");
        }
        // With the times of files, by which cargo knows what it has built.
        let copied = Command::new("cp").arg("-a").args([&path, &place]).status().expect("cp runs");
        assert!(copied.success(), "{source} cannot be copied");
    }
}

fn run(command: &str, folder: &Path, environment: &[(String, String)]) {
    let mut shell = bare("sh");
    shell.args(["-c", command]).current_dir(folder);
    for (key, value) in environment {
        shell.env(key, value);
    }
    let output = shell.output().expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {}", said.lines().last().unwrap_or_default());
}

/// A command without what cargo tells its tests, and without flags of this test's own build.
pub fn bare(program: &str) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let of_cargo = name.starts_with("CARGO_") && name != "CARGO_HOME";
        if of_cargo || ["RUSTFLAGS", "RUSTC_WRAPPER", "IMAGE", "PUSH", "ENGINE"].contains(&&*name) {
            command.env_remove(&key);
        }
    }
    command
}
