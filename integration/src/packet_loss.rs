//! Packets that a bridge drops.
//!
//! Packets are dropped silently on the bridge, as with a cable that is pulled or a switch that fails. Each change is atomic.

use std::fmt::Write;
use std::net::IpAddr;

use crate::{Bridge, now};

/// Everything that crosses the bridge, or comes from or goes to the name server, passes the chain `cut`.
pub(crate) const TABLE: &str = "
table bridge cloister {
    chain cut { }
    chain forward { type filter hook forward priority 0; jump cut; }
    chain input { type filter hook input priority 0; jump cut; }
    chain output { type filter hook output priority 0; jump cut; }
}
";

/// The packets to drop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketLoss {
    /// Those from one address to another.
    OneWay(IpAddr, IpAddr),
    /// Those between two addresses.
    Pair(IpAddr, IpAddr),
    /// All that come from an address.
    From(IpAddr),
    /// All that go to an address.
    To(IpAddr),
    /// All that come from an address or go to it.
    Off(IpAddr),
    /// Those between one group of addresses and another. An address in no group loses none.
    Groups(Vec<Vec<IpAddr>>),
    /// So many of a hundred, wherever they come from.
    Share(u8),
}

impl Bridge {
    /// Drops these packets and no others from now on. Returns the moment before.
    pub fn lose(&self, losses: &[PacketLoss]) -> u64 {
        let mut rules = "flush chain bridge cloister cut\n".to_owned();
        for loss in losses {
            loss.write(&mut rules);
        }
        let at = now();
        self.machine.nft(&rules);
        at
    }

    /// Drops no packets any more. Returns the moment from which none is dropped.
    pub fn heal(&self) -> u64 {
        self.lose(&[]);
        now()
    }
}

impl PacketLoss {
    fn write(&self, rules: &mut String) {
        let mut rule = |matches: String| {
            writeln!(rules, "add rule bridge cloister cut {matches} drop")
                .expect("invariant: a string takes all");
        };
        match self {
            PacketLoss::OneWay(from, to) => rule(format!("ip saddr {from} ip daddr {to}")),
            PacketLoss::Pair(one, other) => {
                rule(format!("ip saddr {one} ip daddr {other}"));
                rule(format!("ip saddr {other} ip daddr {one}"));
            }
            PacketLoss::From(address) => rule(format!("ip saddr {address}")),
            PacketLoss::To(address) => rule(format!("ip daddr {address}")),
            PacketLoss::Off(address) => {
                rule(format!("ip saddr {address}"));
                rule(format!("ip daddr {address}"));
                // It does not answer ARP either.
                rule(format!("arp saddr ip {address}"));
                rule(format!("arp daddr ip {address}"));
            }
            PacketLoss::Groups(groups) => {
                for (number, group) in groups.iter().enumerate() {
                    let others = groups.iter().enumerate().filter(|(other, _)| *other != number);
                    let others: Vec<_> = others.flat_map(|(_, others)| others).collect();
                    rule(format!("ip saddr {} ip daddr {}", set(group), set(others)));
                }
            }
            PacketLoss::Share(share) => rule(format!("ip protocol tcp numgen random mod 100 < {share}")),
        }
    }
}

/// As nft writes a set.
fn set<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> String {
    let addresses: Vec<_> = addresses.into_iter().map(IpAddr::to_string).collect();
    format!("{{ {} }}", addresses.join(", "))
}
