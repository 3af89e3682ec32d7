//! What a peer calls itself is any text that it likes. In a log, an error or a page it is never more than a part of a line.

use std::io;

use cloister::ractor::Actor;
use cloister::ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream, NodeServer, NodeServerMessage};
use cloister_core::links::admit;
use cloister_integration::{Block, Node, Plan, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

/// A line as a node of these tests would write it, and what clears a terminal.
const FORGED: &str = "2026-11-27T00:00:00.000000Z ERROR cloister: the cluster is down";
const CLEAR: &str = "\u{1b}[2J";

/// What nodes of a cluster called `it` without a secret authenticate with: SHA-256 of `cloister cookie 1`, and of both with
/// their lengths. Any process that reaches the port can compute it.
const COOKIE: &str = "97246426328fefdd72717554d8987a44461ce4bc551098772f30f1d01bd973a1";

/// A connection as ractor takes it.
struct Socket(TcpStream);

impl ClusterBidiStream for Socket {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (reader, writer) = self.0.into_split();
        let (near, far) = duplex(1 << 16);
        tokio::spawn(leave_out_control_frames(reader, far));
        (Box::new(near), Box::new(writer))
    }
}

/// Passes on the frames of ractor until the connection ends; each is its length in eight bytes and its body. A control frame begins
/// with `c1` and has its length in the last four of eight bytes.
async fn leave_out_control_frames(mut reader: OwnedReadHalf, mut ractor: DuplexStream) -> io::Result<()> {
    loop {
        let head = reader.read_u64().await?;
        let is_control = head >> 56 == 0xc1;
        let mut body = vec![
            0;
            usize::try_from(if is_control { head & 0xffff_ffff } else { head })
                .expect("a length that fits")
        ];
        reader.read_exact(&mut body).await?;
        if !is_control {
            ractor.write_u64(head).await?;
            ractor.write_all(&body).await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_line_of_its_own_is_shown_as_one_word() {
    let block = Block::new(2);
    let port = 4370;
    let name = format!("it\n{FORGED}\r{CLEAR}");
    let server = NodeServer::new(0, COOKIE.to_owned(), name, "forger".to_owned(), None, None);
    let (server, _) = Actor::spawn(None, server, ()).await.expect("a port of its own");
    let listener = TcpListener::bind((block.ip(0), port)).await.expect("an address of its own");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // It knows the secret, since there is none. What it calls itself here is shown nowhere.
            if admit(&mut socket, "it", "", "it#forger").await.is_ok() {
                let stream = Box::new(Socket(socket));
                let opened = NodeServerMessage::ConnectionOpenedExternal { stream, is_server: true };
                server.cast(opened).expect("it runs");
            }
        }
    });

    let plan = Plan::at(block.ip(1)).seeds(&block.ips()).set("CONSENSUS", 2).set("ASSEMBLY_TIMEOUT", "8s");
    let plan = plan.variable("NODE_PLAIN", "1");
    let node = Node::start(&plan.variable("RUST_LOG", "debug,ractor=warn,ractor_cluster=warn"));
    let (missing, log) = tokio::task::spawn_blocking(move || {
        let missing = eventually("it says what is wrong with the peer", || {
            let missing = node.readiness().missing;
            if missing.iter().any(|text| text.contains("the cluster is down")) {
                Ok(missing)
            } else {
                Err(missing)
            }
        });
        let log = eventually("it has given up waiting, and logs for which peer", || {
            let lines = node.log().lines();
            if lines.iter().any(|line| line.contains("not up within")) { Ok(lines) } else { Err(lines) }
        });
        (missing, log)
    })
    .await
    .expect("it does not panic");

    assert!(missing.iter().all(|text| !text.chars().any(char::is_control)), "{missing:?}");
    assert!(
        missing.iter().any(|text| text.contains(&format!("it\\n{FORGED}\\r\\u{{1b}}[2J@forger"))),
        "{missing:?}"
    );
    for line in &log {
        assert!(!line.starts_with("2026-11-27T00:00:00.000000Z") && !line.contains(CLEAR), "{line}");
    }
    assert!(log.iter().any(|line| line.contains(FORGED)), "it is shown, as a part of another line");
}
