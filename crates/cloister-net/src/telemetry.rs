//! The names of what is logged and measured.
//!
//! There is one event per fact, under the target [`TARGET`] or one that begins with it. It has those of these fields that it is about:
//! `node` (that logs), `peer` (another node), `peer_addr`, `local_addr`, `status`, `epoch`, `members`, `change`, `error`, `reason`. INFO is
//! what an operator wants to read after an incident.

/// The target of the events of a node; a filter like `cloister=info` shows them all.
///
/// ```
/// # use cloister_net::telemetry;
/// let filter = format!("warn,{}=info", telemetry::TARGET); // for `EnvFilter` of tracing-subscriber
/// # assert_eq!(filter, "warn,cloister=info");
/// ```
pub const TARGET: &str = "cloister";

/// The metrics that the admin server shows at `/metrics`. A name that ends in `_total` is a counter, one in `_duration_seconds` or
/// `_silence_seconds` a histogram, one in `_info` has labels of a constant 1. All others are gauges.
///
/// ```
/// # use cloister_net::telemetry::metric;
/// let alert = format!("{} < 1", metric::SPARE); // a rule for Prometheus
/// # assert_eq!(alert, "cloister_spare < 1");
/// ```
pub mod metric {
    /// 1 while this node is up, else 0.
    pub const UP: &str = "cloister_up";
    /// How many members the present state has.
    pub const MEMBERS: &str = "cloister_members";
    /// How many nodes the cluster counts: the most members it had, less those that left in order; 0 while this node is in no view.
    pub const COUNTED: &str = "cloister_counted";
    /// How many members may be lost at once without a goodbye while the rest goes on; 0 while this node is in no view.
    pub const SPARE: &str = "cloister_spare";
    /// 1 while both parts of a split may go on, which `split = "consensus"` allows; else 0.
    pub const SPLIT_RISK: &str = "cloister_split_risk";
    /// The configured `consensus`.
    pub const CONSENSUS: &str = "cloister_consensus";
    /// The number of the last change that was sent to listeners.
    pub const STATE_CHANGES: &str = "cloister_state_changes_total";
    /// 1 while this node is in a view; the label `epoch` is the epoch of that view, which exceeds what a number of a metric can hold.
    pub const VIEW: &str = "cloister_view_info";
    /// 1; the labels are the name of this node and its incarnation.
    pub const NODE: &str = "cloister_node_info";
    /// 1 while this node is the sentry, else 0.
    pub const SENTRY: &str = "cloister_is_sentry";
    /// How many slots of the ring over all members this node owns.
    pub const OWNED_SLOTS: &str = "cloister_owned_slots";
    /// How many peers are linked.
    pub const CONNECTIONS: &str = "cloister_connections";
    /// How many bytes wait to be sent to the peer for which most do.
    pub const WAITING: &str = "cloister_waiting_bytes";
    /// For how many seconds the runtime of the application has not answered; 0 while it does.
    pub const STALLED: &str = "cloister_runtime_stalled_seconds";
    /// For how many seconds it did not answer at the longest since the process began.
    pub const LONGEST_STALL: &str = "cloister_runtime_longest_stall_seconds";
    /// How long calls took; a histogram for each `outcome`: `ok`, or what kind of error.
    pub const CALLS: &str = "cloister_call_duration_seconds";
    /// How long rounds took on this node, from its promise on; a histogram for each `outcome`: `installed`, `aborted`.
    pub const ROUNDS: &str = "cloister_round_duration_seconds";
    /// How long listeners held a view back; a histogram for each `outcome`: `released`, `expired`.
    pub const HOLDS: &str = "cloister_hold_duration_seconds";
    /// How long it took from one heartbeat of a peer to its next; a histogram.
    pub const SILENCES: &str = "cloister_heartbeat_silence_seconds";
    /// How many attempts to connect were made; a counter for each `outcome`: `connected`, `refused`, `failed`.
    pub const DIALS: &str = "cloister_dials_total";
    /// How often something was refused or ignored; a counter for each `reason`, see [`rejections`](super::rejections).
    pub const REJECTED: &str = "cloister_rejected_total";
    /// How many entries of a table this node has, with copies of those that other nodes own; a gauge for each `table`.
    pub const TABLE_ROWS: &str = "cloister_table_rows";
    /// How many bytes their keys and values have, and answers that may be asked for again; a gauge for each `table`.
    pub const TABLE_BYTES: &str = "cloister_table_bytes";
    /// How many slots of this node have fewer copies than they should, or are not served yet; a gauge for each `table`.
    pub const TABLE_UNDER_REPLICATED: &str = "cloister_table_under_replicated";
    /// How many slots have lost writes while this node owned them, or may have; a counter for each `table`.
    pub const TABLE_LOST: &str = "cloister_table_lost_total";
}

/// How often something was refused or ignored since the process began, by cause. Shown at `/metrics` as counters of
/// the name [`metric::REJECTED`].
///
/// Those of the link layer are [`Reason`](rejections::Reason); those of the core are [`cloister_proto::Rejection`]. Some of these are
/// ordinary, as an answer that comes when its round is over. They belong to the process, as the one node in it does.
///
/// ```
/// # use cloister_net::telemetry::rejections;
/// for (reason, count) in rejections::counts().filter(|(_, count)| *count > 0) {
///     println!("{count} × {reason}");
/// }
/// ```
pub mod rejections {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    use cloister_proto::Rejection;

    /// Why something was refused or ignored.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Reason {
        /// A connection: evicted, for too many were not linked yet.
        PendingLimit,
        /// A connection: its peer did not authenticate in time, or speaks another protocol.
        HandshakeTimeout,
        /// A connection: its peer knows another cookie or is of another cluster.
        AuthFailed,
        /// A connection: its peer is of a version that does not fit, or has another name than the one it authenticated with.
        Incompatible,
        /// A frame from a peer: it is no message.
        Malformed,
        /// A frame from a peer: too many came before its link was open.
        EarlyOverflow,
        /// A frame of this node's: it is over the limit and was not sent.
        Oversized,
        /// An address from a peer: too many are known already.
        AddressBookFull,
        /// A connection to the admin server: there were too many, so one that asked for nothing was closed, or this one refused.
        AdminCrowded,
        /// A client of the admin server's `/events`: there were too many.
        AdminStreams,
        /// A request to the admin server: its `Host` is no name of this node.
        AdminHost,
        /// A message of this node's: too much waits to be sent to its receiver.
        Overloaded,
        /// A message for an actor: it is of another type, or of another release of it.
        Unreadable,
        /// A message for the owner of a key: this node is not its owner, or has no such actor.
        Misdirected,
        /// A message of this node's: its receiver could not read it, and has said so.
        UnreadableAtReceiver,
    }

    impl Reason {
        /// All of them, in the order in which they are shown.
        pub const ALL: [Reason; 15] = [
            Reason::PendingLimit,
            Reason::HandshakeTimeout,
            Reason::AuthFailed,
            Reason::Incompatible,
            Reason::Malformed,
            Reason::EarlyOverflow,
            Reason::Oversized,
            Reason::AddressBookFull,
            Reason::AdminCrowded,
            Reason::AdminStreams,
            Reason::AdminHost,
            Reason::Overloaded,
            Reason::Unreadable,
            Reason::Misdirected,
            Reason::UnreadableAtReceiver,
        ];

        /// The label of the counter.
        #[must_use]
        pub const fn as_str(self) -> &'static str {
            match self {
                Reason::PendingLimit => "pending_limit",
                Reason::HandshakeTimeout => "handshake_timeout",
                Reason::AuthFailed => "auth_failed",
                Reason::Incompatible => "incompatible",
                Reason::Malformed => "malformed",
                Reason::EarlyOverflow => "early_overflow",
                Reason::Oversized => "oversized",
                Reason::AddressBookFull => "address_book_full",
                Reason::AdminCrowded => "admin_crowded",
                Reason::AdminStreams => "admin_streams",
                Reason::AdminHost => "admin_host",
                Reason::Overloaded => "overloaded",
                Reason::Unreadable => "unreadable",
                Reason::Misdirected => "misdirected",
                Reason::UnreadableAtReceiver => "unreadable_at_receiver",
            }
        }
    }

    static COUNTS: [AtomicU64; Reason::ALL.len()] = [const { AtomicU64::new(0) }; Reason::ALL.len()];

    /// Counts one.
    pub(crate) fn count(cause: Reason) {
        count_many(cause, 1);
    }

    /// Counts so many.
    pub(crate) fn count_many(cause: Reason, number: u64) {
        for (count, known) in COUNTS.iter().zip(Reason::ALL) {
            if known == cause {
                count.fetch_add(number, Ordering::Relaxed);
            }
        }
    }

    /// How often the core rejected what a peer sent, in the order of [`Rejection::ALL`].
    static REJECTIONS: [AtomicU64; Rejection::ALL.len()] =
        [const { AtomicU64::new(0) }; Rejection::ALL.len()];

    /// Adds what the core has counted since `before`, and brings that up to date.
    pub(crate) fn add(before: &mut BTreeMap<Rejection, u64>, now: &BTreeMap<Rejection, u64>) {
        if before == now {
            return;
        }
        for (count, what) in REJECTIONS.iter().zip(Rejection::ALL) {
            let of = |counted: &BTreeMap<Rejection, u64>| counted.get(&what).copied().unwrap_or(0);
            count.fetch_add(of(now).saturating_sub(of(before)), Ordering::Relaxed);
        }
        before.clone_from(now);
    }

    /// How often each cause has been met, by the link layer and by the core.
    pub fn counts() -> impl Iterator<Item = (&'static str, u64)> {
        let links = Reason::ALL.into_iter().map(Reason::as_str).zip(&COUNTS);
        let core = Rejection::ALL.into_iter().map(Rejection::as_str).zip(&REJECTIONS);
        links.chain(core).map(|(cause, count)| (cause, count.load(Ordering::Relaxed)))
    }
}
