//! One thing that is wrong, where it stands, and what to do about it.

use std::fmt;

use crate::config::brief::brief;
use crate::config::{ComponentId, FileError, Kind, ParseError};

/// One thing that is wrong with a configuration.
///
/// Printed as `file "exporters.yaml": service::pipelines::traces::exporters: REASON`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file that says it, or the one to look at first if something is missing; `None` if
    /// several files could be meant.
    pub file: Option<String>,
    /// Where it stands in the merged configuration, in the Collector's notation: keys joined by
    /// `::`. Empty if the file as a whole is meant.
    pub path: String,
    /// What is wrong.
    pub reason: Reason,
}

/// What a component does in the place that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It brings data into a pipeline.
    Receiver,
    /// It works on the data of a pipeline.
    Processor,
    /// It takes data out of a pipeline.
    Exporter,
    /// It serves the Collector itself.
    Extension,
}

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The file is not readable as YAML.
    #[error(transparent)]
    Unreadable(#[from] ParseError),
    /// The file as a whole is not a mapping.
    #[error("the file is {found} instead of a mapping of sections; begin with a section, as in service:")]
    NoSections {
        /// What the file is.
        found: Kind,
    },
    /// A node is of another kind than the Collector takes there.
    #[error("this is {found}, but must be {wanted}; correct the value or its indentation")]
    WrongKind {
        /// What the Collector takes.
        wanted: Kind,
        /// What stands there.
        found: Kind,
    },
    /// Nothing would run.
    #[error("there is no pipeline; add one, such as traces with its receivers and exporters")]
    NoPipelines,
    /// The key of a pipeline is not a [`crate::config::PipelineId`].
    #[error(
        "this is no pipeline id; use traces, metrics, logs or profiles, with /name to tell several apart"
    )]
    PipelineId,
    /// The key of a component is not a [`ComponentId`].
    #[error("this is no component id; use a type or type/name, such as otlp/backend")]
    ComponentId,
    /// An element of a list of components is not a [`ComponentId`]. Its text is not shown, since
    /// it may be anything.
    #[error("element {position} is no component id; use a type or type/name, such as otlp/backend")]
    Element {
        /// Which element, counted from 1.
        position: usize,
    },
    /// A key without a value, which replaces what the supervisor put there.
    #[error(
        "without a value this takes away the extension by which a supervisor talks to its Collector, and nothing \
         would be applied; remove the key or write {instead}"
    )]
    WithoutSupervisor {
        /// What says nothing here.
        instead: &'static str,
    },
    /// A pipeline has nothing on one side.
    #[error("the pipeline has no {role}; name at least one")]
    Missing {
        /// What it lacks.
        role: Role,
    },
    /// A component is named but not defined.
    #[error("the {role} {id} is not defined; add it under {} or remove it here", role.sections())]
    Undefined {
        /// What it would do here.
        role: Role,
        /// The id that is named.
        id: ComponentId,
    },
    /// A pipeline names a processor twice.
    #[error("the processor {id} is named more than once; keep one")]
    Repeated {
        /// The processor.
        id: ComponentId,
    },
    /// A connector and another component have the same id.
    #[error("{id} is the id of a connector and of a {role}; rename one of them")]
    Ambiguous {
        /// The id that both have.
        id: ComponentId,
        /// What the other component is.
        role: Role,
    },
    /// A connector is used on one of its sides only.
    #[error("the connector {id} is used as {used} but nowhere as {missing}; add it to the {} of a pipeline or remove it here", missing.list())]
    OneSided {
        /// The connector.
        id: ComponentId,
        /// The side on which it is used.
        used: Role,
        /// The side on which it is not.
        missing: Role,
    },
}

impl Role {
    /// The list of a pipeline, and the section of the configuration, that hold such components.
    pub const fn list(self) -> &'static str {
        match self {
            Self::Receiver => "receivers",
            Self::Processor => "processors",
            Self::Exporter => "exporters",
            Self::Extension => "extensions",
        }
    }

    /// The sections that can define it: a connector receives and exports as well.
    const fn sections(self) -> &'static str {
        match self {
            Self::Receiver => "receivers or connectors",
            Self::Exporter => "exporters or connectors",
            Self::Processor | Self::Extension => self.list(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Receiver => "receiver",
            Self::Processor => "processor",
            Self::Exporter => "exporter",
            Self::Extension => "extension",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(formatter, "file \"{}\": ", brief(file))?;
        }
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        write!(formatter, "{}", self.reason)
    }
}

impl From<FileError> for Problem {
    fn from(FileError { file, error }: FileError) -> Self {
        Self { file: Some(file), path: String::new(), reason: Reason::Unreadable(error) }
    }
}
