//! Names that stand in manifests and on the wire to the API server: group, labels, annotations.

/// The API group of all kinds.
pub const GROUP: &str = "fleet.opamp.dev";
/// The served version of all kinds.
pub const VERSION: &str = "v1alpha1";
/// The number of the CRDs' schema. Raised whenever a field is added, because an older CRD prunes new status
/// fields in silence; a program that finds a lower number is not ready.
pub const SCHEMA_VERSION: u32 = 8;
/// Annotation on each CRD that carries [`SCHEMA_VERSION`].
pub const SCHEMA_ANNOTATION: &str = "fleet.opamp.dev/schema";
/// Label that lets a Secret be referenced by a rollout; its value is `true`.
pub const DELIVER_LABEL: &str = "fleet.opamp.dev/deliver";
/// Label on revisions and their Secrets: the rollout they belong to.
pub const ROLLOUT_LABEL: &str = "fleet.opamp.dev/rollout";
/// Label on a revision that is proven; its value is `true`. It repeats `status.state`, since backups drop status.
pub const PROVEN_LABEL: &str = "fleet.opamp.dev/proven";
/// Label on an [`AgentSlice`](super::AgentSlice): the identity of the replica that writes it.
pub const REPLICA_LABEL: &str = "fleet.opamp.dev/replica";
/// Annotation on a replica's Lease: the namespaces in which its slices are not written, separated by commas. Of these the
/// renewal promises nothing.
pub const BEHIND_ANNOTATION: &str = "fleet.opamp.dev/behind";
/// Annotation on a replica's Lease: the resource version of the slice that it wrote last. Of who has not seen the slices
/// up to it the renewal promises nothing yet.
pub const WRITTEN_ANNOTATION: &str = "fleet.opamp.dev/written";
/// Label on an [`AgentSlice`](super::AgentSlice) that the leader writes for all replicas; its value is
/// [`EXCEPTIONS`].
pub const CONTENT_LABEL: &str = "fleet.opamp.dev/content";
/// The value of [`CONTENT_LABEL`]: agents that are to be treated otherwise than by the group's assignment alone.
pub const EXCEPTIONS: &str = "exceptions";
/// Annotation that ends a phase's wait, soak or approval: `[REVISION/][full-]TOKEN`, handled once.
pub const PROMOTE_ANNOTATION: &str = "fleet.opamp.dev/promote";
/// Annotation that ends an attempt as too many failures would: `[REVISION/]TOKEN`, handled once.
pub const ABORT_ANNOTATION: &str = "fleet.opamp.dev/abort";
/// Annotation that tries a revision again that failed: `[REVISION/]TOKEN`, handled once.
pub const RETRY_ANNOTATION: &str = "fleet.opamp.dev/retry";
/// Annotation that goes back to an earlier revision: `[REVISION/]TOKEN`, handled once.
pub const UNDO_ANNOTATION: &str = "fleet.opamp.dev/undo";
/// Annotation on a group that has its agents started anew: `TOKEN`, handled once.
pub const RESTART_ANNOTATION: &str = "fleet.opamp.dev/restart";
/// Annotation that shows what new content would do and does not start it, while its value is `true`.
pub const DRY_RUN_ANNOTATION: &str = "fleet.opamp.dev/dry-run";
/// Annotation on a rollout: the user who changed its spec last, stamped by the API server (`policies/stamps.yaml`).
pub const CHANGED_BY_ANNOTATION: &str = "fleet.opamp.dev/changed-by";
/// Behind the annotation of a request, the name of the one that says who asked: the user, stamped by the API server.
pub const REQUESTED_BY_SUFFIX: &str = "-requested-by";
/// Label on Secrets that hold agents' credentials; its value is `true`. Others are not looked at.
pub const CREDENTIAL_LABEL: &str = "fleet.opamp.dev/credential";
/// The type of Secrets each of whose data keys is a token of agents.
pub const TOKEN_SECRET: &str = "fleet.opamp.dev/agent-token";
/// Annotation on such a Secret: the data key with the token that its agents are offered in place of theirs.
pub const OFFER_ANNOTATION: &str = "fleet.opamp.dev/offer";
/// The type of Secrets whose data key `ca.crt` has the certificates by which those of agents are verified.
pub const AUTHORITY_SECRET: &str = "fleet.opamp.dev/agent-ca";
/// In front of an attribute's key, the label on such a Secret that gives its agents the attribute.
pub const ATTRIBUTE_LABEL_PREFIX: &str = "attr.fleet.opamp.dev/";
/// Suffix of the Secret that keeps a revision's bodies which come from Secrets.
pub const REVISION_FILES_SUFFIX: &str = "-files";
/// Longest name of a rollout: revisions append `-NUMBER`, and their Secret `-files`, within 63 characters.
pub const MAX_ROLLOUT_NAME: usize = 52;
/// All bodies of a rollout together, in bytes.
pub const MAX_CONFIG_BYTES: usize = 256 * 1024;

/// Whether a text may stand in names and labels of objects (RFC 1123 label).
pub fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
