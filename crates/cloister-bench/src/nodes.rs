//! Builds the program that is measured, before the first benchmark.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use thiserror::Error;

/// Why there is no program to measure.
#[derive(Debug, Error)]
pub(crate) enum BuildError {
    /// This program is not where cargo puts programs.
    #[error(
        "{0} is not in a target directory: start this program by `cargo run --release -p cloister-bench`"
    )]
    Where(PathBuf),
    /// There is no cargo.
    #[error("cannot start {cargo}: {cause}")]
    Cargo { cargo: String, cause: std::io::Error },
    /// It does not compile.
    #[error("`{0}` failed; see above")]
    Failed(String),
}

/// Builds `integration-node` beside this program, in the same profile.
pub(crate) fn build() -> Result<(), BuildError> {
    let me =
        env::current_exe().map_err(|cause| BuildError::Cargo { cargo: "this program".to_owned(), cause })?;
    let target = me.parent().and_then(Path::parent).ok_or_else(|| BuildError::Where(me.clone()))?;
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(&cargo);
    command.args(["build", "--quiet", "--package", "cloister-integration", "--bin", "integration-node"]);
    command.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    command.arg("--target-dir").arg(target);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(BuildError::Failed(format!("{command:?}"))),
        Err(cause) => Err(BuildError::Cargo { cargo, cause }),
    }
}
