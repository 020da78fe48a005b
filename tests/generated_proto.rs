//! The committed wire types are what the generator makes of `proto/` today.

use std::{env, error::Error, fs, path::Path};

use prost_build::{Config, Module};

const GENERATED: &str = "src/opamp/proto/generated.rs";

const HEADER: &str = "// Made from proto/ by `make proto`; do not edit.\n";

/// Fields that every agent is sent alike are `Bytes`, so that one copy of a revision serves all
/// sessions. The other byte fields are small and come from agents: as `Bytes` each would be a slice
/// that keeps the whole received message alive for as long as somebody keeps the field.
const SHARED_BYTES: [&str; 3] = [
    ".opamp.proto.v1.AgentConfigObject.body",
    ".opamp.proto.v1.AgentRemoteConfig.config_hash",
    ".opamp.proto.v1.ConnectionSettingsOffers.hash",
];

/// Messages that may hold a configuration body or a credential, and all that contain one of those.
/// The compiler rejects a container that is missing here; the messages without parts are guarded by
/// `types_with_bodies_or_credentials_have_no_debug`.
const NOT_PRINTABLE: [&str; 18] = [
    ".opamp.proto.v1.AgentConfigMap",
    ".opamp.proto.v1.AgentConfigObject",
    ".opamp.proto.v1.AgentRemoteConfig",
    ".opamp.proto.v1.AgentToServer",
    ".opamp.proto.v1.ConnectionSettingsOffers",
    ".opamp.proto.v1.CustomMessage",
    ".opamp.proto.v1.DownloadableFile",
    ".opamp.proto.v1.EffectiveConfig",
    ".opamp.proto.v1.Header",
    ".opamp.proto.v1.Headers",
    ".opamp.proto.v1.OpAMPConnectionSettings",
    ".opamp.proto.v1.OtherConnectionSettings",
    ".opamp.proto.v1.PackageAvailable",
    ".opamp.proto.v1.PackagesAvailable",
    ".opamp.proto.v1.ProxyConnectionSettings",
    ".opamp.proto.v1.ServerToAgent",
    ".opamp.proto.v1.TLSCertificate",
    ".opamp.proto.v1.TelemetryConnectionSettings",
];

/// With `UPDATE=1` it writes the file instead of comparing it. The test links the library, so a file
/// that does not compile has to be restored before it can be made anew.
#[test]
fn generated_proto_code_equals_its_source() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join(GENERATED);
    let made = generate(&root.join("proto"))?;
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&committed, made)?;
        return Ok(());
    }
    let equal = fs::read_to_string(&committed)? == made;
    assert!(equal, "{GENERATED} is not what proto/ makes: run `make proto` and commit the result");
    Ok(())
}

fn generate(include: &Path) -> Result<String, Box<dyn Error>> {
    let descriptors = protox::compile(["opamp/v1/anyvalue.proto", "opamp/v1/opamp.proto"], [include])?;
    let module = Module::from_protobuf_package_name("opamp.proto.v1");
    let requests = descriptors.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut modules = Config::new()
        // Ordered maps make the encoding of a message the same every time.
        .btree_map(["."])
        .bytes(SHARED_BYTES)
        .skip_debug(NOT_PRINTABLE)
        .generate(requests)?;
    let code = modules.remove(&module).ok_or("no code was generated")?;
    Ok(format!("{HEADER}{code}"))
}
