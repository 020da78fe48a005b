//! Processes that end when the test does: also when it panics, is interrupted or killed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// What the environment of whoever runs the tests says, and is not for what they start.
const MINE: [&str; 5] = ["KUBECONFIG", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Runs a command in a process group of its own, until its standard input closes: that happens when the parent
/// ends it, or is gone. Then the command gets a signal, five seconds, and its whole group is killed: a supervisor
/// that is killed leaves its Collector behind. SIGINT is switched on for it again, since shells switch it off for
/// what they run in the background.
const GUARD: &str = r#"
signal=$1; shift
exec 3<&0 </dev/null
env --default-signal=INT "$@" & child=$!
{
  cat <&3 >/dev/null
  kill "-$signal" "$child" 2>/dev/null
  n=0; while kill -0 "$child" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
  kill -KILL 0
} &
wait "$child"
kill -KILL 0
"#;

/// How a process is asked to end.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// At once: for processes that hold nothing of worth, or take their time.
    Kill,
    /// As a person at a terminal does it.
    Interrupt,
    /// As Kubernetes does it.
    Terminate,
}

/// A running process.
pub struct Guarded {
    guard: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Guarded {
    /// Starts a process whose output goes to a file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(program: &Path, args: &[impl AsRef<OsStr>], log: &Path, ending: Ending) -> Self {
        Self::spawn_with(program, args, &[], log, ending)
    }

    /// The same, with some environment added.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn_with(
        program: &Path,
        args: &[impl AsRef<OsStr>],
        environment: &[(&str, &str)],
        log: &Path,
        ending: Ending,
    ) -> Self {
        let output = File::create(log).expect("the log file can be made");
        let signal = match ending {
            Ending::Kill => "KILL",
            Ending::Interrupt => "INT",
            Ending::Terminate => "TERM",
        };
        let mut guard = Command::new("sh");
        for name in MINE {
            guard.env_remove(name);
        }
        let mut guard = guard
            .args(["-c", GUARD, "guard", signal])
            .arg(program)
            .args(args)
            .envs(environment.iter().copied())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let stdin = guard.stdin.take();
        Self { guard, stdin, log: log.to_owned() }
    }

    /// Asks it to end.
    pub fn ask_to_end(&mut self) {
        drop(self.stdin.take());
    }

    /// Ends it, and waits until it is gone.
    pub fn end(&mut self) {
        self.ask_to_end();
        let _ = self.guard.wait();
    }

    /// Kills it, with everything that it started.
    pub fn kill(&mut self) {
        let group = nix::unistd::Pid::from_raw(-i32::try_from(self.guard.id()).expect("a pid"));
        let _ = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
        self.end();
    }

    /// Stops it as it stands, until [`Guarded::resume`]. Its guard goes on, so that it ends with the test all the same.
    ///
    /// # Panics
    /// When it is not running.
    pub fn freeze(&self) {
        self.signal(nix::sys::signal::Signal::SIGSTOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn resume(&self) {
        self.signal(nix::sys::signal::Signal::SIGCONT);
    }

    /// Whether it stands still.
    ///
    /// # Panics
    /// When it is not running.
    pub fn is_frozen(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("a process");
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("it runs");
    }

    /// The process itself: the child of the guard that is no shell.
    fn pid(&self) -> i32 {
        let guard = self.guard.id();
        let children = std::fs::read_to_string(format!("/proc/{guard}/task/{guard}/children"));
        let children = children.expect("a guard");
        let program = |pid: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            !name.is_empty() && name.trim() != "sh"
        };
        children.split_whitespace().find(program).and_then(|pid| pid.parse().ok()).expect("it runs")
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal, and does not wait for what comes of it.
    ///
    /// # Panics
    /// When it is not running.
    pub fn send(&self, signal: nix::sys::signal::Signal) {
        self.signal(signal);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.guard.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}

/// A free port of the loopback address. Somebody else may take it before it is used, which is why programs that
/// can are told to take port 0 instead.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
