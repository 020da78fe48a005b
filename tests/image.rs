//! The container image. No engine is needed: the Dockerfile's first stage is carried out in a folder, the program that
//! it makes serves from a root in which nothing else is, and the image that `make image` assembles without an engine
//! goes through a registry and comes back whole.

#[path = "image/dockerfile.rs"]
mod dockerfile;
mod support;

use dockerfile::{Dockerfile, bare, is_ignored, root, sources};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use support::control_plane;
use support::operator::{Operator, Options};
use support::process::{Ending, Guarded, free_port};
use support::{eventually, tool};

/// The folder in which the first stage is carried out: kept between runs, since it takes minutes to fill.
static STAGE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    fs::create_dir_all(&folder).expect("a folder");
    // The program is as the image's in all but how much the compiler thinks about it.
    Dockerfile::read().run_first_stage(&folder, &[("PROFILE", "dev")]);
    folder
});

/// The program that the first stage makes.
fn program() -> PathBuf {
    STAGE.join("out/opamp-operator")
}

#[test]
fn dockerfile_copies_what_is_there_and_names_a_base_by_its_version() {
    let file = Dockerfile::read();
    let [build, _] = &file.stages[..] else { panic!("{} stages", file.stages.len()) };
    for copy in build.all("COPY") {
        for source in sources(copy).0 {
            assert!(
                root().join(source).exists() && !is_ignored(source),
                "{source} does not reach the engine"
            );
        }
    }
    for ignored in
        ["target", ".git", ".tools", "tests", "README.md", "tools/build.sh", "charts/opamp-operator"]
    {
        assert!(is_ignored(ignored), "a change of {ignored} would build the image anew");
    }
    let tag = build.base.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
    assert!(
        tag.starts_with(|c: char| c.is_ascii_digit()) && tag.contains('.'),
        "{} is not pinned",
        build.base
    );
    let minimum = cargo("rust-version");
    assert!(version(tag) >= version(&minimum), "{} is older than Rust {minimum}", build.base);
}

#[test]
fn image_is_the_program_alone_run_by_the_charts_user() {
    let file = Dockerfile::read();
    let image = file.last();
    assert_eq!(image.base, "scratch");
    assert_eq!(image.only("ENTRYPOINT"), "[\"/opamp-operator\"]");
    let built = "--from=build /build/out/opamp-operator /opamp-operator";
    let authorities = "--from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt";
    assert_eq!(image.all("COPY"), [authorities, built]);
    assert!(file.stages[0].all("RUN").iter().any(|run| run.ends_with("program /build/out/opamp-operator")));
    let values = chart();
    let user = &values["podSecurityContext"];
    assert_eq!(image.only("USER"), format!("{}:{}", user["runAsUser"], user["runAsGroup"]));
    let ports = &values["ports"];
    assert_eq!(image.only("EXPOSE"), format!("{} {}", ports["opamp"], ports["admin"]));
}

#[test]
fn program_of_the_image_needs_nothing_and_lists_its_crates() {
    let program = program();
    let path = program.to_str().expect("UTF-8");
    let headers = printed(Command::new("readelf").args(["-lW", path]));
    assert!(headers.contains("LOAD") && !headers.contains("INTERP"), "it asks for an interpreter: {headers}");
    let needs = printed(Command::new("readelf").args(["-dW", path]));
    assert!(!needs.contains("NEEDED"), "it asks for libraries: {needs}");

    let section = STAGE.join("dep-v0");
    let dump = format!(".dep-v0={}", section.display());
    printed(Command::new("objcopy").args(["--dump-section", &dump, path, "/dev/null"]));
    let mut list = String::new();
    let packed = fs::read(section).expect("the list of crates");
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_string(&mut list).expect("zlib");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let packages = list["packages"].as_array().expect("packages");
    let mut names = BTreeSet::new();
    for package in packages {
        let (name, version) =
            (package["name"].as_str().expect("name"), package["version"].as_str().expect("version"));
        let locked = lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n"));
        assert!(locked, "{name} {version} is not in Cargo.lock");
        names.insert(name);
    }
    for name in ["opamp-operator", "kube", "rustls", "ring", "tokio"] {
        assert!(names.contains(name), "{name} is not in the list");
    }
    assert!(!names.contains("proptest"), "crates of tests are in the list");
}

#[test]
fn program_of_the_image_runs_where_nothing_else_is() {
    let folder = empty_root(&program());
    let inside = |args: &[&str]| printed(&mut in_root(folder.path(), args));
    assert_eq!(inside(&["--version"]).trim(), format!("opamp-operator {}", cargo("version")));
    assert!(inside(&["run", "--help"]).contains("--opamp-listen"));
    assert_eq!(inside(&["crds"]).matches("kind: CustomResourceDefinition\n").count(), 4);
}

/// It finds the API server by a name, speaks TLS with it, and lets an agent in.
#[tokio::test(flavor = "multi_thread")]
async fn program_of_the_image_serves_from_an_empty_root() {
    let plane = control_plane::shared().await;
    let folder = empty_root(&program());
    let inside = |path: &str| folder.path().join(path);
    fs::create_dir(inside("etc")).expect("a folder");
    fs::write(inside("etc/hosts"), "127.0.0.1 kubernetes.default.svc\n").expect("written");
    fs::copy(plane.dir().join("certs/apiserver.crt"), inside("ca.crt")).expect("copied");
    let kubeconfig = fs::read_to_string(&plane.operator).expect("a kubeconfig");
    let mut kubeconfig: Value = serde_json::from_str(&kubeconfig).expect("JSON");
    let cluster = &mut kubeconfig["clusters"][0]["cluster"];
    *cluster = serde_json::json!({
        "server": format!("https://kubernetes.default.svc:{}", plane.address().port()),
        "certificate-authority": "/ca.crt",
    });
    fs::write(inside("kubeconfig"), kubeconfig.to_string()).expect("written");

    let starter = folder.path().with_extension("sh");
    let command =
        format!("#!/bin/sh\nexec unshare {} /opamp-operator \"$@\"\n", flags(folder.path()).join(" "));
    fs::write(&starter, command).expect("written");
    fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).expect("a program");
    let log = plane.dir().join("operator-image.log");
    let options = Options {
        kubeconfig: Path::new("/kubeconfig"),
        namespace: "default",
        opamp: "127.0.0.2:0",
        time_scale: "5",
        log: &log,
    };
    let operator = Operator::launch(&starter, &options).await;
    operator.until_metrics(&["opamp_operator_leading 1"]).await;
    let mut fleet =
        support::fleet::Fleet::new(&operator.websocket(), "image", 77, std::time::Duration::from_secs(1));
    fleet.join(1, &opamp_operator::sim::Behaviour::Apply);
    fleet.are_connected().await;
    fs::remove_file(starter).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn image_made_without_an_engine_goes_through_a_registry_as_the_dockerfile_says() {
    let target = STAGE.join("target");
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("image.tar");
    let address = format!("127.0.0.1:{}", free_port());
    let arguments = ["registry", "serve", &format!("--address={address}")].map(str::to_owned);
    let _registry =
        Guarded::spawn(&tool("crane"), &arguments, &folder.path().join("registry.log"), Ending::Kill);
    let name = format!("{address}/fleet/opamp-operator");
    eventually("the registry to answer", async || crane(&["catalog", &address]).ok()).await;

    let mut make = bare(root().join("tools/image/image.sh").to_str().expect("UTF-8"));
    make.env("PATH", with_first(tool("crane").parent().expect("a folder")));
    make.envs([("IMAGE", name.as_str()), ("ENGINE", "none"), ("PUSH", "1"), ("PROFILE", "dev")]);
    make.env("CARGO_TARGET_DIR", &target).env("ARCHIVE", &archive);
    let said = printed(&mut make);
    let tagged = format!("{name}:{}", cargo("version"));
    assert!(said.contains("the image is built without them") && said.contains(&tagged), "{said}");

    crane(&["validate", "--tarball", archive.to_str().expect("UTF-8")])
        .expect("an archive for `docker load`");
    crane(&["validate", "--remote", &tagged]).expect("an image in the registry");
    let config: Value = serde_json::from_str(&crane(&["config", &tagged]).expect("a config")).expect("JSON");
    let file = Dockerfile::read();
    let said = |name: &str| file.last().only(name);
    assert_eq!(config["config"]["User"], said("USER"));
    assert_eq!(config["config"]["Entrypoint"].to_string(), said("ENTRYPOINT"));
    let ports = config["config"]["ExposedPorts"].as_object().expect("ports");
    let ports: Vec<&str> = ports.keys().map(|port| port.trim_end_matches("/tcp")).collect();
    assert_eq!(ports.join(" "), said("EXPOSE"));
    let labels = config["config"]["Labels"].as_object().expect("labels");
    for label in file.last().all("LABEL") {
        let (key, value) = label.split_once('=').expect("a value");
        let value = value.trim_matches('"');
        let found = labels[key].as_str().expect(key);
        assert!(if value.starts_with('$') { found != "unknown" } else { found == value }, "{key}: {found}");
    }
    assert_eq!(labels["org.opencontainers.image.version"], cargo("version"));
    assert_eq!(labels.len(), file.last().all("LABEL").len());

    let exported = folder.path().join("exported.tar");
    crane(&["export", &tagged, exported.to_str().expect("UTF-8")]).expect("its files");
    let files = folder.path().join("files");
    fs::create_dir(&files).expect("a folder");
    printed(Command::new("tar").arg("-xf").arg(&exported).arg("-C").arg(&files));
    let mut top: Vec<_> =
        fs::read_dir(&files).expect("files").map(|file| file.expect("a file").file_name()).collect();
    top.sort();
    assert_eq!(top, ["etc", "opamp-operator"]);
    let mode = fs::metadata(files.join("opamp-operator")).expect("the program").mode() & 0o777;
    assert_eq!(mode, 0o755, "the chart's user may run it");
    let mode =
        fs::metadata(files.join("etc/ssl/certs/ca-certificates.crt")).expect("authorities").mode() & 0o777;
    assert_eq!(mode, 0o644, "and read the authorities");
    assert!(printed(&mut in_root(&files, &["--version"])).starts_with("opamp-operator "));
}

#[test]
fn make_image_takes_the_engine_that_answers_and_says_when_none_does() {
    let version = cargo("version");
    let built = "--build-arg PROFILE=release";
    let single = format!("--manifest opamp-operator:{version} .");
    let both = ("PLATFORMS", "linux/amd64,linux/arm64");
    let named = ("IMAGE", "registry.example.org/opamp:1");
    says(&["docker", "podman"], &[], &["docker buildx build --platform linux/amd64 ", built, "--load ."]);
    says(&["docker"], &[("PUSH", "1"), both], &["--platform linux/amd64,linux/arm64 ", "--push ."]);
    says(&["docker"], &[both], &["--output=type=oci,dest="]);
    says(&["docker"], &[named], &["--tag registry.example.org/opamp:1 "]);
    says(
        &["podman", "buildah"],
        &[("PUSH", "1")],
        &["podman build --platform", "podman manifest push --all"],
    );
    says(&["buildah"], &[], &["buildah build --platform", built, &single]);
    says(&["docker"], &[("ENGINE", "kaniko")], &["there are docker, podman, buildah and none"]);
    let none = "neither docker with buildx nor podman nor buildah answers";
    says(&[], &[("PLATFORMS", "windows/amd64")], &[none, "windows/amd64 is no platform of this image"]);
}

/// Asserts what `make image` says and does where only these engines answer.
#[track_caller]
fn says(engines: &[&str], variables: &[(&str, &str)], words: &[&str]) {
    let said = make_image_with(engines, variables);
    assert!(words.iter().all(|word| said.contains(word)), "{engines:?} {variables:?}: {said}");
}

/// What `make image` prints, and the engines' command lines, where only these engines answer.
fn make_image_with(engines: &[&str], variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    for engine in ["docker", "podman", "buildah"] {
        let answer =
            if engines.contains(&engine) { format!("echo {engine} \"$@\"") } else { "exit 1".to_owned() };
        let program = folder.path().join(engine);
        fs::write(&program, format!("#!/bin/sh\n{answer}\n")).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    }
    let mut make = bare(root().join("tools/image/image.sh").to_str().expect("UTF-8"));
    make.env("PATH", with_first(folder.path())).env("CARGO_TARGET_DIR", folder.path());
    make.env("PLATFORMS", "linux/amd64").envs(variables.iter().copied());
    let Output { stdout, stderr, .. } = make.output().expect("it runs");
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

/// PATH with this folder before all others.
fn with_first(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").expect("PATH"))
}

/// A folder with the program in it, and nothing else.
fn empty_root(program: &Path) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("image-").tempdir_in("/tmp").expect("a folder");
    fs::copy(program, folder.path().join("opamp-operator")).expect("copied");
    folder
}

/// The program with this folder as its root, as the image's user: by a user namespace, for which nobody has to be root.
fn in_root(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(flags(folder)).arg("/opamp-operator").args(args);
    command
}

fn flags(folder: &Path) -> [String; 4] {
    let (user, group) = ("--map-user=65532".to_owned(), "--map-group=65532".to_owned());
    [user, group, format!("--root={}", folder.display()), "--wd=/".to_owned()]
}

fn crane(args: &[&str]) -> Result<String, String> {
    let output = Command::new(tool("crane")).args(args).output().expect("crane runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// A text of Cargo.toml.
fn cargo(key: &str) -> String {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let value = manifest.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).expect(key);
    value.trim_matches('"').to_owned()
}

fn version(text: &str) -> Vec<u32> {
    text.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

fn chart() -> Value {
    let values = root().join("charts/opamp-operator/values.yaml");
    serde_saphyr::from_str(&fs::read_to_string(values).expect("values")).expect("YAML")
}
