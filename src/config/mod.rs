//! The collector configuration as data: parse it, merge it as an agent does, check it, hash it.
//!
//! Everything here is a pure function over bytes. The module knows no Kubernetes, no socket, no
//! runtime and no clock, and it uses nothing else of this crate.
//!
//! **Invariant: no content in text.** Configuration bodies hold credentials, so the types that
//! carry content ([`ConfigFile`], [`Value`], [`ParsedFile`], [`Merged`], [`Desired`], [`HashKey`])
//! have no
//! `Debug`, and no error text holds a leaf value: only file names, keys, component ids, kinds and
//! positions. Guarded by `types_that_hold_content_cannot_be_printed` here and by
//! `no_leaf_value_shows_up_in_an_error` in `check::tests::hostile`.
//!
//! | file | concern |
//! | --- | --- |
//! | `file` | one named file as it is delivered |
//! | `hash` | the identity of a content |
//! | `value`, `decode`, `parse`, `fault` | YAML to data, as the Collector reads it, within limits |
//! | `merge` | several files to one configuration, as the supervisor does |
//! | `inventory` | the component types that a configuration needs, and those of a build |
//! | `id` | the names of components and pipelines |
//! | `digest` | a configuration as eight bytes |
//! | `ignore` | the places that do not count in a comparison |
//! | `compare`, `desired` | what an agent is to run beside what it reports as effective |
//! | `padding` | a file that makes an offer differ and means nothing |
//! | `mask` | the texts of a secret file, to be masked elsewhere |
//! | `check` | what would certainly fail on every Collector, found before anything is sent |

mod brief;
mod check;
mod compare;
mod decode;
mod desired;
mod digest;
mod fault;
mod file;
mod hash;
mod id;
mod ignore;
mod inventory;
mod mask;
mod merge;
mod padding;
mod parse;
mod value;

pub use check::{CheckError, MAX_PROBLEMS, Problem, Reason, Role, check};
pub use compare::{Departure, Difference, differences};
pub use desired::{Compared, Desired, Unread};
pub use digest::Digest;
pub use fault::{Fault, FileError, MAX_DEPTH, MAX_NODES, MAX_TEXT, ParseError, Position};
pub use file::ConfigFile;
pub use hash::{ConfigHash, Form, HashKey, HashKeyError, ParseHashError, content_hash};
pub use id::{ComponentId, InvalidId, PipelineId};
pub use ignore::{Ignore, InvalidPattern, PATH_SEPARATOR};
pub use inventory::Inventory;
pub use mask::secret_texts;
pub use merge::{Merged, ParsedFile, merge};
pub use padding::padding;
pub use parse::{parse, parse_files};
pub use value::{Kind, Text, Value, has_expansion};

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::{ConfigFile, Desired, HashKey, Merged, ParsedFile, Value};

    /// Implemented once for what has no `Debug` and twice, thus ambiguously, for what has.
    trait Unprintable<How> {
        fn check() {}
    }

    impl<T> Unprintable<()> for T {}
    impl<T: Debug> Unprintable<bool> for T {}

    /// It is the compiler that fails here.
    #[test]
    fn types_that_hold_content_cannot_be_printed() {
        <ConfigFile as Unprintable<_>>::check();
        <Value as Unprintable<_>>::check();
        <ParsedFile as Unprintable<_>>::check();
        <Merged as Unprintable<_>>::check();
        <Desired as Unprintable<_>>::check();
        <HashKey as Unprintable<_>>::check();
    }
}
