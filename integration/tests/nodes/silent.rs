//! A name server may list hundreds of addresses that never answer. They take few descriptors, and hide no node that answers.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use cloister_integration::{Block, Budget, Node, Plan, Usage, agree, assembly_time, report, start_all};
use tokio::net::{TcpListener, TcpSocket};

/// How many addresses say nothing.
const SILENT: u8 = 240;

/// How many dials a node makes at a time, and what else it may open meanwhile.
const DIALS: u64 = 64;
const MORE: u64 = 16;

/// How long a node may take to find two others behind the silent addresses. Each of five times 48 has half a second; then it leaves
/// the dial to the greater address for 10 ms for each address that it knows.
const JOIN: Budget = Budget::millis(6000);

/// An address that drops what comes: the one place in the queue of its listener is taken.
fn silent(address: SocketAddr) -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(address).expect("an address of this test");
    let listener = socket.listen(0).expect("it listens");
    let filler = TcpStream::connect_timeout(&address, Duration::from_secs(2)).expect("the first is taken in");
    (listener, filler)
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_silent_addresses_take_64_descriptors_and_hide_no_node() {
    let block = Block::new(SILENT + 3);
    let ips = block.ips();
    let (crowd, [newcomer, first, second]) = ips.split_at(usize::from(SILENT)) else {
        panic!("243 addresses")
    };
    let _silent: Vec<_> = crowd.iter().map(|ip| silent(SocketAddr::from((*ip, 4370)))).collect();
    let pair = [*first, *second];
    let plans = pair.map(|ip| Plan::at(ip).seeds(&pair));
    // It knows the two, they do not know it.
    let seeds = [crowd, &[*newcomer], &pair[..]].concat();
    let plan = Plan::at(*newcomer).seeds(&seeds).set("CONSENSUS", 2);
    let work = move || {
        let mut nodes = start_all(&plans);
        agree(&nodes);
        let idle = Usage::of(&mut nodes[0]).descriptors;
        nodes.push(Node::start(&plan));
        // Until it runs its own program it has the descriptors of this one.
        nodes[2].wait_for_notice("its first state", 0, |_| true);
        let (began, mut max) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(5) {
            max = max.max(Usage::of(&mut nodes[2]).descriptors);
            std::thread::sleep(Duration::from_millis(20));
        }
        let (_, up) = agree(&nodes);
        report(&format!(
            "beside {SILENT} silent addresses: at most {max} descriptors; a node without them has {idle}"
        ));
        assert!(max <= idle + DIALS + MORE, "{max} descriptors, {idle} without silent addresses");
        JOIN.meet("a node behind silent addresses joins", assembly_time(&nodes, up));
    };
    tokio::task::spawn_blocking(work).await.expect("it does not panic");
}
