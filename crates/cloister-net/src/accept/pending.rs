//! The hall: connections that came in and are not linked yet, and who gives way when there are too many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::AbortHandle;

use crate::connection::socket::TrackedSocket;

/// How many connections may be open that are not linked yet.
const MOST: usize = 256;

/// How many of them may come from one address. All nodes of a laptop share theirs, so loopback is exempt.
const MOST_PER_IP: usize = 32;

/// Of the file descriptors that the process may have, the share that strangers may take: one in so many.
const SHARE: u64 = 4;

/// Who sits in the hall. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Hall {
    most: usize,
    guests: Arc<Mutex<Guests>>,
}

#[derive(Debug, Default)]
struct Guests {
    last: u64,
    by_number: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    ip: IpAddr,
    stage: Stage,
}

/// How far a guest has come, and how it is put out.
#[derive(Debug)]
enum Stage {
    /// It has just come.
    New,
    /// It has said nothing yet; this task waits for its first byte.
    Silent(AbortHandle),
    /// It introduces itself by this connection.
    Speaking(Weak<TrackedSocket>),
}

/// A place in the hall, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    hall: Hall,
    number: u64,
}

/// Who had to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PutOut(pub(crate) IpAddr);

impl Hall {
    /// A hall that leaves enough of `descriptors` to the rest of the process; `None` when there is no limit to them.
    pub(crate) fn new(descriptors: Option<u64>) -> Self {
        let share = descriptors.and_then(|most| usize::try_from(most / SHARE).ok()).unwrap_or(MOST);
        Self { most: share.clamp(1, MOST), guests: Arc::default() }
    }

    /// A place for who comes from `ip`. When all are taken somebody else gives way: who has said nothing before who
    /// speaks, whose address nobody knows before who comes from one of those `known`, and of these who came first.
    pub(crate) fn admit(
        &self,
        ip: IpAddr,
        known: impl FnOnce() -> BTreeSet<IpAddr>,
    ) -> (Seat, Option<PutOut>) {
        let mut guests = self.guests();
        let from_there = guests.by_number.values().filter(|guest| guest.ip == ip).count();
        let put_out = if from_there >= MOST_PER_IP && !ip.is_loopback() {
            guests.put_one_out(|guest| guest.ip == ip, &BTreeSet::new())
        } else if guests.by_number.len() >= self.most {
            guests.put_one_out(|_| true, &known())
        } else {
            None
        };
        guests.last += 1;
        let number = guests.last;
        guests.by_number.insert(number, Guest { ip, stage: Stage::New });
        (Seat { hall: self.clone(), number }, put_out)
    }

    /// Puts somebody out though there are places: there is not enough of something else.
    pub(crate) fn make_room(&self, known: BTreeSet<IpAddr>) -> Option<PutOut> {
        self.guests().put_one_out(|_| true, &known)
    }

    /// `task` waits for the first byte of who sits at `number`, if that has not come already.
    pub(crate) fn waits(&self, number: u64, task: AbortHandle) {
        if let Some(guest) = self.guests().by_number.get_mut(&number)
            && matches!(guest.stage, Stage::New)
        {
            guest.stage = Stage::Silent(task);
        }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    fn put_one_out(&mut self, among: impl Fn(&Guest) -> bool, known: &BTreeSet<IpAddr>) -> Option<PutOut> {
        let last_to_go = |guest: &Guest| {
            let speaks = !matches!(guest.stage, Stage::Silent(_));
            (speaks, known.contains(&guest.ip))
        };
        let number = self
            .by_number
            .iter()
            .filter(|(_, guest)| among(guest))
            .min_by_key(|(number, guest)| (last_to_go(guest), **number))
            .map(|(number, _)| *number)?;
        let guest = self.by_number.remove(&number)?;
        match guest.stage {
            // It gives up its place and is closed as soon as it finds out.
            Stage::New => {}
            Stage::Silent(task) => task.abort(),
            Stage::Speaking(socket) => {
                if let Some(socket) = socket.upgrade() {
                    socket.shutdown();
                }
            }
        }
        Some(PutOut(guest.ip))
    }
}

impl Seat {
    /// By what the hall knows it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The first byte has come; from now on nothing is aborted. Tells whether the place is still there.
    pub(crate) fn is_heard(&self) -> bool {
        match self.hall.guests().by_number.get_mut(&self.number) {
            Some(guest) => {
                guest.stage = Stage::New;
                true
            }
            None => false,
        }
    }

    /// It introduces itself by `socket`, which is hung up if it must give way, or has had to.
    pub(crate) fn speaks(&self, socket: &Arc<TrackedSocket>) {
        match self.hall.guests().by_number.get_mut(&self.number) {
            Some(guest) => guest.stage = Stage::Speaking(Arc::downgrade(socket)),
            None => socket.shutdown(),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hall.guests().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn nobody() -> BTreeSet<IpAddr> {
        BTreeSet::new()
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A task that waits for ever, as for the first byte of somebody silent.
    async fn silent(hall: &Hall, seat: &Seat) -> tokio::task::JoinHandle<()> {
        let task = tokio::spawn(std::future::pending());
        hall.waits(seat.number(), task.abort_handle());
        task
    }

    #[test]
    fn one_address_gives_way_to_itself_and_never_takes_every_place() {
        let hall = Hall::new(None);
        let mut seats = Vec::new();
        for number in 0..100 {
            let (seat, put_out) = hall.admit(ip(1), nobody);
            assert_eq!(put_out, (number >= MOST_PER_IP).then_some(PutOut(ip(1))));
            seats.push(seat);
        }
        assert_eq!(hall.guests().by_number.len(), MOST_PER_IP);
        assert_eq!(hall.admit(ip(2), nobody).1, None, "nobody else has to go");
        drop(seats);
        assert!(hall.guests().by_number.is_empty(), "every place is free again");
    }

    #[tokio::test]
    async fn who_is_silent_longest_gives_way_before_who_speaks_and_who_is_known() {
        let hall = Hall::new(Some(16));
        let seats: Vec<Seat> = (1..=4).map(|last| hall.admit(ip(last), nobody).0).collect();
        let known = || BTreeSet::from([ip(1)]);
        let mut tasks = Vec::new();
        for seat in &seats {
            tasks.push(silent(&hall, seat).await);
        }
        assert!(seats[1].is_heard());
        let (_third, put_out) = hall.admit(LOOPBACK, known);
        assert_eq!(put_out, Some(PutOut(ip(3))), "1 is known, 2 speaks");
        assert!(tasks.remove(2).await.unwrap_err().is_cancelled());
        let (_fourth, put_out) = hall.admit(LOOPBACK, known);
        assert_eq!(put_out, Some(PutOut(ip(4))));
        let (_known, put_out) = hall.admit(LOOPBACK, known);
        assert_eq!(put_out, Some(PutOut(ip(1))), "silent, though known");
        assert_eq!(
            hall.make_room(known()),
            Some(PutOut(ip(2))),
            "who speaks is the last to go, the oldest first"
        );
        assert!(!seats[1].is_heard(), "and finds out");
    }

    #[test]
    fn strangers_take_a_share_of_the_descriptors_at_most() {
        assert_eq!(Hall::new(Some(64)).most, 16);
        assert_eq!(Hall::new(Some(1024)).most, MOST);
        assert_eq!(Hall::new(None).most, MOST);
        assert_eq!(Hall::new(Some(0)).most, 1);
    }
}
