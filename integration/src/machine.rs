//! A simulated machine: a network namespace and a host name.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace. An idle process holds it open, and is killed with the test, so nothing is left behind.
#[derive(Debug)]
pub struct Machine {
    host_name: String,
    holder: Child,
    resolver: PathBuf,
}

impl Machine {
    /// A machine without any network but a loopback device. Programs in it use the name server in the file `resolver`.
    pub fn new(host_name: &str, resolver: PathBuf) -> Self {
        let mut holder = bound()
            .args(["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("no namespace: {error}"));
        let mut ready = String::new();
        let stdout = holder.stdout.take().expect("invariant: it is piped");
        // If it cannot be read, nothing was.
        let _ = BufReader::new(stdout).read_line(&mut ready);
        let machine = Self { host_name: host_name.to_owned(), holder, resolver };
        assert_eq!(ready, "ready\n", "no namespace for {host_name}; is this root?");
        machine
    }

    /// The number of a process in it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Its network namespace, for threads of this process.
    pub fn namespace(&self) -> Namespace {
        let path = format!("/proc/{}/ns/net", self.pid());
        Namespace(File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// Runs `ip` with these words in it. It must succeed.
    pub fn ip(&self, words: &str) {
        let output = self.inside().arg("ip").args(words.split(' ')).output();
        let output = output.unwrap_or_else(|error| panic!("nsenter cannot be run: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {words}: {stderr}");
    }

    /// Has the kernel filter its packets by these rules, all at once. They must make sense.
    pub fn nft(&self, rules: &str) {
        let nft = self.inside().args(["nft", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut nft = nft.unwrap_or_else(|error| panic!("nsenter cannot be run: {error}"));
        // If it ends before it has read all, it says why.
        let _ = nft.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes()));
        let output = nft.wait_with_output().expect("a child can be waited for");
        assert!(output.status.success(), "{rules}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// To run a program in it, which follows as an argument.
    pub fn inside(&self) -> Command {
        let mut command = bound();
        command.args(["nsenter", &format!("--net=/proc/{}/ns/net", self.pid())]);
        command
    }

    /// To run a program in it, which follows as an argument, under the name of the machine and with its resolver. No
    /// process is put between: a signal to the child is a signal to the program.
    pub fn program(&self) -> Command {
        const SETTLE: &str =
            "hostname \"$1\" && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";
        let mut command = self.inside();
        command.args(["unshare", "--mount", "--uts", "sh", "-c", SETTLE, "sh", &self.host_name]);
        command.arg(&self.resolver);
        command
    }
}

/// The network of a machine.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Moves the calling thread into it. Threads that it starts from then on are there, too.
    pub fn enter(&self) {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).expect("this is root");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.holder);
    }
}

/// Kills a child that may have ended already.
pub(crate) fn end(child: &mut Child) {
    // It is ours and not waited for: if this fails, it is gone.
    let _ = child.kill();
    let _ = child.wait();
}

/// To run a program, which follows as an argument, that is killed at the latest when the thread of this test ends.
fn bound() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command
}
