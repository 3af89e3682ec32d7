//! The owner of a key: how fast a lookup is, how balanced the ring is, and how little moves.

use std::hint::black_box;
use std::time::{Duration, Instant};

use cloister::Cloister;
use cloister_proto::{Incarnation, Member, NodeId, Ring, SLOTS, Slot};
use xxhash_rust::xxh3::xxh3_64;

use super::{Measuring, millis};
use crate::record::Run;

/// How long one run looks up keys.
const SPAN: Duration = Duration::from_millis(200);

/// How many keys there are; enough that no predictor of branches learns them.
const KEYS: usize = 4096;

/// How many lookups are watched for allocations.
const WATCHED: usize = 10_000;

/// How long the node on paper holds its lease.
pub(super) const LEASE: Duration = Duration::from_secs(3600);

/// `whois` and `is_mine` in a view of `n` members: millions a second and thread, by one thread and by two at once.
pub(crate) fn lookup(measuring: &mut Measuring<'_>, n: usize) {
    let members = members(0, n);
    let (me, others) = members.split_first().expect("at least one node");
    let cloister = cloister_core::placed(me, others, LEASE);
    let keys: Vec<String> = (0..KEYS).map(|key| format!("user:{key:015}")).collect();
    // What no lookup can do without: the hash of the key, and one read of a table of that many slots.
    let table: Vec<u16> = (0..SLOTS).map(|slot| (slot % n) as u16).collect();
    measuring.each_run(|measuring, _| {
        let baseline = lookups(&cloister, &keys, |_, key| {
            let slot = xxh3_64(key.as_bytes()) as usize % SLOTS;
            black_box(table.get(slot)).is_some()
        });
        let paired = |value| Run { baseline: Some(baseline), ..Run::from(value) };
        let alone = lookups(&cloister, &keys, |cloister, key| black_box(cloister.whois(key)).is_some());
        let both = std::thread::scope(|scope| {
            let owner =
                || lookups(&cloister, &keys, |cloister, key| black_box(cloister.whois(key)).is_some());
            let other = scope.spawn(owner);
            owner().min(other.join().expect("looking up does not panic"))
        });
        measuring.note("whois", n, paired(alone));
        measuring.note("whois-shared", n, Run { baseline: Some(alone), ..Run::from(both) });
        let is_mine = lookups(&cloister, &keys, |cloister, key| cloister.is_mine(key));
        measuring.note("is-mine", n, paired(is_mine));
        let allocated = allocation_counter::measure(|| {
            for key in keys.iter().cycle().take(WATCHED) {
                black_box((cloister.whois(key), cloister.is_mine(key)));
            }
        });
        measuring.note("whois-allocations", n, allocated.count_total as f64);
    });
}

/// Millions of lookups a second.
fn lookups(cloister: &Cloister, keys: &[String], lookup: impl Fn(&Cloister, &str) -> bool) -> f64 {
    let (began, mut done) = (Instant::now(), 0_usize);
    while began.elapsed() < SPAN {
        for key in keys {
            black_box(lookup(black_box(cloister), black_box(key)));
        }
        done += keys.len();
    }
    done as f64 / began.elapsed().as_secs_f64() / 1e6
}

/// Builds rings over `n` members, other ones in each run. It measures how long that takes, how even the shares are, and how much moves when
/// the last member comes and when the first goes.
pub(crate) fn ring(measuring: &mut Measuring<'_>, n: usize) {
    measuring.each_run(|measuring, number| {
        let ids: Vec<NodeId> = members(number, n).into_iter().map(|member| member.id).collect();
        let (without_last, without_first) = (&ids[..n - 1], &ids[1..]);
        let began = Instant::now();
        let ring = Ring::new(black_box(&ids));
        measuring.note("ring-build", n, millis(began.elapsed()));
        assert!(ring == Ring::new(ids.iter().rev()), "the order in which members come changes nothing");
        let mean = Slot::all().count() as f64 / n as f64;
        let max = ids.iter().map(|id| ring.slot_count(id)).max().unwrap_or_default();
        measuring.note("ring-balance", n, max as f64 / mean);
        let moved = |before: &Ring, next: &Ring| {
            let slots: usize = before.transfers_to(next).iter().map(|a_move| a_move.slots.len()).sum();
            slots as f64 / mean
        };
        measuring.note("ring-more", n, moved(&Ring::new(without_last), &ring));
        measuring.note("ring-less", n, moved(&ring, &Ring::new(without_first)));
    });
}

/// So many members; those of another set have other names.
pub(super) fn members(set: usize, n: usize) -> Vec<Member> {
    let member = |number: usize| {
        let name = format!("app@10.{}.{}.{}:4370", set % 256, number / 250, number % 250 + 1);
        let name = name.parse().expect("invariant: an IP address makes a name");
        Member::without_tags(NodeId::new(name, Incarnation(number as u64), number as u64))
    };
    (0..n).map(member).collect()
}
