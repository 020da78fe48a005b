//! On whose authority an agent speaks: what its credential says, as opposed to what the agent says of itself.

use super::Attributes;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The holder of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The namespace that its agents belong to.
    pub namespace: Arc<str>,
    /// Who it is, in a text that holds no secret; empty where nobody has to prove anything.
    pub identity: Arc<str>,
    /// The attributes that the credential gives its agents. They override what an agent says of itself.
    pub verified: Attributes,
    /// By which of several tokens it speaks. They are one holder's all the same.
    pub token: Option<TokenName>,
    mark: Option<PrincipalMark>,
}

/// Where a token stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName {
    /// The Secret's name.
    pub secret: Arc<str>,
    /// The data key in it.
    pub key: Arc<str>,
}

/// Stands for an identity in an agent's record and in slices: the first 8 bytes of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalMark([u8; 8]);

impl Principal {
    /// The holder of a credential of this namespace.
    pub fn new(namespace: &str, identity: &str, verified: Attributes) -> Self {
        let digest: [u8; 32] = Sha256::digest(identity).into();
        let mark = digest.first_chunk().copied().map(PrincipalMark);
        Self { namespace: namespace.into(), identity: identity.into(), verified, token: None, mark }
    }

    /// The same, as it speaks by this token.
    #[must_use]
    pub fn by(&self, token: TokenName) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    /// Whoever comes, where nobody has to prove anything. It binds no uid, so that agents keep theirs when they are
    /// given credentials.
    pub fn anybody(namespace: &str) -> Self {
        let verified = Attributes::default();
        Self { namespace: namespace.into(), identity: "".into(), verified, token: None, mark: None }
    }

    /// The holder of whom only the mark is known, from an earlier run.
    pub fn remembered(mark: PrincipalMark) -> Self {
        Self { mark: Some(mark), ..Self::anybody("") }
    }

    /// What an agent that it speaks for is bound to; nothing if it binds none.
    pub fn mark(&self) -> Option<PrincipalMark> {
        self.mark
    }

    /// Whether it may speak for an agent that is bound to `mark`.
    pub fn may_speak_for(&self, mark: Option<PrincipalMark>) -> bool {
        self.mark.is_none() || mark.is_none() || self.mark == mark
    }
}

impl PrincipalMark {
    /// 16 lower-case hex digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The mark written as 16 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(identity: &str) -> Principal {
        Principal::new("ns", identity, Attributes::default())
    }

    #[test]
    fn principal_speaks_for_its_own_agents_and_those_that_are_bound_to_nobody() {
        let (first, second, anybody) = (principal("first"), principal("second"), Principal::anybody("ns"));
        for (speaker, bound, expected) in [
            (&first, first.mark(), true),
            (&first, second.mark(), false),
            (&first, None, true),
            (&anybody, second.mark(), true),
            (&anybody, None, true),
        ] {
            assert_eq!(speaker.may_speak_for(bound), expected, "{speaker:?} for {bound:?}");
        }
    }

    #[test]
    fn mark_reads_back_from_its_digits() {
        let mark = principal("first").mark().expect("a mark");
        assert_eq!(PrincipalMark::from_hex(&mark.to_hex()), Some(mark));
        assert_eq!(PrincipalMark::from_hex("0g"), None);
    }
}
