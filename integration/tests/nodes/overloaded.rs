//! A peer that does not read: what waits to be sent to it stays bounded, the sender gets an error, the link lives, and all of
//! it arrives when the peer reads again.

use std::time::Duration;

use cloister_integration::{Block, Node, Plan, agree, eventually, marks, report, start_all};
use serde_json::Value;

/// How many bytes each message has.
const BYTES: u64 = 64 << 10;

/// How much may wait, as configured.
const LIMIT_MIB: u64 = 16;

/// How much more memory the sender may have, in KiB: what waits, once more while ractor puts it together, and some for other
/// things. Without a limit, as much as the sender can make in the time: gigabytes.
const MAX_KIB: u64 = (2 * LIMIT_MIB + 24) << 10;

/// For how long messages are sent to the peer that does not read. Less than the 10 s after which one without heartbeats is gone.
const FLOOD_MS: u64 = 4000;

#[test]
fn what_waits_for_a_peer_that_does_not_read_is_bounded_and_arrives_when_it_reads_again() {
    let patient = |plan: Plan| {
        let plan = plan.worker("echo").set("TIMING__UNREACHABLE_AFTER", "60s").set("CONSENSUS", 2);
        plan.set("LIMITS__LINK_BYTES", format!("{LIMIT_MIB}MiB"))
    };
    let plans: Vec<_> = Plan::list(&Block::new(3).ips()).into_iter().map(patient).collect();
    let mut nodes = start_all(&plans);
    agree(&nodes);
    let (mut turn, names) = (0, nodes.iter().map(|node| node.name().to_owned()).collect::<Vec<_>>());
    eventually("every worker is found", || {
        turn += 1;
        let found = nodes[0].ask(&format!("workers {turn}"));
        if found.as_array().map(Vec::len) == Some(3) { Ok(()) } else { Err(found) }
    });
    let marks = marks(&nodes);
    let before = nodes[0].memory();

    nodes[2].signal("STOP");
    let command = format!("floods {} {BYTES} {FLOOD_MS}", names[2]);
    nodes[0].send_command(&command);
    let watched = std::thread::scope(|scope| {
        let sender = &nodes[0];
        let max = scope.spawn(|| max_memory(sender, Duration::from_millis(FLOOD_MS)));
        max.join().expect("it only looks")
    });
    let flood = nodes[0].replied(&command).value;
    let grown = watched.saturating_sub(before);
    report(&format!("{flood}; memory grew by {} MiB, bar {} MiB", grown >> 10, MAX_KIB >> 10));
    let (sent, refused) = (number(&flood, "sent"), number(&flood, "refused"));
    assert!(refused > 0, "the sender was told: {flood}");
    assert_eq!(flood["other"].as_array().map(Vec::len), Some(0), "{flood}");
    // Every other one is sent so that it comes back, if only for the other half of the limit's length.
    assert!(number(&flood, "returned") > refused / 4, "{flood}");
    let max = (LIMIT_MIB << 20) + kernel_buffers() + (4 << 20);
    assert!(sent * BYTES < max, "what was taken was bounded by {} MiB: {flood}", max >> 20);
    assert!(grown < MAX_KIB, "the memory of the sender grew by {grown} KiB, over {MAX_KIB} KiB");
    assert_eq!(nodes[0].counter("cloister_rejected_total{reason=\"overloaded\"} "), refused);
    let waiting = nodes[0].counter("cloister_waiting_bytes ");
    assert!(waiting > LIMIT_MIB << 19 && waiting <= (LIMIT_MIB + 1) << 20, "{waiting} bytes wait");
    let lines = nodes[0].log().count("messages to a peer are refused");
    assert!((1..=FLOOD_MS / 1000 + 2).contains(&(lines as u64)), "it was logged {lines} times");

    let fill = nodes[0].ask(&format!("fills {}", names[2]));
    assert!(fill["was_full"] == true && fill["call_is_back"] == true, "{fill}");
    let sent = sent + number(&fill, "sent");

    nodes[2].signal("CONT");
    eventually("all that was taken arrives", || {
        let taken = nodes[2].ask("taken");
        if number(&taken, "messages") == sent { Ok(()) } else { Err(taken) }
    });
    let flood = nodes[0].ask(&format!("floods {} 100 50", names[2]));
    assert!(number(&flood, "sent") > 0 && number(&flood, "refused") == 0, "it goes on: {flood}");
    eventually("nothing waits", || match nodes[0].counter("cloister_waiting_bytes ") {
        0 => Ok(()),
        waiting => Err(waiting),
    });
    for (node, mark) in nodes.iter().zip(&marks) {
        assert_eq!(node.notices().split_off(*mark), [], "{} was moved", node.name());
    }
}

/// How many bytes the kernel takes of one connection at most, at both of its ends.
fn kernel_buffers() -> u64 {
    let max = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
        text.split_whitespace().next_back()?.parse().ok()
    };
    max("tcp_rmem").expect("Linux says so") + max("tcp_wmem").expect("Linux says so")
}

/// The most memory that a node has in this time, in KiB.
fn max_memory(node: &Node, span: Duration) -> u64 {
    let began = std::time::Instant::now();
    let mut max = 0;
    while began.elapsed() < span {
        max = max.max(node.memory());
        std::thread::sleep(Duration::from_millis(20));
    }
    max
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}
