//! Files that a node is configured with.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The bytes of a regular file of at most `max_len` bytes.
///
/// # Errors
///
/// The error text is the reason why the file cannot be read. Directories, and what is not a regular file, are refused: they may never end.
pub fn read(path: &Path, max_len: usize) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| error.to_string();
    let kind = std::fs::metadata(path).map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err("it is a directory, name a file".to_owned());
    }
    if !kind.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(max_len as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > max_len { Err(format!("it is longer than {max_len} bytes")) } else { Ok(bytes) }
}
