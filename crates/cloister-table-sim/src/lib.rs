//! Tables of Cloister on a simulated cluster.
//!
//! Every process of the membership simulator runs the real table. Clients on every process append to keys and read them; the oracle
//! knows what was answered, and checks the laws. The same seed gives the same run.

mod client;
mod history;
mod node;
mod oracle;
mod scenario;

pub use node::TableNode;
pub use oracle::{Oracle, Settings};
pub use scenario::{Family, run};
