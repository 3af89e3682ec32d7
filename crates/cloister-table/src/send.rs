//! What a service asks of the owners of other keys.

use cloister_table_proto::Bytes;

use crate::blob::Blob;
use crate::client::operate;
use crate::delivery::{Accepted, MAX_NAMES};
use crate::error::{Destination, TableError, shown};
use crate::message::{Operation, Outcome, RequestId};
use crate::service::ServiceTable;
use crate::table::MAX_KEY_BYTES;

impl Accepted {
    /// The message, with all that names it.
    pub(crate) fn passed_on(&self) -> Operation {
        let mut names: Vec<RequestId> = self.request_ids().collect();
        // The first name is that by which its sender repeats it.
        if names.len() > MAX_NAMES {
            names.remove(1);
        }
        Operation::Deliver { message: Blob(self.message.clone()), one_way: true, names }
    }
}

impl ServiceTable {
    /// Sends a message to the owner of a key, encoded; returns the answer, and where it is from.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why there is none.
    pub async fn send(
        &self,
        key: &[u8],
        message: Vec<u8>,
        one_way: bool,
    ) -> Result<(Bytes, Destination), TableError> {
        let table = || self.core.table.clone();
        let (len, max) = (key.len(), MAX_KEY_BYTES);
        if len > max {
            return Err(TableError::KeyTooLarge { table: table(), key: shown(key), len, max });
        }
        let (len, max) = (message.len(), self.core.options.max_value_bytes);
        if len > max {
            return Err(TableError::ValueTooLarge { table: table(), key: shown(key), len, max });
        }
        let operation = Operation::Deliver { message: message.into(), one_way, names: Vec::new() };
        let (outcome, place) = operate(&self.core, key, operation).await?;
        match outcome {
            Outcome::Returned(answer) => Ok((answer.0, place)),
            other => {
                let cause = format!("its owner answers {other:?}: another release may run there");
                let Destination { node, epoch, waited } = place;
                Err(TableError::NotDecodable { table: table(), key: shown(key), node, epoch, waited, cause })
            }
        }
    }

    /// Passes a message that was accepted here on to the present owner of its key. A sender that has not heard of the
    /// acceptance sends it there, too. The owner handles it once all the same.
    ///
    /// # Errors
    ///
    /// [`TableError`] says why it was not accepted there, or may not have been.
    pub async fn pass_on(&self, message: &Accepted) -> Result<(), TableError> {
        let operation = message.passed_on();
        operate(&self.core, &message.key, operation).await.map(drop)
    }

    /// How many rows there are on all nodes, as [`Table::len`](crate::Table::len) counts them.
    ///
    /// # Errors
    ///
    /// [`TableError::Unavailable`] if the members do not all answer in one view in time.
    pub async fn count_rows(&self) -> Result<u64, TableError> {
        crate::table::len(&self.core).await
    }
}
