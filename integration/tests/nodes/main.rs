//! Clusters of real processes on loopback, a room for each promise. One program holds them all: it is linked once, and while one test waits
//! another one runs.

mod backpressure;
mod blocked;
mod boot;
mod byzantine;
mod calls;
mod churn;
mod configured;
mod dns;
mod drain;
mod forged;
mod hostile;
mod listeners;
mod log_lines;
mod messages;
mod naming;
mod overloaded;
mod oversized;
mod owners;
mod paused;
mod ractor_port;
mod remembered;
mod restarted;
mod rings;
mod rolling;
mod silent;
mod store;
mod tls;
mod unauthenticated;
mod warned;
