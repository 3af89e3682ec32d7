//! What Cloister promises of claims, apart from any register: at every instant a key has one owner at most.

use std::collections::BTreeMap;

use crate::history::{Operation, Outcome};

/// Two operations of one key that two owners have served.
#[derive(Clone, Debug)]
pub(crate) struct BrokenClaim {
    pub(crate) earlier: Operation,
    pub(crate) later: Operation,
}

/// Finds operations that no single owner can have served.
///
/// A node serves an operation by a claim that holds at some moment between invocation and return. So one that begins after another
/// returned must not be of an earlier epoch, and one epoch has one owner of a key.
pub(crate) fn check_claims(operations: &[Operation]) -> Option<BrokenClaim> {
    let mut keys = BTreeMap::<u32, Vec<(u64, usize, &Operation)>>::new();
    for operation in operations {
        if let Outcome::Ok { epoch, node, .. } = operation.outcome {
            keys.entry(operation.key).or_default().push((epoch, node, operation));
        }
    }
    keys.into_values().find_map(|key| broken(&key))
}

fn broken(served: &[(u64, usize, &Operation)]) -> Option<BrokenClaim> {
    let pair = |earlier: &Operation, later: &Operation| BrokenClaim {
        earlier: earlier.clone(),
        later: later.clone(),
    };
    let mut owners = BTreeMap::<u64, (usize, &Operation)>::new();
    for (epoch, node, operation) in served {
        let (owner, first) = *owners.entry(*epoch).or_insert((*node, operation));
        if owner != *node {
            return Some(pair(first, operation));
        }
    }
    let (mut begun, mut ended) = (served.to_vec(), served.to_vec());
    begun.sort_by_key(|(_, _, operation)| operation.invoked);
    ended.sort_by_key(|(_, _, operation)| operation.returned);
    let mut ended = ended.into_iter().peekable();
    let mut newest: Option<(u64, &Operation)> = None;
    for (epoch, _, operation) in begun {
        while let Some((epoch, _, ended)) = ended.next_if(|(_, _, ended)| ended.returned < operation.invoked)
        {
            if newest.is_none_or(|(newest, _)| newest < epoch) {
                newest = Some((epoch, ended));
            }
        }
        if let Some((newer, earlier)) = newest
            && newer > epoch
        {
            return Some(pair(earlier, operation));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Request;

    fn served(invoked: u64, returned: u64, epoch: u64, node: usize) -> Operation {
        let outcome = Outcome::Ok { found: 0, epoch, node };
        Operation { client: 0, key: 0, request: Request::Read, outcome, invoked, returned }
    }

    #[test]
    fn an_epoch_that_falls_is_two_owners() {
        assert!(check_claims(&[served(1, 2, 7, 0), served(3, 4, 8, 1), served(5, 6, 8, 1)]).is_none());
        let broken = check_claims(&[served(1, 2, 7, 0), served(3, 4, 8, 1), served(5, 6, 7, 0)]);
        let broken = broken.expect("epoch 7 after epoch 8");
        assert_eq!((broken.earlier.invoked, broken.later.invoked), (3, 5));
    }

    #[test]
    fn operations_at_one_time_may_be_of_two_epochs() {
        assert!(check_claims(&[served(1, 9, 7, 0), served(2, 3, 8, 1)]).is_none());
    }

    #[test]
    fn one_epoch_with_two_nodes_is_two_owners() {
        assert!(check_claims(&[served(1, 2, 7, 0), served(1, 2, 7, 1)]).is_some());
    }
}
