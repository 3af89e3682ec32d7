//! The file in which a node keeps what it remembers over a restart: `state_file`.
//!
//! ```text
//! cloister state 1 shop
//! sha256 6c1f…
//! (the bytes of a Memory)
//! ```
//!
//! It is written as a whole beside the old one, forced to the disk and renamed, so there is always one that is complete. A second
//! file with `.lock` at its end is locked as long as a node uses the first: two processes with one memory would be two clusters.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloister_net::files;
use cloister_proto::Memory;
use cloister_proto::text;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The version of the format that this build writes.
const VERSION: &str = "1";

/// The first words of every state file.
const MAGIC: &str = "cloister state ";

/// More than the views of any cluster take.
const MAX_LEN: usize = 16 << 20;

/// A state file that a node cannot start with.
///
/// ```standalone_crate
/// # extern crate cloister_core as cloister;
/// use cloister::ExitReason;
///
/// fn report(ended: &ExitReason) {
///     if let ExitReason::StateFile(error) = ended {
///         eprintln!("{}: {}", error.path.display(), error.fault);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("state_file {}: {fault}", .path.display())]
#[non_exhaustive]
pub struct StateFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: StateFault,
}

/// What is wrong with a state file, and what to do about it.
///
/// [`StateFileError`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateFault {
    /// There is no directory for it.
    #[error("there is no directory {}: create it, in a container as a mounted volume", .0.display())]
    NoDirectory(PathBuf),
    /// Another process has it.
    #[error("another process uses it: stop that process, or give this node a file of its own")]
    InUse,
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The system does not let it be written.
    #[error("cannot be written: {cause}; its directory must be writable for this program{}", volume(.kind))]
    Unwritable {
        /// What the system says.
        cause: String,
        /// What kind of error it is.
        kind: ErrorKind,
    },
    /// It is something else.
    #[error("is not a state file: name another path")]
    Foreign,
    /// Another build has written it.
    #[error(
        "has version {0} of the format, and this build reads version {VERSION}: start the build that wrote it"
    )]
    OtherVersion(String),
    /// A node of another application has written it.
    #[error("belongs to the application `{0}`: name another path, or set `name = \"{0}\"`")]
    OtherApplication(String),
    /// It is not as it was written.
    #[error(
        "is damaged ({0}): restore it. If no cluster that this node belonged to can run without it, remove the file: this node \
         then starts as a newcomer"
    )]
    Damaged(&'static str),
}

/// What else may be the matter with a file that cannot be replaced.
fn volume(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ResourceBusy => {
            ". A file that is a volume by itself cannot be replaced: mount its directory"
        }
        _ => "",
    }
}

/// The state files that this process has. A write that takes long keeps its file after the node has ended.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The state file of a node, which no other process uses as long as this exists.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    app: String,
    contents: Mutex<Contents>,
    _lock: File,
}

#[derive(Debug)]
struct Contents {
    /// What the file holds.
    memory: Memory,
    /// The number of the incarnation that may write.
    incarnation: u64,
}

impl StateFile {
    /// Opens the file, or creates it, for a node of this application. Writes it once, to see that this is possible.
    pub(crate) fn open(path: &Path, app: &str) -> Result<Self, StateFileError> {
        let error = |fault| StateFileError { path: path.to_owned(), fault };
        let place = resolve(path).map_err(error)?;
        let lock = lock(&place).map_err(error)?;
        let memory = match files::read(&place, MAX_LEN) {
            Ok(bytes) => parse(&bytes, app).map_err(error)?,
            Err(_) if !exists(&place) => Memory::default(),
            Err(cause) => return Err(error(StateFault::Unreadable(cause))),
        };
        let contents = Mutex::new(Contents { memory, incarnation: 0 });
        let file = Self { path: place, app: app.to_owned(), contents, _lock: lock };
        let contents = file.contents();
        file.replace(&contents.memory).map_err(|cause| error(unwritable(&cause)))?;
        drop(contents);
        held().insert(file.path.clone());
        Ok(file)
    }

    /// Whether this process has the file open.
    pub(crate) fn is_held_here(path: &Path) -> bool {
        resolve(path).is_ok_and(|path| held().contains(&path))
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the incarnation before has left, and the number under which the incarnation that begins now may write. What an earlier one still
    /// wanted to write is not written any more.
    pub(crate) fn begin_incarnation(&self) -> (Memory, u64) {
        let mut contents = self.contents();
        contents.incarnation += 1;
        (contents.memory.clone(), contents.incarnation)
    }

    /// Replaces what the file holds, if the incarnation with this number is the present one.
    pub(crate) fn write(&self, incarnation: u64, memory: &Memory) -> Result<(), StateFileError> {
        let mut contents = self.contents();
        if contents.incarnation != incarnation {
            return Ok(());
        }
        let error = |cause: io::Error| StateFileError { path: self.path.clone(), fault: unwritable(&cause) };
        self.replace(memory).map_err(error)?;
        contents.memory.clone_from(memory);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn replace(&self, memory: &Memory) -> io::Result<()> {
        let next = beside(&self.path, ".new");
        let mut file = File::create(&next)?;
        file.write_all(&render(&self.app, memory))?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        // The new name, too, must be there after the machine has lost its power.
        #[cfg(unix)]
        File::open(directory(&self.path))?.sync_all()?;
        Ok(())
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        held().remove(&self.path);
    }
}

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unwritable(cause: &io::Error) -> StateFault {
    StateFault::Unwritable { cause: cause.to_string(), kind: cause.kind() }
}

/// The file itself, where the path is a link to it: replacing the link would leave the file behind.
fn resolve(path: &Path) -> Result<PathBuf, StateFault> {
    let unreadable = |cause: io::Error| StateFault::Unreadable(cause.to_string());
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink());
    let path = if is_link { std::fs::canonicalize(path).map_err(unreadable)? } else { path.to_owned() };
    let directory = directory(&path);
    if !directory.is_dir() {
        return Err(StateFault::NoDirectory(directory.to_owned()));
    }
    Ok(path)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Locks the file beside this one; the system unlocks it when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, StateFault> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 0);
    let opened = options.open(beside(path, ".lock"));
    #[cfg(windows)]
    const SHARING_VIOLATION: i32 = 32;
    #[cfg(windows)]
    if opened.as_ref().is_err_and(|cause| cause.raw_os_error() == Some(SHARING_VIOLATION)) {
        return Err(StateFault::InUse);
    }
    let file = opened.map_err(|cause| unwritable(&cause))?;
    #[cfg(unix)]
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateFault::InUse),
        Err(cause) => return Err(unwritable(&cause.into())),
    }
    Ok(file)
}

fn render(app: &str, memory: &Memory) -> Vec<u8> {
    let head = format!("{MAGIC}{VERSION} {app}\n");
    let body = memory.encode();
    let sum = sum(&head, &body);
    [head.as_bytes(), format!("sha256 {sum}\n").as_bytes(), &body].concat()
}

fn parse(bytes: &[u8], app: &str) -> Result<Memory, StateFault> {
    if bytes.is_empty() {
        return Err(StateFault::Damaged("it is empty"));
    }
    if !bytes.starts_with(MAGIC.as_bytes()) {
        let is_cut = MAGIC.as_bytes().starts_with(bytes);
        return Err(if is_cut { StateFault::Damaged("it is cut off") } else { StateFault::Foreign });
    }
    let (head, rest) = line(bytes).ok_or(StateFault::Damaged("it is cut off"))?;
    let words = head.strip_prefix(MAGIC).and_then(|words| words.split_once(' '));
    let (version, owner) = words.ok_or(StateFault::Damaged("its first line is not as it was written"))?;
    let shown = |word: &str| text::sanitize_to(word, 80);
    if version != VERSION {
        return Err(StateFault::OtherVersion(shown(version)));
    }
    if owner != app {
        return Err(StateFault::OtherApplication(shown(owner)));
    }
    let (said, body) = line(rest).ok_or(StateFault::Damaged("it is cut off"))?;
    if said.strip_prefix("sha256 ") != Some(&sum(&format!("{head}\n"), body)) {
        return Err(StateFault::Damaged("its checksum does not fit"));
    }
    Memory::decode(body).map_err(|_| StateFault::Damaged("it does not say what a node remembers"))
}

/// The first line of `bytes`, if it is text, and what follows it.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at(end);
    Some((str::from_utf8(line).ok()?, rest.get(1..)?))
}

fn sum(head: &str, body: &[u8]) -> String {
    let digest = Sha256::new().chain_update(head).chain_update(body).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cloister_proto::{Epoch, Incarnation, Member, NodeId, View};

    use super::*;

    fn memory() -> Memory {
        let incarnation = NodeId::new("shop@10.0.0.1:4370".parse().unwrap(), Incarnation(7), 42);
        let view = View::new(Epoch::from_u64(9), vec![Member::without_tags(incarnation.clone())]);
        Memory { node: Some(incarnation), installed: Some(view), ..Memory::default() }
    }

    fn fault(path: &Path) -> StateFault {
        let error = StateFile::open(path, "shop").expect_err("it cannot be opened");
        assert_eq!(error.path, path);
        error.fault
    }

    #[test]
    fn what_one_process_has_written_the_next_one_reads() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        let file = StateFile::open(&path, "shop").unwrap();
        let (before, incarnation) = file.begin_incarnation();
        assert_eq!(before, Memory::default());
        file.write(incarnation, &memory()).unwrap();
        drop(file);
        assert_eq!(StateFile::open(&path, "shop").unwrap().begin_incarnation().0, memory());
    }

    #[test]
    fn a_incarnation_that_is_over_writes_no_more() {
        let home = tempfile::tempdir().unwrap();
        let file = Arc::new(StateFile::open(&home.path().join("state"), "shop").unwrap());
        let (_, earlier) = file.begin_incarnation();
        let (_, present) = file.begin_incarnation();
        file.write(present, &memory()).unwrap();
        file.write(earlier, &Memory::default()).unwrap();
        assert_eq!(file.begin_incarnation().0, memory());
    }

    #[test]
    fn a_file_is_for_one_process_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        let first = StateFile::open(&path, "shop").unwrap();
        assert_eq!(fault(&path), StateFault::InUse);
        drop(first);
        StateFile::open(&path, "shop").unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_says_why_and_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state");
        let good = render("shop", &memory());
        let other = |from: &str, to: &str| {
            let at = good.windows(from.len()).position(|bytes| bytes == from.as_bytes()).unwrap();
            [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat()
        };
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let damaged = |cause| StateFault::Damaged(cause);
        let cases = [
            (Vec::new(), damaged("it is empty")),
            (b"cloister st".to_vec(), damaged("it is cut off")),
            (b"cloister state 1 shop".to_vec(), damaged("it is cut off")),
            (good[..30].to_vec(), damaged("it is cut off")),
            (good[..good.len() - 1].to_vec(), damaged("its checksum does not fit")),
            (flipped, damaged("its checksum does not fit")),
            (b"[package]\nname = \"x\"\n".to_vec(), StateFault::Foreign),
            (b"\0\0\0\0".to_vec(), StateFault::Foreign),
            (other("state 1", "state 2"), StateFault::OtherVersion("2".to_owned())),
            (other("1 shop", "1 farm"), StateFault::OtherApplication("farm".to_owned())),
        ];
        for (bytes, expected) in cases {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(fault(&path), expected);
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        let good = render("shop", &memory());
        for at in 0..good.len() {
            assert!(parse(&good[..at], "shop").is_err(), "cut at {at}");
            let mut bytes = good.clone();
            bytes[at] ^= 0x41;
            assert!(parse(&bytes, "shop").is_err(), "changed at {at}");
        }
        assert_eq!(parse(&good, "shop"), Ok(memory()));
    }

    #[test]
    fn a_place_that_cannot_be_written_says_so_at_once() {
        let home = tempfile::tempdir().unwrap();
        let missing = home.path().join("missing");
        assert_eq!(fault(&missing.join("state")), StateFault::NoDirectory(missing));
        let taken = home.path().join("taken");
        std::fs::create_dir_all(taken.join("state")).unwrap();
        assert!(matches!(fault(&taken.join("state")), StateFault::Unreadable(_)));
        // The file that is written first cannot be created. Permissions would not stop root.
        std::fs::create_dir(home.path().join("state.new")).unwrap();
        let StateFault::Unwritable { cause, .. } = fault(&home.path().join("state")) else {
            panic!("it is writable")
        };
        assert!(cause.contains("directory"), "{cause}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed() {
        let home = tempfile::tempdir().unwrap();
        let (link, path) = (home.path().join("link"), home.path().join("state"));
        std::fs::write(&path, render("shop", &memory())).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let file = StateFile::open(&link, "shop").unwrap();
        assert_eq!(file.path(), path);
        assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    }
}
