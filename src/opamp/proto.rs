//! The wire types of `OpAMP` v0.20, made from `proto/` by `make proto`.
//!
//! Types that may hold a configuration body or a credential have no `Debug`, so that none of them
//! can reach a log by accident. Capabilities and flags are bit sets in `u64`; the enums name their
//! bits, as in `AgentCapabilities::AcceptsRemoteConfig as u64`.

#[allow(clippy::doc_markdown, reason = "its documentation is the text of the .proto files")]
#[rustfmt::skip]
mod generated;

pub use generated::*;

#[cfg(test)]
mod tests {
    use std::{fmt::Debug, marker::PhantomData};

    use super::*;

    struct Probe<T>(PhantomData<T>);

    /// Found only where the constant of the same name below is not, that is, without `Debug`.
    trait NotPrintable {
        const PRINTABLE: bool = false;
    }

    impl<T> NotPrintable for Probe<T> {}

    impl<T: Debug> Probe<T> {
        const PRINTABLE: bool = true;
    }

    #[test]
    fn types_with_bodies_or_credentials_have_no_debug() {
        let printable = [
            ("AgentConfigObject", Probe::<AgentConfigObject>::PRINTABLE),
            ("CustomMessage", Probe::<CustomMessage>::PRINTABLE),
            ("Header", Probe::<Header>::PRINTABLE),
            ("OtherConnectionSettings", Probe::<OtherConnectionSettings>::PRINTABLE),
            ("ProxyConnectionSettings", Probe::<ProxyConnectionSettings>::PRINTABLE),
            ("TlsCertificate", Probe::<TlsCertificate>::PRINTABLE),
            ("AgentToServer", Probe::<AgentToServer>::PRINTABLE),
            ("ServerToAgent", Probe::<ServerToAgent>::PRINTABLE),
        ];
        let wrong: Vec<_> =
            printable.iter().filter(|(_, printable)| *printable).map(|(name, _)| name).collect();
        assert!(wrong.is_empty(), "these can be printed: {wrong:?}");
        const { assert!(Probe::<RetryInfo>::PRINTABLE, "the probe must find a Debug where there is one") };
    }
}
