//! The link layer with real processes. One program holds all tests: it is linked once, and while one test waits another one runs.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod links;
mod node;
#[cfg(feature = "tls")]
mod tls;

/// Not a test of its own: the tests start this program again with this name, and then it acts as a node.
#[test]
fn a_process_of_these_tests_acts_as_a_node() {
    node::act();
}
