//! The files that an agent has been given, and those that are in effect.

use crate::config::{ConfigFile, Value, merge, parse_files};
use crate::opamp::proto::{AgentConfigMap, AgentConfigObject};

/// An agent's files. No `Debug`: they may hold secrets.
#[derive(Clone, Default)]
pub struct Files {
    /// Those that it took last, whatever became of them.
    held: Option<AgentConfigMap>,
    /// Those that it applied last.
    applied: Option<AgentConfigMap>,
    /// What somebody has put in their place since.
    tampered: Option<AgentConfigMap>,
}

impl Files {
    /// What is in effect. Before the first configuration that is nothing.
    pub fn in_effect(&self) -> AgentConfigMap {
        self.tampered.as_ref().or(self.applied.as_ref()).cloned().unwrap_or_default()
    }

    /// Keeps what is about to be applied.
    pub fn take(&mut self, offered: Option<AgentConfigMap>) {
        self.held = offered;
    }

    /// Whether these come to the same as what was taken last: merged, as supervisors compare them.
    pub fn hold(&self, offered: &AgentConfigMap) -> bool {
        self.held.as_ref().is_some_and(|held| {
            held == offered
                || merged(held).zip(merged(offered)).is_some_and(|(held, offered)| held == offered)
        })
    }

    /// Puts in effect what was taken. Returns what somebody had tampered, which that ends.
    pub fn apply(&mut self) -> Option<AgentConfigMap> {
        self.applied.clone_from(&self.held);
        self.tampered.take()
    }

    /// Puts in effect anew what was applied before.
    pub fn go_back(&mut self) {
        self.held.clone_from(&self.applied);
        self.tampered = None;
    }

    /// Puts something else in effect.
    pub fn tamper(&mut self, files: AgentConfigMap) {
        self.tampered = Some(files);
    }
}

/// A configuration in one file, under the name that Collectors report it by.
pub fn in_one_file(text: String) -> AgentConfigMap {
    let file =
        AgentConfigObject { body: text.into(), content_type: "text/yaml".to_owned(), ..Default::default() };
    AgentConfigMap { config_map: [(String::new(), file)].into() }
}

/// The configuration that files come to; nothing if they are none.
fn merged(files: &AgentConfigMap) -> Option<Value> {
    let files = files.config_map.iter();
    let files: Vec<ConfigFile> =
        files.map(|(name, file)| ConfigFile::new(name, &*file.content_type, &file.body[..])).collect();
    Some(merge(parse_files(&files).ok()?).value().clone())
}
