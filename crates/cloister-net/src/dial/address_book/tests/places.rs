use super::*;

/// An incarnation of the node `node-3.example`.
fn incarnation(number: u64) -> NodeId {
    NodeId::new("app@node-3.example:4370".parse().unwrap(), Incarnation(number), number)
}

impl Desk {
    /// A link with the incarnation `number`, which has dialled from `last`. The number of the link is that of the incarnation.
    fn link_named(&mut self, number: u64, last: u8) {
        let remote = SocketAddr::from(([10, 0, 0, last], 50_000));
        self.book.linked(self.now, LinkId(number), &incarnation(number), None, remote);
    }

    /// A name server says where the node is.
    fn resolved(&mut self, found: &[u8]) {
        let host = incarnation(1).name().address().unwrap().clone();
        self.book.resolved(&host, &found.iter().copied().map(at).collect());
    }

    /// Of which addresses a refusal at `last` speaks.
    fn refuted(&self, last: u8) -> Vec<String> {
        self.book.refuted_by(at(last)).iter().map(ToString::to_string).collect()
    }
}

const ADDRESS_AND_NAME: [&str; 2] = ["10.0.0.3:4370", "node-3.example:4370"];

#[test]
fn a_refusal_has_the_name_of_the_node_that_was_linked_there() {
    let mut desk = Desk::new();
    desk.link_named(1, 3);
    desk.resolved(&[3]);
    assert_eq!(desk.refuted(3), ADDRESS_AND_NAME);
    desk.wait(5000);
    desk.unlink(1);
    assert_eq!(desk.due(), [(at(3), Attempt::Probe)]);
    assert_eq!(desk.refuted(3), ADDRESS_AND_NAME);
}

#[test]
fn a_refusal_at_an_address_that_a_node_has_left_says_nothing_of_the_node() {
    let mut desk = Desk::new();
    desk.link_named(1, 3);
    desk.resolved(&[3]);
    desk.wait(5000);
    desk.unlink(1);
    desk.link_named(2, 7);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"], "the name server still leads to the old address");
    desk.resolved(&[7]);
    desk.wait(5000);
    desk.unlink(2);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"]);
    assert_eq!(desk.refuted(7), ["10.0.0.7:4370", "node-3.example:4370"]);
    assert_eq!(desk.book.known_addresses(at(3)), [Address::from(at(3))].into());
}

#[test]
fn so_it_is_if_the_link_at_the_old_address_outlives_the_first_one_at_the_new() {
    let mut desk = Desk::new();
    desk.link_named(1, 3);
    desk.resolved(&[3]);
    desk.link_named(2, 7);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"], "another incarnation runs elsewhere");
    desk.unlink(1);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"]);
}

#[test]
fn a_node_that_is_linked_at_two_addresses_may_be_at_that_one_alone_where_its_last_link_was() {
    let mut desk = Desk::new();
    desk.link_named(1, 3);
    let remote = SocketAddr::from(([10, 0, 0, 7], 50_000));
    desk.book.linked(desk.now, LinkId(2), &incarnation(1), None, remote);
    desk.resolved(&[3, 7]);
    assert_eq!((desk.refuted(3).len(), desk.refuted(7).len()), (2, 2));
    desk.unlink(1);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"], "it is linked at the other one");
    desk.unlink(2);
    assert_eq!((desk.refuted(3).len(), desk.refuted(7).len()), (1, 2));
    let called = desk.book.known_addresses(at(3));
    assert!(
        called.contains(incarnation(1).name().address().unwrap()),
        "its name leads there, too: {called:?}"
    );
}

#[test]
fn a_name_counts_only_where_it_leads() {
    let host = incarnation(1).name().address().unwrap().clone();
    let mut desk = Desk::new();
    desk.link_named(1, 3);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"], "it may have come through a NAT");
    assert!(desk.book.is_unresolved(&host));
    desk.resolved(&[]);
    assert!(desk.book.is_unresolved(&host), "there was no answer");
    desk.resolved(&[7, 9]);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"]);
    assert!(desk.book.is_unresolved(&host));
    desk.resolved(&[3, 9]);
    assert_eq!(desk.refuted(3), ADDRESS_AND_NAME);
    assert!(!desk.book.is_unresolved(&host));
    desk.resolved(&[]);
    assert_eq!(desk.refuted(3), ADDRESS_AND_NAME, "a name server that is down takes nothing back");
    desk.resolved(&[9]);
    desk.unlink(1);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"], "the name has moved");
    assert!(!desk.book.is_unresolved(&host), "none is linked");
}

#[test]
fn where_another_incarnation_was_linked_nothing_is_known_of_one_that_others_report() {
    let mut desk = Desk::new();
    desk.link_named(1, 3);
    desk.resolved(&[3]);
    desk.unlink(1);
    desk.book.reported(&incarnation(1));
    assert_eq!(desk.refuted(3), ADDRESS_AND_NAME);
    desk.book.reported(&incarnation(2));
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"]);
}

#[test]
fn a_node_that_is_known_by_an_ip_address_has_ended_only_if_that_one_refuses() {
    let mut desk = Desk::new();
    // By way of a load balancer, a NAT or a published port at another address.
    desk.book.linked(desk.now, LinkId(1), &peer(3), Some(at(7)), at(7));
    desk.wait(5000);
    desk.unlink(1);
    assert_eq!(desk.refuted(7), ["10.0.0.7:4370"]);
    assert_eq!(desk.refuted(3), ["10.0.0.3:4370"]);
}

#[test]
fn a_further_address_of_a_linked_node_is_not_dialled_and_proves_nothing() {
    let mut desk = Desk::new();
    desk.discovered(&[3, 7]);
    assert_eq!(desk.due().len(), 2);
    desk.tried(3, Attempt::Dial, Outcome::Connected);
    desk.tried(7, Attempt::Dial, Outcome::Connected);
    desk.book.linked(desk.now, LinkId(1), &incarnation(1), Some(at(3)), at(3));
    desk.book.covered(desk.now, LinkId(1), at(7));
    desk.wait(60_000);
    assert_eq!(desk.due(), []);
    assert_eq!((desk.state(3), desk.state(7)), (DialState::Linked, DialState::Linked));
    assert_eq!(desk.survey().named(), [incarnation(1).name().address().unwrap().clone()].into());
    desk.resolved(&[3, 7]);
    desk.unlink(1);
    assert_eq!((desk.refuted(3).len(), desk.refuted(7).len()), (2, 1));
    assert_eq!(desk.due(), [(at(3), Attempt::Probe)]);
    desk.wait(1000);
    assert_eq!(desk.due(), [(at(7), Attempt::Dial)], "it is one more way");
    // The link has closed meanwhile.
    desk.book.covered(desk.now, LinkId(1), at(7));
    assert_eq!(desk.state(7), DialState::Connecting);
}
