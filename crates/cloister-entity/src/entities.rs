//! What messages are sent to entities by.

use std::fmt;
use std::sync::Arc;

use cloister_core::{ChildSpec, ManagerArguments, NodeId};
use cloister_table::service::{Bytes, Destination, Service, ServiceTable, decode, encode};
use cloister_table::{TableError, TableEvent};
use tokio::sync::broadcast;

use crate::answer;
use crate::entity::Entity;
use crate::error::{EntityError, TrySendError};
use crate::objects::Objects;
use crate::options::{Durability, EntityOptions};
use crate::views::{self, Views};

/// Defines entities, before a node starts. [`ManagerArguments`] implements it.
///
/// The [page of the crate](crate) has an example.
pub trait DefineEntities {
    /// Defines the entities of a type: on all nodes, alike. They are there when the node is up.
    ///
    /// The same [`Entity::NAME`] twice is an error at the start: the node does not join.
    ///
    /// # Errors
    ///
    /// [`TableError::Definition`] if the name or the options are not possible, if there are more than 256 tables and entities, or if the
    /// node has been started.
    fn entities<E: Entity>(&mut self, options: EntityOptions) -> Result<Entities<E>, TableError>;
}

impl DefineEntities for ManagerArguments {
    fn entities<E: Entity>(&mut self, options: EntityOptions) -> Result<Entities<E>, TableError> {
        let views = Arc::<Views>::default();
        if matches!(options.durability, Durability::Lazy(_)) {
            let views = Arc::clone(&views);
            let start = move |cloister, supervisor| views::start(Arc::clone(&views), cloister, supervisor);
            let child = ChildSpec::new(&format!("cloister.entity.{}.views", E::NAME), start);
            *self = self.clone().child(child.before_joining());
        }
        let objects = Objects::new(options.clone(), views);
        let service: Arc<dyn Service> = Arc::clone(&objects) as _;
        let table = ServiceTable::define(self, E::NAME, options.table, service)?;
        Ok(Entities { table, objects })
    }
}

/// The entities of one type on all nodes of a cluster; cheap to clone. From [`DefineEntities::entities`].
///
/// - At any instant at most one node begins to handle messages of a key.
/// - What was answered `Ok` is written on all copies, under [`Durability::Each`](crate::Durability::Each): it is lost only if all of them
///   are lost before others have new ones.
/// - A message whose answer was lost is sent again until [`EntityOptions::timeout`], and applied to the state once.
///
/// There is nothing on a disk: when all nodes have stopped, the states are gone, unless they are kept in a
/// [store](crate::EntityOptions::store).
///
/// The [page of the crate](crate) has an example.
pub struct Entities<E> {
    table: ServiceTable,
    objects: Arc<Objects<E>>,
}

impl<E> Clone for Entities<E> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone(), objects: Arc::clone(&self.objects) }
    }
}

impl<E> fmt::Debug for Entities<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entities").field("name", &self.table.name()).finish_non_exhaustive()
    }
}

impl<E: Entity> Entities<E> {
    /// Sends a message to the entity of a key, and waits for its answer. The entity need not exist: it begins as `E::default()`.
    ///
    /// # Errors
    ///
    /// [`EntityError`] says why there is no answer, and whether the message may have been applied.
    pub async fn call(&self, key: &str, message: E::Message) -> Result<E::Reply, EntityError> {
        Ok(self.try_call(key, message).await?)
    }

    /// As [`call`](Entities::call), but after an error by which it was not applied the message comes back, and may be sent again.
    ///
    /// ```
    /// # extern crate cloister_core as cloister;
    /// # use cloister_entity::{Entities, Entity, TrySendError};
    /// # use cloister_table::TableError;
    /// # async fn example<E: Entity>(entities: Entities<E>, message: E::Message) -> Result<E::Reply, cloister_entity::EntityError> {
    /// match entities.try_call("user:42", message).await {
    ///     Err(TrySendError { error: cloister_entity::EntityError::Table(TableError::Busy { .. }), message: Some(message), .. }) => {
    ///         tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    ///         entities.call("user:42", message).await
    ///     }
    ///     answered => Ok(answered?),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrySendError`] has the [`EntityError`] of [`call`](Entities::call), and the message.
    pub async fn try_call(
        &self,
        key: &str,
        message: E::Message,
    ) -> Result<E::Reply, TrySendError<E::Message>> {
        let answer = self.answer(key, &message).await;
        answer.map_err(|error| TrySendError::new(error, message))
    }

    async fn answer(&self, key: &str, message: &E::Message) -> Result<E::Reply, EntityError> {
        let (answer, Destination { node, epoch, waited }) = self.send(key, message, false).await?;
        let (entity, key) = (E::NAME, || key.to_owned());
        match answer::read(&answer) {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(failure)) => Err(EntityError::Failed { entity, key: key(), node, epoch, waited, failure }),
            Err(cause) => Err(EntityError::NotDecodable { entity, key: key(), node, epoch, waited, cause }),
        }
    }

    /// Sends a message to the entity of a key, and waits until its node has accepted it. Its answer is dropped. Messages that one task
    /// sends to one key are handled in their order. When the key moves, its node passes on what waits, in order, but what is sent to the
    /// next node meanwhile may come before it.
    ///
    /// A message that was accepted is lost with its node. A node that leaves handles what waits first, or passes it on. One that cannot be
    /// handled within [`EntityOptions::timeout`](crate::EntityOptions::timeout) is logged there. A message that is passed on within that
    /// time is applied once. That holds also if its acceptance was lost with a link while its key moved, so that its sender sends it again.
    ///
    /// # Errors
    ///
    /// [`EntityError`] says why it was not accepted, or may not have been.
    pub async fn cast(&self, key: &str, message: E::Message) -> Result<(), EntityError> {
        Ok(self.try_cast(key, message).await?)
    }

    /// As [`cast`](Entities::cast), but after an error by which it was not accepted the message comes back, and may be sent again.
    ///
    /// # Errors
    ///
    /// [`TrySendError`] has the [`EntityError`] of [`cast`](Entities::cast), and the message.
    pub async fn try_cast(&self, key: &str, message: E::Message) -> Result<(), TrySendError<E::Message>> {
        let accepted = self.send(key, &message, true).await;
        accepted.map(drop).map_err(|error| TrySendError::new(error, message))
    }

    async fn send(
        &self,
        key: &str,
        message: &E::Message,
        one_way: bool,
    ) -> Result<(Bytes, Destination), EntityError> {
        let not_encodable = |cause| TableError::NotEncodable {
            table: E::NAME.to_owned(),
            key: Some(format!("{key:?}")),
            cause,
        };
        let message = encode(message).map_err(not_encodable)?;
        Ok(self.table.send(&self.encode_key(key)?, message, one_way).await?)
    }

    fn encode_key(&self, key: &str) -> Result<Vec<u8>, TableError> {
        encode(key).map_err(|cause| TableError::NotEncodable { table: E::NAME.to_owned(), key: None, cause })
    }

    /// How many entities have a written state, on all nodes. All members count their own in one view, but not at one instant.
    ///
    /// # Errors
    ///
    /// [`EntityError::Table`] if the members do not all answer in one view in time.
    pub async fn len(&self) -> Result<u64, EntityError> {
        Ok(self.table.count_rows().await?)
    }

    /// Whether no entity has a written state, as [`len`](Entities::len) counts them.
    ///
    /// # Errors
    ///
    /// As [`len`](Entities::len).
    pub async fn is_empty(&self) -> Result<bool, EntityError> {
        Ok(self.len().await? == 0)
    }

    /// What becomes of the copies of states from now on, as far as this node owns the keys: losses, and too few copies.
    ///
    /// ```
    /// # use cloister_entity::{Entities, Entity};
    /// # use cloister_table::TableEvent;
    /// # async fn example<E: Entity>(carts: &Entities<E>) {
    /// let mut events = carts.events();
    /// while let Ok(event) = events.recv().await {
    ///     if let TableEvent::Lost { .. } = event {
    ///         eprintln!("carts are lost: {event:?}");
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<TableEvent> {
        self.table.events()
    }

    /// Accepts that the states whose copies are all gone are lost, as far as this node owns them now: under
    /// [`OnLoss::Wait`](cloister_table::OnLoss::Wait) these entities begin anew.
    pub fn accept_loss(&self) {
        self.table.accept_loss();
    }

    /// The keys whose entities are on this node, and have a written state: as it is at one instant for each of a few parts.
    pub fn local_keys(&self) -> impl Iterator<Item = String> + '_ {
        self.table.local_keys().filter_map(|key| decode(&key).ok())
    }

    /// How many entities of this node are objects in memory at this moment: those that have had a message since
    /// [`EntityOptions::idle`].
    #[must_use]
    pub fn active(&self) -> usize {
        self.objects.active()
    }

    /// The node of an entity in the view that this node installed last; `None` before the first.
    #[must_use]
    pub fn owner(&self, key: &str) -> Option<NodeId> {
        let key = self.encode_key(key).ok()?;
        self.table.cloister().whois(key)
    }
}
