//! A real nginx in front of operators.

use super::process::{Ending, Guarded};
use super::{eventually, tool};
use std::path::{Path, PathBuf};
use tokio::net::TcpStream;

/// Whose request, at which port, went where.
const ACCESS: &str = "$server_port $http_opamp_instance_uid $upstream_addr";
/// Paths that nginx insists on.
const SCRATCH: [&str; 5] = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/// A running nginx. It ends when this is dropped.
pub struct Nginx {
    process: Guarded,
    dir: PathBuf,
}

/// A request that nginx passed on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passed {
    /// The port that it came to.
    pub port: u16,
    /// The uid in its header, if it had one.
    pub uid: Option<String>,
    /// The address that it went to.
    pub upstream: String,
}

impl Nginx {
    /// Starts one with these parts of a configuration, for the context `http` and the main one, and waits until it
    /// listens on these ports of 127.0.0.1.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(dir: &Path, name: &str, http: &[String], main: &str, ports: &[u16]) -> Self {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join("nginx.conf"), configuration(&dir, http, main)).expect("written");
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let args = ["-p".to_owned(), path(&dir), "-c".to_owned(), path(&dir.join("nginx.conf"))];
        let process = Guarded::spawn(&tool("nginx"), &args, &dir.join("log"), Ending::Terminate);
        let mut nginx = Self { process, dir };
        for port in ports {
            eventually(format!("nginx to listen on port {port}"), async || {
                assert!(!nginx.process.has_ended(), "nginx ended: {}", nginx.process.output());
                TcpStream::connect(("127.0.0.1", *port)).await.ok().map(drop)
            })
            .await;
        }
        nginx
    }

    /// The requests that it has passed on and that have ended.
    pub fn passed(&self) -> Vec<Passed> {
        let log = std::fs::read_to_string(self.dir.join("access.log")).unwrap_or_default();
        log.lines().filter_map(passed).collect()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// A whole configuration around these parts. `user` means something to root only, who could not read the files else.
fn configuration(dir: &Path, http: &[String], main: &str) -> String {
    let d = dir.display();
    let scratch = SCRATCH.map(|path| format!("{path}_temp_path {d}/{path};")).join("\n");
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {d}/pid;\nerror_log stderr notice;\n\
         events {{ worker_connections 1024; }}\n{main}\n\
         http {{\nlog_format passed '{ACCESS}';\naccess_log {d}/access.log passed;\n{scratch}\n{}\n}}\n",
        http.join("\n")
    )
}

fn passed(line: &str) -> Option<Passed> {
    let mut words = line.split(' ');
    let (port, uid, upstream) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let uid = (uid != "-").then(|| uid.to_owned());
    Some(Passed { port, uid, upstream: upstream.to_owned() })
}
