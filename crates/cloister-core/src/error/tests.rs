//! What the texts of errors say: a person reads them.

use cloister_proto::Incarnation;

use super::*;

/// Each error of a call, as one by key that was under way for 1.2 s has it, and what its text says to do.
fn all() -> Vec<(CallError, &'static str)> {
    let (name, key) = (|| "cart".to_owned(), || "user:42".to_owned());
    let node = || NodeId::new("shop@10.0.0.7:4370".parse().unwrap(), Incarnation(7), 7);
    let (epoch, waited) = (Some(Epoch::from_u64(9)), Duration::from_millis(1_234));
    let target = || Target { name: name().into(), key: Some(key().into()), node: node(), epoch, waited };
    let text = |text: &str| text.into();
    let no_answers = [
        NoAnswer::TimedOut,
        NoAnswer::LinkLost,
        NoAnswer::Died,
        NoAnswer::TooLarge { len: 300, max: 200 },
        NoAnswer::Malformed(text("it is so")),
    ];
    let uncertain = no_answers.map(|cause| CallError::Uncertain {
        node: node(),
        epoch,
        name: name(),
        key: Some(key()),
        waited,
        cause,
    });
    let (sent, cause) = (|| text("Cart::Add"), || text("it is so"));
    let others = [
        CallError::NoOwner { name: name(), key: key(), node: Some(node()), epoch, waited, cause: "it is so" },
        CallError::TooManyWaiting { target: target(), limit: WaitingLimit::Calls, waiting: 300, max: 200 },
        CallError::NoActor { target: target() },
        CallError::NotLinked { target: target() },
        CallError::WrongMessage { target: target(), sent: sent(), expected: text("Cart"), cause: cause() },
        CallError::NotEncodable { target: target(), sent: sent(), cause: cause() },
        CallError::TooLarge { target: target(), len: 300, max: 200 },
        CallError::Overloaded { target: target(), waiting: 300, max: 200 },
    ];
    // A new variant does not compile unnoticed.
    let what_to_do = |error: &CallError| match error {
        CallError::Uncertain { cause, .. } => match cause {
            NoAnswer::TimedOut | NoAnswer::LinkLost | NoAnswer::Died | NoAnswer::Malformed(_) => {
                "send it again only if it may be handled twice"
            }
            NoAnswer::TooLarge { .. } => "ask for the answer in parts",
        },
        CallError::NoOwner { .. } => "it was not handled, so it may be sent again",
        CallError::TooManyWaiting { .. } => "send it later, or raise `limits.waiting_calls`",
        CallError::NoActor { .. } => "`ChildSpec::registered` starts one with the node",
        CallError::NotLinked { .. } => "`/members` of this node says why",
        CallError::WrongMessage { .. } => "run the same release on both nodes",
        CallError::NotEncodable { .. } => "correct its `Serialize`",
        CallError::TooLarge { .. } => "send it in parts",
        CallError::Overloaded { .. } => "send it later, or raise `limits.link_bytes`",
    };
    uncertain.into_iter().chain(others).map(|error| (error.clone(), what_to_do(&error))).collect()
}

#[test]
fn each_error_of_a_call_says_name_and_key_and_node_and_epoch_and_how_long_and_what_to_do() {
    let all = all();
    let labels: std::collections::BTreeSet<_> = all.iter().map(|(error, _)| error.label()).collect();
    assert_eq!((labels.len(), all.len()), (13, 13), "each once");
    for (error, what_to_do) in all {
        let text = error.to_string();
        for word in ["\"cart\"", "user:42", "shop@10.0.0.7:4370", "in the view 9", "1.2", what_to_do] {
            assert!(text.contains(word), "{word:?} is missing: {text}");
        }
    }
}

#[test]
fn an_error_that_comes_at_once_says_so() {
    let node = NodeId::new("shop@10.0.0.7:4370".parse().unwrap(), Incarnation(7), 7);
    let waited = Duration::ZERO;
    let target = Target { name: "cart".into(), key: None, node, epoch: None, waited };
    let text = CallError::NotLinked { target }.to_string();
    assert!(text.contains("\"cart\" on shop@10.0.0.7:4370 (at once); `/members`"), "{text}");
}
