//! Files that are followed: looked at as time passes, and taken in when their content is another one.

use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Which content of some files was looked at last, good or bad. What stands for it is kept and not the content itself,
/// which may hold keys.
#[derive(Default)]
pub struct Seen(Option<[u8; 32]>);

impl Seen {
    /// The content that the files have by now, if it is another one than was looked at last. Files are replaced one after
    /// the other, and may be looked at while they are written: a content counts once it is `read` twice.
    pub fn news<C: PartialEq + Hash>(&mut self, read: impl Fn() -> Option<C>) -> Option<C> {
        let content = read()?;
        if read()? != content {
            return None;
        }
        self.note(&content).then_some(content)
    }

    /// Takes in that this content was looked at; true if it is another one than before.
    pub fn note(&mut self, content: &impl Hash) -> bool {
        let mut digest = Digesting(Sha256::new());
        content.hash(&mut digest);
        let digest = Some(digest.0.finalize().into());
        std::mem::replace(&mut self.0, digest) != digest
    }
}

/// Looks for ever.
pub async fn follow(every: Duration, mut look: impl FnMut()) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        look();
    }
}

/// Feeds a digest with all that a value consists of.
struct Digesting(Sha256);

impl Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Too short to tell contents apart by, so nobody asks for it.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn content_is_taken_when_it_is_another_one_and_is_there_as_a_whole() {
        let mut seen = Seen::default();
        assert!(seen.note(&"first"));
        for (name, reads, expected) in [
            ("as before", [Some("first"), Some("first")], None),
            ("away", [None, Some("second")], None),
            ("away in between", [Some("second"), None], None),
            ("being written", [Some("sec"), Some("second")], None),
            ("written", [Some("second"), Some("second")], Some("second")),
            ("taken before", [Some("second"), Some("second")], None),
            ("put back", [Some("first"), Some("first")], Some("first")),
        ] {
            let read = Cell::new(0);
            let taken = seen.news(|| reads[read.replace(read.get() + 1)]);
            assert_eq!(taken, expected, "{name}");
        }
    }

    #[test]
    fn contents_of_several_files_are_told_apart_by_where_each_ends() {
        let mut seen = Seen::default();
        assert!(seen.note(&[Some(b"ab".to_vec()), Some(b"c".to_vec())]));
        assert!(seen.note(&[Some(b"a".to_vec()), Some(b"bc".to_vec())]));
        assert!(seen.note(&[Some(b"abc".to_vec()), None]));
        assert!(!seen.note(&[Some(b"abc".to_vec()), None]));
    }
}
