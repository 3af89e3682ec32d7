//! A DNS server that misbehaves on demand: a real one, on UDP and TCP, whose answers can be changed while it runs.
//! It ends when it is dropped.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use hickory_proto::op::ResponseCode;
use hickory_proto::op::{Message, MessageType, OpCode};
pub use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::random::Rng;

/// How the server answers for a name. Other names are absent.
///
/// Can be written as text: see [`FromStr`].
#[derive(Clone, Debug, PartialEq)]
pub enum Behaviour {
    /// With these records.
    Records(Vec<Data>),
    /// With a third of the records, another one each time.
    Third(Vec<Data>),
    /// That the name exists and has no records.
    Empty,
    /// That the name does not exist.
    Absent,
    /// With an error.
    Fails(ResponseCode),
    /// Not at all.
    Silent,
    /// With bytes that are no DNS message but for the id.
    Garbage,
    /// Later.
    Late(Duration, Box<Behaviour>),
    /// In one way to questions of this type, in the other to all others.
    Only(RecordType, Box<Behaviour>, Box<Behaviour>),
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// An A or AAAA record.
    Ip(IpAddr),
    /// An SRV record.
    Target {
        /// The target's name.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl Behaviour {
    /// With A and AAAA records of these addresses.
    pub fn addresses(ips: impl IntoIterator<Item = impl Into<IpAddr>>) -> Self {
        Self::Records(ips.into_iter().map(|ip| Data::Ip(ip.into())).collect())
    }

    /// As `self`, but later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self::Late(delay, Box::new(self))
    }
}

impl FromStr for Behaviour {
    type Err = String;

    /// `10.0.0.1 fd00::1 host-a:4370` (the last is an SRV record), `third` and records, `empty`, `absent`, `servfail`, `refused`,
    /// `silent`, `garbage`, `late`, milliseconds and any of these.
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        match word {
            "empty" => Ok(Self::Empty),
            "absent" => Ok(Self::Absent),
            "servfail" => Ok(Self::Fails(ResponseCode::ServFail)),
            "refused" => Ok(Self::Fails(ResponseCode::Refused)),
            "silent" => Ok(Self::Silent),
            "garbage" => Ok(Self::Garbage),
            "third" => records(rest).map(Self::Third),
            "late" => {
                let (delay, then) =
                    rest.trim().split_once(' ').ok_or("late needs milliseconds and what then")?;
                let delay =
                    delay.parse().map_err(|_| format!("`{delay}` is not a number of milliseconds"))?;
                Ok(then.parse::<Self>()?.after(Duration::from_millis(delay)))
            }
            _ => records(text).map(Self::Records),
        }
    }
}

fn records(text: &str) -> Result<Vec<Data>, String> {
    let record = |word: &str| {
        if let Ok(ip) = word.parse() {
            return Ok(Data::Ip(ip));
        }
        let target = word.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = target.ok_or_else(|| format!("`{word}` is neither an address nor host:port"))?;
        Ok(Data::Target { host: host.to_owned(), port })
    };
    text.split_whitespace().map(record).collect()
}

/// A question that the server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedQuery {
    /// In lower case, without the final dot.
    pub name: String,
    /// What for.
    pub kind: RecordType,
    /// Whether over TCP.
    pub tcp: bool,
}

/// A running server.
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

struct Zone {
    behaviours: HashMap<String, Behaviour>,
    ttl: u32,
    udp_limit: u16,
    random: Rng,
    asked: Vec<ReceivedQuery>,
}

impl DnsServer {
    /// Starts on a free port of 127.0.0.1; every name is absent.
    pub async fn start() -> Self {
        // A port that is free for UDP need not be free for TCP.
        for _ in 0..50 {
            if let Ok(server) = Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await {
                return server;
            }
        }
        panic!("no port on 127.0.0.1 is free for both UDP and TCP");
    }

    /// Starts at `address`; every name is absent.
    ///
    /// # Errors
    ///
    /// The error of the system if the address cannot be listened on.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let udp = Arc::new(UdpSocket::bind(address).await?);
        let address = udp.local_addr()?;
        let tcp = TcpListener::bind(address).await?;
        let zone = Arc::new(Mutex::new(Zone {
            behaviours: HashMap::new(),
            ttl: 600,
            udp_limit: 1232,
            random: Rng::new(0),
            asked: Vec::new(),
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, zone.clone()));
        tasks.spawn(serve_tcp(tcp, zone.clone()));
        Ok(Self { address, zone, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers so for `name` from now on.
    pub fn set(&self, name: &str, behaviour: Behaviour) {
        self.zone().behaviours.insert(key(name), behaviour);
    }

    /// Promises each record for that many seconds (600 at the start, as Docker does).
    pub fn set_ttl(&self, seconds: u32) {
        self.zone().ttl = seconds;
    }

    /// Cuts answers over UDP off at that many bytes, even if the client takes more.
    pub fn set_udp_limit(&self, bytes: u16) {
        self.zone().udp_limit = bytes;
    }

    /// Carries out `name = behaviour`, as in `app = late 500 10.0.0.1`.
    ///
    /// # Errors
    ///
    /// What is wrong with the line.
    pub fn command(&self, line: &str) -> Result<(), String> {
        let (name, behaviour) = line.split_once('=').ok_or("write `name = behaviour`")?;
        self.set(name.trim(), behaviour.parse()?);
        Ok(())
    }

    /// Every question so far.
    pub fn asked(&self) -> Vec<ReceivedQuery> {
        self.zone().asked.clone()
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        lock(&self.zone)
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

async fn serve_udp(socket: Arc<UdpSocket>, zone: Arc<Mutex<Zone>>) {
    let mut answers = JoinSet::new();
    let mut buffer = [0; 4096];
    loop {
        while answers.try_join_next().is_some() {}
        // An error here is the echo of a client that is gone.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some((delay, reply)) = answer(&buffer[..length], false, &zone) else { continue };
        let socket = socket.clone();
        answers.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = socket.send_to(&reply, from).await;
        });
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        if let Ok((stream, _)) = listener.accept().await {
            clients.spawn(serve_client(stream, zone.clone()));
        }
    }
}

async fn serve_client(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; length.into()];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some((delay, reply)) = answer(&question, true, &zone) else { continue };
        tokio::time::sleep(delay).await;
        let Ok(length) = u16::try_from(reply.len()) else { return };
        if stream.write_u16(length).await.is_err() || stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

/// The reply and when to send it; nothing if the server keeps silent.
fn answer(question: &[u8], tcp: bool, zone: &Mutex<Zone>) -> Option<(Duration, Vec<u8>)> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let (name, kind) = (key(&query.name().to_string()), query.query_type());
    let mut zone = lock(zone);
    zone.asked.push(ReceivedQuery { name: name.clone(), kind, tcp });
    let mut behaviour = zone.behaviours.get(&name).cloned().unwrap_or(Behaviour::Absent);

    let mut reply = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    let mut delay = Duration::ZERO;
    loop {
        match behaviour {
            Behaviour::Late(more, then) => {
                delay += more;
                behaviour = *then;
            }
            Behaviour::Only(only, then, otherwise) => {
                behaviour = if kind == only { *then } else { *otherwise };
            }
            Behaviour::Silent => return None,
            Behaviour::Garbage => {
                let mut bytes = question.metadata.id.to_be_bytes().to_vec();
                bytes.extend([0xff; 20]);
                return Some((delay, bytes));
            }
            Behaviour::Empty => break,
            Behaviour::Absent => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                break;
            }
            Behaviour::Fails(code) => {
                reply.metadata.response_code = code;
                break;
            }
            Behaviour::Third(data) => {
                let wanted = data.len().div_ceil(3);
                behaviour = Behaviour::Records(zone.pick(data, wanted));
            }
            Behaviour::Records(data) => {
                let ttl = zone.ttl;
                let matching = data.iter().filter_map(|data| rdata(data, kind));
                reply.add_answers(matching.map(|data| Record::from_rdata(query.name().clone(), ttl, data)));
                break;
            }
        }
    }
    let bytes = reply.to_vec().ok()?;
    let limit = usize::from(question.max_payload().min(zone.udp_limit));
    if tcp || bytes.len() <= limit {
        return Some((delay, bytes));
    }
    let mut cut = reply.clone();
    cut.metadata.truncation = true;
    while cut.answers.pop().is_some() {
        let bytes = cut.to_vec().ok()?;
        if bytes.len() <= limit {
            return Some((delay, bytes));
        }
    }
    None
}

impl Zone {
    fn pick(&mut self, mut data: Vec<Data>, wanted: usize) -> Vec<Data> {
        for i in 0..wanted.min(data.len()) {
            let other = i + self.random.index(data.len() - i);
            data.swap(i, other);
        }
        data.truncate(wanted);
        data
    }
}

fn rdata(data: &Data, kind: RecordType) -> Option<RData> {
    match (data, kind) {
        (Data::Ip(IpAddr::V4(ip)), RecordType::A) => Some(RData::A(A(*ip))),
        (Data::Ip(IpAddr::V6(ip)), RecordType::AAAA) => Some(RData::AAAA(AAAA(*ip))),
        (Data::Target { host, port }, RecordType::SRV) => {
            let mut target = Name::from_ascii(host).ok()?;
            target.set_fqdn(true);
            Some(RData::SRV(SRV::new(0, 0, *port, target)))
        }
        _ => None,
    }
}
