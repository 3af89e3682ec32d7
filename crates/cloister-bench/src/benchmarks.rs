//! What can be measured: its name, what it is, its bar, and what the Elixir libraries need for it.
//!
//! Where a baseline can be measured in the same run, the bar is a ratio to it: machines differ. Bars in milliseconds are promises of
//! time, for a machine of two processors with nothing else to do. The figures of Cloister 0.18.1 and libcluster 3.5.0
//! for Elixir (OTP 25.2) were measured on one of the same kind.

mod bars;

use crate::measure::{
    Measuring, assembly, calls, delivery, failure, hundred, idle, join, moves, placement, rounds, tables,
};

/// Something that the command can measure.
pub(crate) struct Benchmark {
    /// By which it is asked for.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// At which sizes, in nodes.
    pub(crate) sizes: &'static [usize],
    pub(crate) measure: fn(&mut Measuring<'_>, usize),
    /// What comes out.
    pub(crate) figures: &'static [Figure],
}

/// One number that comes out of a measurement, for each size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    bars: &'static [(usize, Bar)],
    ratio: Option<Ratio>,
    elixir: &'static [(usize, &'static str)],
}

/// How a figure must compare with the baseline of the same run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ratio {
    /// The baseline may be exceeded so many times, and by so much more.
    AtMost { times: f64, plus: f64 },
    /// So many times the baseline must be reached.
    AtLeast(f64),
}

/// What the median must not cross.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

use Bar::{AtLeast, AtMost};
use bars::{ASSEMBLED, ASSEMBLY, MEGABYTES, MOVED, NO_UNCERTAIN, PAUSE, SETTLE};

const fn figure(name: &'static str, what: &'static str, unit: &'static str) -> Figure {
    Figure { name, what, unit, bars: &[], ratio: None, elixir: &[] }
}

impl Figure {
    const fn bars(self, bars: &'static [(usize, Bar)]) -> Self {
        Self { bars, ..self }
    }

    const fn ratio(self, times: f64, plus: f64) -> Self {
        Self { ratio: Some(Ratio::AtMost { times, plus }), ..self }
    }

    const fn at_least_of_baseline(self, share: f64) -> Self {
        Self { ratio: Some(Ratio::AtLeast(share)), ..self }
    }

    const fn elixir(self, elixir: &'static [(usize, &'static str)]) -> Self {
        Self { elixir, ..self }
    }

    /// The bar at this size, if there is one.
    pub(crate) fn bar(&self, n: usize) -> Option<Bar> {
        self.bars.iter().find(|(size, _)| *size == n).map(|(_, bar)| *bar)
    }

    /// How it must compare with the baseline.
    pub(crate) fn ratio_bar(&self) -> Option<Ratio> {
        self.ratio
    }

    /// What the Elixir ones need at this size.
    pub(crate) fn elixir_at(&self, n: usize) -> &'static str {
        self.elixir.iter().find(|(size, _)| *size == n).map_or("", |(_, what)| *what)
    }
}

/// The measurement of this name.
pub(crate) fn find(name: &str) -> Option<&'static Benchmark> {
    ALL.iter().find(|benchmark| benchmark.name == name)
}

/// Everything, in the order in which it is measured.
pub(crate) const ALL: &[Benchmark] = &[
    Benchmark {
        name: "look-up",
        what: "whois and is_mine of a key of 20 bytes",
        sizes: &[3, 10, 100, 1000],
        measure: placement::lookup,
        figures: &[
            figure("whois", "whois, one thread (baseline: one xxh3 and one read of a table)", "M/s")
                .at_least_of_baseline(0.3)
                .elixir(&[(3, "0.18"), (1000, "0.000162")]),
            figure("whois-shared", "whois, each of two threads (baseline: one alone)", "M/s"),
            figure("is-mine", "is_mine, one thread (baseline: one xxh3 and one read of a table)", "M/s")
                .at_least_of_baseline(0.2),
            figure("whois-allocations", "allocations in 20 000 look-ups", "").bars(&[
                (3, AtMost(0.0)),
                (10, AtMost(0.0)),
                (100, AtMost(0.0)),
                (1000, AtMost(0.0)),
            ]),
        ],
    },
    Benchmark {
        name: "ring",
        what: "build a ring, and how evenly and steadily it shares out",
        sizes: &[3, 5, 10, 20, 50, 100, 200],
        measure: placement::ring,
        figures: &[
            figure("ring-build", "build", "ms").bars(&[(200, AtMost(10.0))]),
            figure("ring-balance", "greatest share by the mean", "")
                .bars(&[
                    (3, AtMost(1.06)),
                    (5, AtMost(1.06)),
                    (10, AtMost(1.06)),
                    (20, AtMost(1.06)),
                    (50, AtMost(1.06)),
                    (100, AtMost(1.06)),
                    (200, AtMost(1.06)),
                ])
                .elixir(&[(10, "1.08"), (100, "1.17")]),
            figure("ring-more", "what moves when the Nth node comes, in shares of 1/N", "/N").bars(MOVED),
            figure("ring-less", "what moves when one of N nodes goes, in shares of 1/N", "/N").bars(MOVED),
        ],
    },
    Benchmark {
        name: "round",
        what: "agree on a view, simulated network of 1 ms",
        sizes: &[5, 50, 200],
        measure: rounds::round,
        figures: &[
            figure("round", "proposal to a lease on all, virtual time", "ms").bars(&[
                (5, AtMost(26.0)),
                (50, AtMost(26.0)),
                (200, AtMost(26.0)),
            ]),
            figure("round-messages", "messages of a node in that time", ""),
            figure("round-bytes", "bytes that a node sends in that time", "kB"),
            figure(
                "calm-messages",
                "messages of a node in a calm second: 2 (N − 1), a heartbeat every 500 ms to each other",
                "/s",
            ),
            figure("calm-bytes", "bytes that a node sends in a calm second", "kB/s"),
            figure(
                "simulated-second",
                "what a simulated second costs, on one processor: 2 N (N − 1) messages",
                "ms",
            ),
        ],
    },
    Benchmark {
        name: "two-hundred",
        what: "200 nodes in the simulator boot, grow, crash, split and heal",
        sizes: &[200],
        measure: rounds::two_hundred,
        figures: &[
            figure("boot", "starts spread over 0.5 s to one view, virtual time", "s")
                .bars(&[(200, AtMost(3.0))]),
            figure("sim-join", "a start to one view, virtual time", "s").bars(&[(200, AtMost(1.0))]),
            figure("sim-kill", "a kill to one view, virtual time", "s").bars(&[(200, AtMost(4.5))]),
            figure("sim-lost", "a lost host to one view, virtual time", "s").bars(&[(200, AtMost(4.5))]),
            figure("sim-heal", "a healed split to one view, virtual time", "s").bars(&[(200, AtMost(4.0))]),
        ],
    },
    Benchmark {
        name: "single",
        what: "a node without network, from its launch until it is up",
        sizes: &[1],
        measure: assembly::single,
        figures: &[figure("single", "launch to up", "ms").bars(&[(1, AtMost(20.0))])],
    },
    Benchmark {
        name: "assembly",
        what: "N processes at once, found by a list, beside a bare mesh",
        sizes: ASSEMBLED,
        measure: assembly::by_list,
        figures: &[
            figure("assembly", "first launch to one view, by a list", "ms")
                .bars(ASSEMBLY)
                .ratio(3.0, SETTLE)
                .elixir(&[
                    (3, "10900; libcluster 520"),
                    (5, "11100; libcluster 880"),
                    (10, "11700; libcluster 1700"),
                ]),
            figure("assembly-listening", "last process listens to one view", "ms")
                .bars(&[(3, AtMost(100.0)), (5, AtMost(120.0)), (10, AtMost(150.0))])
                .elixir(&[(3, "libcluster 90"), (5, "libcluster 90"), (10, "libcluster 160")]),
        ],
    },
    Benchmark {
        name: "assembly-dns",
        what: "N processes at once, found by the name of a service, beside a bare mesh",
        sizes: ASSEMBLED,
        measure: assembly::by_dns,
        figures: &[figure("assembly-dns", "first launch to one view, by DNS", "ms")
            .bars(ASSEMBLY)
            .ratio(3.0, SETTLE)],
    },
    Benchmark {
        name: "join",
        what: "a node joins N others",
        sizes: &[3, 5, 10],
        measure: join::join,
        figures: &[
            figure("join", "first link to every node in the new view", "ms")
                .bars(&[(3, AtMost(50.0)), (5, AtMost(50.0)), (10, AtMost(50.0))])
                .elixir(&[(3, "24, two sentries"), (5, "43, two sentries"), (10, "76, two sentries")]),
            figure("join-start", "launch to every node in the new view", "ms"),
        ],
    },
    Benchmark {
        name: "kill",
        what: "kill -9 of a member",
        sizes: &[3, 5, 10],
        measure: failure::kill,
        figures: &[
            figure("kill-told", "every other listener is notified", "ms").elixir(&[
                (3, "16"),
                (5, "108"),
                (10, "220"),
            ]),
            figure("kill", "every other node is up again", "ms")
                .bars(&[(3, AtMost(15.0)), (5, AtMost(40.0)), (10, AtMost(60.0))])
                .elixir(&[(3, "12, ring only"), (5, "32, ring only"), (10, "38, ring only")]),
        ],
    },
    Benchmark {
        name: "sentry",
        what: "kill -9 of the sentry",
        sizes: &[3, 10],
        measure: failure::sentry,
        figures: &[figure("sentry", "exactly one sentry again", "ms")
            .bars(&[(3, AtMost(15.0)), (10, AtMost(60.0))])
            .elixir(&[(3, "12"), (10, "62")])],
    },
    Benchmark {
        name: "leave",
        what: "SIGTERM to a member",
        sizes: &[3, 5, 10],
        measure: failure::leave,
        figures: &[figure("leave", "every other listener is notified that it left", "ms")
            .bars(&[(3, AtMost(100.0)), (5, AtMost(100.0)), (10, AtMost(100.0))])
            .elixir(&[(3, "1020, as a crash"), (5, "1020, as a crash"), (10, "1020, as a crash")])],
    },
    Benchmark {
        name: "calls",
        what: "multicall, multicast, locate; beside a bare mesh and plain TCP",
        sizes: &[3, 10],
        measure: calls::calls,
        figures: &[
            figure("tcp", "plain TCP, there and back, p50", "µs"),
            figure("bare-call", "a bare ractor call to another node, p50 (baseline: plain TCP)", "µs"),
            figure("multicall-p50", "multicall, one caller, p50 (baseline: a bare call to one)", "µs")
                .elixir(&[(3, "133"), (10, "466")]),
            figure("multicall", "multicall, one caller (baseline: bare calls to all)", "k/s")
                .at_least_of_baseline(0.9)
                .elixir(&[(3, "6.1"), (10, "2.0")]),
            figure("multicall-16", "multicall, 16 callers (baseline: bare calls to all)", "k/s")
                .at_least_of_baseline(0.9)
                .elixir(&[(3, "9.4"), (10, "3.4")]),
            figure("multicast", "multicast, delivered everywhere", "k/s")
                .bars(&[(3, AtLeast(80.0)), (10, AtLeast(25.0))])
                .elixir(&[(3, "49"), (10, "17")]),
            figure("locate", "locate and call, p50 (baseline: call by the reference in hand)", "µs")
                .ratio(1.05, 0.0),
            figure(
                "call-key",
                "call by key to another node, p50 (baseline: call by the reference in hand)",
                "µs",
            )
            .ratio(1.1, 0.0),
            figure("call-key-own", "calls by key on the owner (baseline: by the reference in hand)", "k/s")
                .at_least_of_baseline(0.9),
        ],
    },
    Benchmark {
        name: "delivery",
        what: "what the inbox of the owner adds to a call by key",
        sizes: &[3, 100],
        measure: delivery::delivery,
        figures: &[figure(
            "delivery",
            "from having a call by key to having handed it to the actor (baseline: the hand-over alone)",
            "µs",
        )
        .bars(&[(3, AtMost(2.0)), (100, AtMost(2.0))])],
    },
    Benchmark {
        name: "tables",
        what: "tables and entities, beside a call by the reference in hand",
        sizes: &[3],
        measure: tables::tables,
        figures: &[
            figure("table-write-2", "write at another node, 2 copies, p50 (baseline: a call)", "µs")
                .ratio(2.2, 0.0),
            figure("table-write-3", "write at another node, 3 copies, p50 (baseline: a call)", "µs")
                .ratio(2.2, 0.0),
            figure("table-writes-2", "writes of 128 callers, 2 copies (baseline: calls)", "k/s")
                .at_least_of_baseline(0.5),
            figure("table-writes-3", "writes of 128 callers, 3 copies (baseline: calls)", "k/s")
                .at_least_of_baseline(0.35),
            figure("table-read", "reads at the owner, one thread", "M/s").bars(&[(3, AtLeast(2.0))]),
            figure("entity-call", "call of an entity at another node, p50 (baseline: a call)", "µs")
                .ratio(1.11, 0.0),
            figure("entity-own", "calls of entities on their own node, 128 callers", "k/s")
                .bars(&[(3, AtLeast(500.0))]),
            figure("table-overhead", "memory of a row beside its key and value", "B")
                .bars(&[(3, AtMost(64.0))]),
        ],
    },
    Benchmark {
        name: "pauses",
        what: "the longest write while a node joins, leaves and is killed, by the size of the table in MB",
        sizes: MEGABYTES,
        measure: moves::pauses,
        figures: &[
            figure("pause-join", "a fourth node joins (baseline: nothing happens)", "ms").bars(PAUSE),
            figure("pause-leave", "it leaves (baseline: nothing happens)", "ms").bars(PAUSE),
            figure("pause-kill", "one of three is killed (baseline: until the others are up)", "ms")
                .bars(PAUSE),
            figure("planned-uncertain", "uncertain writes at join and leave", "").bars(NO_UNCERTAIN),
        ],
    },
    Benchmark {
        name: "entities",
        what: "passivations: entities that rest and are called again, on three nodes with two copies, by their number in thousands",
        sizes: &[10, 100, 1000],
        measure: moves::entities,
        figures: &[
            figure("entity-memory", "memory in use of the three processes", "MB")
                .bars(&[(1000, AtMost(1000.0))]),
            figure("entity-overhead", "memory of one copy of an entity beside its key and state", "B")
                .bars(&[(1000, AtMost(150.0))]),
            figure("passivations", "passivations: each entity had a message, and rests", "")
                .bars(&[(1000, AtLeast(1e6))]),
            figure(
                "passivations-answered",
                "passivated entities that answer afterwards with their state",
                "",
            )
            .bars(&[(1000, AtLeast(1e6))]),
            figure(
                "passivation-time",
                "from the first message until all are passivated, 1 s after their last",
                "s",
            ),
            figure("passivation-answer-time", "until all passivated entities have answered", "s"),
        ],
    },
    Benchmark {
        name: "gigabyte",
        what: "1 GB moved: a node joins and leaves until it has got and left so much, one run, by the size of the table in MB",
        sizes: &[200],
        measure: moves::gigabyte,
        figures: &[
            figure("gigabyte-moved", "moved by joins and leaves: keys and values of all copies", "MB")
                .bars(&[(200, AtLeast(1000.0))]),
            figure("gigabyte-moves", "joins and leaves", ""),
            figure(
                "gigabyte-time",
                "all joins and leaves, 2 s of each a pause until tables have looked how they stand",
                "s",
            ),
            figure("gigabyte-rows", "rows that are there afterwards, by count and checksum", "")
                .bars(&[(200, AtLeast(1_785_714.0))]),
            figure("gigabyte-fill", "until all rows were written", "s"),
        ],
    },
    Benchmark {
        name: "hang",
        what: "a member stands still (SIGSTOP), default timing",
        sizes: &[5],
        measure: failure::hang,
        figures: &[
            figure("hang", "every other listener is notified", "s")
                .bars(&[(5, AtMost(3.7))])
                .elixir(&[(5, "50")]),
            figure("hang-heal", "it goes on: one view of all", "s").elixir(&[(5, "never")]),
        ],
    },
    Benchmark {
        name: "hang-fast",
        what: "the same with unreachable_after = 1s, lease = 700ms, heartbeat_every = 200ms",
        sizes: &[5],
        measure: failure::hang_fast,
        figures: &[
            figure("hang-fast", "every other listener is notified", "s").bars(&[(5, AtMost(1.4))]),
            figure("hang-fast-heal", "it goes on: one view of all", "s"),
        ],
    },
    Benchmark {
        name: "idle",
        what: "what a node costs while nothing happens",
        sizes: &[5, 50],
        measure: idle::idle,
        figures: &[
            figure("idle-cpu", "share of one processor", "%").bars(&[(5, AtMost(0.3)), (50, AtMost(2.0))]),
            figure("idle-traffic", "sent by a node, all headers included", "kB/s")
                .bars(&[(5, AtMost(3.0)), (50, AtMost(40.0))]),
            figure("idle-memory", "memory in use", "MB")
                .bars(&[(5, AtMost(15.0)), (50, AtMost(40.0))])
                .elixir(&[(5, "45, of 3 nodes")]),
            figure(
                "idle-memory-own",
                "memory in use without the program's file, which processes share",
                "MB",
            ),
        ],
    },
    Benchmark {
        name: "hundred",
        what: "100 processes on this machine, with heartbeat_every = 2s, lease = 8s, unreachable_after = 12s",
        sizes: &[100],
        measure: hundred::hundred,
        figures: &[
            figure("hundred", "first launch to one view", "s"),
            figure("hundred-kill", "one is killed: every other node is up again", "ms"),
            figure("hundred-memory", "memory in use of a process", "MB"),
        ],
    },
    Benchmark {
        name: "calm",
        what: "nothing happens, all processors are busy, timing as in hang-fast",
        sizes: &[5],
        measure: failure::calm,
        figures: &[figure("calm", "false events, one run", "").bars(&[(5, AtMost(0.0))])],
    },
];

/// How long the Elixir libraries take to assemble N processes, in milliseconds: Cloister 0.18.1, libcluster 3.5.0.
pub(crate) const ELIXIR_ASSEMBLY: [(usize, f64, f64); 3] =
    [(3, 10_900.0, 520.0), (5, 11_100.0, 880.0), (10, 11_700.0, 1700.0)];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_measurements_and_no_two_figures_have_one_name() {
        let names: BTreeSet<_> = ALL.iter().map(|benchmark| benchmark.name).collect();
        assert_eq!(names.len(), ALL.len());
        let figures: Vec<_> = ALL.iter().flat_map(|benchmark| benchmark.figures).collect();
        let names: BTreeSet<_> = figures.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), figures.len());
    }

    #[test]
    fn the_picture_and_the_table_of_assembly_say_the_same_of_the_elixir_libraries() {
        let figure = find("assembly").unwrap().figures[0];
        for (n, cloister, libcluster) in ELIXIR_ASSEMBLY {
            assert_eq!(figure.elixir_at(n), format!("{cloister}; libcluster {libcluster}"));
        }
    }

    #[test]
    fn every_bar_and_every_figure_of_others_is_at_a_size_that_is_measured() {
        for benchmark in ALL {
            for figure in benchmark.figures {
                let sizes = figure.bars.iter().map(|(n, _)| n).chain(figure.elixir.iter().map(|(n, _)| n));
                for n in sizes {
                    assert!(benchmark.sizes.contains(n), "{} at {n}", figure.name);
                }
            }
        }
    }
}
