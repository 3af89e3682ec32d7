//! How many nodes the addresses of one name stand for.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The nodes behind one name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Nodes {
    /// An address for each node.
    pub(super) addresses: BTreeSet<SocketAddr>,
    /// Further addresses of these nodes.
    pub(super) aliases: BTreeSet<SocketAddr>,
}

/// The name of which `part` is an answer: that for A and that for AAAA records are parts of one.
pub(super) fn name_of(part: &str) -> &str {
    part.strip_suffix(" AAAA").or_else(|| part.strip_suffix(" A")).unwrap_or(part)
}

/// The nodes at `sockets`, as a node that listens at `bind` sees them.
///
/// Where others reach this node at an address of its machine, a loopback address is none of a peer. A hosts file has one for the name of
/// its machine. Where this node listens in one family, nodes of the same name do so, too: a node has an address of the other family
/// besides. If there are more of that family, some nodes may have nothing else, and all of them count.
pub(super) fn of_name(bind: SocketAddr, sockets: &BTreeSet<SocketAddr>, by_name: bool) -> Nodes {
    let ip = bind.ip();
    let is_elsewhere = !ip.is_unspecified() && !ip.is_loopback();
    let reachable = sockets.iter().filter(|socket| !(is_elsewhere && socket.ip().is_loopback()));
    let (own, other): (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>) =
        reachable.partition(|socket| socket.is_ipv4() == ip.is_ipv4());
    let both_families = ip.is_ipv6() && ip.is_unspecified();
    if by_name && !both_families && other.len() <= own.len() {
        return Nodes { addresses: own, aliases: other };
    }
    Nodes { addresses: own.into_iter().chain(other).collect(), aliases: BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(list: &[&str]) -> BTreeSet<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn nodes(bind: &str, list: &[&str]) -> Nodes {
        of_name(bind.parse().unwrap(), &sockets(list), true)
    }

    fn of(addresses: &[&str], aliases: &[&str]) -> Nodes {
        Nodes { addresses: sockets(addresses), aliases: sockets(aliases) }
    }

    const V4: [&str; 2] = ["10.0.0.1:4370", "10.0.0.2:4370"];
    const V6: [&str; 2] = ["[fd00::1]:4370", "[fd00::2]:4370"];

    #[test]
    fn a_node_with_an_address_of_each_family_counts_once() {
        let both = [V4, V6].concat();
        assert_eq!(nodes(V4[0], &both), of(&V4, &V6));
        assert_eq!(nodes(V6[0], &both), of(&V6, &V4));
        assert_eq!(nodes("0.0.0.0:4370", &both), of(&V4, &V6));
        assert_eq!(nodes("[::]:4370", &both), of(&both, &[]), "these listen in both families");
        let local = ["127.0.0.1:4370", "[::1]:4370"];
        assert_eq!(nodes(local[0], &local), of(&local[..1], &local[1..]));
    }

    #[test]
    fn addresses_of_the_other_family_count_if_some_nodes_may_have_nothing_else() {
        assert_eq!(nodes(V4[0], &V6), of(&V6, &[]));
        let more = [&V4[..1], &V6].concat();
        assert_eq!(nodes(V4[0], &more), of(&more, &[]));
    }

    #[test]
    fn each_address_that_is_no_answer_for_a_name_is_a_node() {
        let both = sockets(&[V4, V6].concat());
        let own = of_name(V4[0].parse().unwrap(), &both, false);
        assert_eq!(own, Nodes { addresses: both, aliases: BTreeSet::new() });
    }

    #[test]
    fn beside_nodes_that_are_elsewhere_a_loopback_address_is_none() {
        let found = ["127.0.1.1:4370", V4[0], "[::1]:4370"];
        assert_eq!(nodes(V4[0], &found), of(&V4[..1], &[]));
        let local = ["127.0.0.1:4371", "127.0.0.2:4370"];
        assert_eq!(nodes(local[0], &local), of(&local, &[]));
        assert_eq!(nodes("0.0.0.0:4370", &local), of(&local, &[]), "they may be nodes of this machine");
    }

    #[test]
    fn the_parts_of_an_answer_have_the_name_in_common() {
        assert_eq!(
            ["app. A", "app. AAAA", "app", "10.0.0.1:4370"].map(name_of),
            ["app.", "app.", "app", "10.0.0.1:4370"]
        );
    }
}
