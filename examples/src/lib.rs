//! Programs that show how Cloister is used. They lie beside this folder: `quickstart.rs`, `embedded.rs` (a supervisor of one's own),
//! `store.rs` (a listener that moves data), `sessions.rs` (a table), `carts.rs` and `workers.rs` (entities).
