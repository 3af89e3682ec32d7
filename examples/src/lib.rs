//! Programs that show how Cloister is used: `quickstart.rs` and `embedded.rs` beside this folder.
