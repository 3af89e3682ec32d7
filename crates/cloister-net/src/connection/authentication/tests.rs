use tokio::io::{DuplexStream, duplex};

use super::*;

fn node(app: &str, name: &str, secret: &str) -> Credentials {
    Credentials::new(app.to_owned(), name.to_owned(), secret)
}

type Outcome = Result<(), AuthFailure>;

async fn dial(stream: &mut DuplexStream, mine: &Credentials) -> Outcome {
    super::dial(stream, mine, |_| true).await.map(drop).map_err(|rejected| rejected.why)
}

async fn accept(stream: &mut DuplexStream, mine: &Credentials) -> Outcome {
    super::accept(stream, mine, |_| true).await.map(drop).map_err(|rejected| rejected.why)
}

/// What the end that dials and the end that accepts make of each other. Each closes its end when it is done.
async fn meet(dialing: &Credentials, accepting: &Credentials) -> (Outcome, Outcome) {
    let (mut near, mut far) = duplex(64);
    let dials = async move { dial(&mut near, dialing).await };
    let accepts = async move { accept(&mut far, accepting).await };
    tokio::join!(dials, accepts)
}

/// What the end that accepts makes of these bytes.
async fn says(bytes: &[u8]) -> Outcome {
    let (mut near, mut far) = duplex(1 << 16);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    accept(&mut far, &node("shop", "b", "secret")).await
}

#[tokio::test]
async fn both_ends_tell_the_causes_apart() {
    let a = node("shop", "a", "secret");
    assert_eq!(meet(&a, &node("shop", "b", "secret")).await, (Ok(()), Ok(())));
    let differs = || Err(AuthFailure::OtherCookie);
    assert_eq!(meet(&a, &node("shop", "b", "guessed")).await, (differs(), differs()));
    let other = |theirs: &str, mine: &str| {
        Err(AuthFailure::OtherApplication { theirs: theirs.to_owned(), mine: mine.to_owned() })
    };
    assert_eq!(meet(&a, &node("barn", "b", "secret")).await, (other("barn", "shop"), other("shop", "barn")));
    assert_eq!(meet(&a, &a).await, (Err(AuthFailure::Itself), Err(AuthFailure::Itself)));
}

#[tokio::test]
async fn a_check_learns_what_a_node_would_and_begins_no_session() {
    let check = |app: &str, secret: &str| node(app, "doctor", secret).for_check();
    let b = node("shop", "b", "secret");
    assert_eq!(meet(&check("shop", "secret"), &b).await, (Ok(()), Err(AuthFailure::Check)));
    let differs = || Err(AuthFailure::OtherCookie);
    assert_eq!(meet(&check("shop", "guessed"), &b).await, (differs(), differs()));
    let (near, far) = meet(&check("barn", "secret"), &b).await;
    assert!(matches!((near, far), (Err(AuthFailure::OtherApplication { .. }), Err(_))));
}

#[tokio::test]
async fn a_connection_that_is_not_to_begin_ends_at_both_ends_before_a_session() {
    let (a, b) = (node("shop", "a", "secret"), node("shop", "b", "secret"));
    for accepting_decides in [true, false] {
        let (mut near, mut far) = duplex(1 << 16);
        let dials = async {
            let outcome = super::dial(&mut near, &a, |peer| peer == "b" && accepting_decides).await;
            outcome.map_err(|rejected| rejected.why)
        };
        let accepts = async {
            let outcome = super::accept(&mut far, &b, |peer| peer == "a" && !accepting_decides).await;
            outcome.map_err(|rejected| rejected.why)
        };
        let (dialled, accepted) = tokio::join!(dials, accepts);
        assert_eq!(dialled, Err(AuthFailure::Simultaneous));
        let begun = if accepting_decides { Err(AuthFailure::Simultaneous) } else { Ok(Vec::new()) };
        assert_eq!(accepted, begun, "it hears of it when the other end closes");
    }
}

#[tokio::test]
async fn what_follows_the_exchange_is_left_for_the_session() {
    let (mut near, mut far) = duplex(1 << 16);
    let (a, b) = (node("shop", "a", "secret"), node("shop", "b", "secret"));
    let dials = async { super::dial(&mut near, &a, |_| true).await.unwrap() };
    let accepts = async {
        accept(&mut far, &b).await.unwrap();
        // Before the other end has read that it is admitted.
        far.write_all(b"session").await.unwrap();
    };
    let (mut rest, ()) = tokio::join!(dials, accepts);
    drop(far);
    near.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"session");
}

/// The proof of one connection, and that of the other side, are worth nothing.
#[tokio::test]
async fn a_proof_cannot_be_reflected_or_used_again() {
    let victim = node("shop", "b", "secret");
    // It has no secret: it passes the victim's own proof back, as the side that was dialled.
    let (mut near, mut far) = duplex(1 << 16);
    let reflects = async {
        let mut peer = Peer::new(&mut far);
        let theirs = peer.introduction(&mut String::new()).await.unwrap();
        let mut mine = theirs.introduction.clone();
        "a".clone_into(&mut mine.name);
        peer.send(&Step::Introduction(mine).frame()).await.unwrap();
        let proof = peer.step().await.unwrap();
        peer.send(&proof.frame()).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(dial(&mut near, &victim), reflects);
    assert_eq!(outcome, Err(AuthFailure::OtherCookie));

    // Of two introductions of one node none is like the other, so an old proof fits none.
    assert_ne!(introduce(&victim), introduce(&victim));
}

#[tokio::test]
async fn what_is_no_node_is_quoted_bounded_and_escaped() {
    let said = async |bytes: &[u8]| match says(bytes).await {
        Err(AuthFailure::NotANode { said }) => said,
        other => panic!("{other:?}"),
    };
    assert_eq!(said(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n").await, "HTTP/1.1 400 Bad Request");
    assert_eq!(said(b"220 mail\r\n").await, "220 mail");
    assert_eq!(said(b"no").await, "no");
    assert_eq!(said(b"\x1b[31mERROR cloister: forged").await, "\\u{1b}[31mERROR cloister: forged");
    assert_eq!(said(&[b'x'; 5000]).await, format!("{}…", "x".repeat(MAX_PRINTED)));
    let forged =
        Introduction { version: VERSION, app: "\x1b]0;title\n".to_owned(), ..Introduction::default() };
    let error = says(&Step::Introduction(forged).frame()).await.unwrap_err();
    assert!(error.to_string().contains("its name is \"\\u{1b}]0;title\""), "{error}");
    let later = Introduction { version: 2, app: "shop".to_owned(), ..Introduction::default() };
    let error = says(&Step::Introduction(later).frame()).await.unwrap_err();
    assert!(error.to_string().contains("version 2") && error.to_string().contains("version 1"), "{error}");
}

#[tokio::test]
async fn a_length_is_no_memory_and_no_bytes_panic() {
    let huge = [MAGIC.as_slice(), &u32::MAX.to_be_bytes()].concat();
    assert!(matches!(says(&huge).await, Err(AuthFailure::NotANode { .. })));
    let whole = introduce(&node("shop", "a", "secret")).unwrap();
    for end in 0..whole.len() {
        for flipped in [0, end / 2, end.saturating_sub(1)] {
            let mut bytes = whole[..end].to_vec();
            assert!(matches!(says(&bytes).await, Err(AuthFailure::Closed(_))), "{end}");
            if let Some(byte) = bytes.get_mut(flipped) {
                *byte ^= 0xff;
            }
            assert!(says(&bytes).await.is_err());
        }
    }
}
