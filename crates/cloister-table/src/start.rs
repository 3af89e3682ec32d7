//! Tables are defined before the node starts, and start with it.

use std::sync::Arc;

use cloister_core::{ChildSpec, DefinitionError, ManagerArguments};

use crate::actor;
use crate::core::Core;
use crate::error::TableError;
use crate::options::TableOptions;
use crate::service::{Purpose, Service, ServiceTable};

/// The longest name of a table.
const MAX_NAME: usize = 64;

/// Starts a table with the node.
pub(crate) fn start_with(
    arguments: &mut ManagerArguments,
    name: &str,
    options: TableOptions,
    kind: Purpose,
) -> Result<Arc<Core>, TableError> {
    checked(name, &options)?;
    let definition =
        |error: DefinitionError| TableError::Definition { table: name.to_owned(), cause: error.to_string() };
    arguments.define(&format!("{} {name}", kind.as_str()), &kind.definition(&options)).map_err(definition)?;
    let core = Core::new(arguments, name, options, kind);
    let started = Arc::clone(&core);
    let child =
        ChildSpec::new(&core.actor, move |_, supervisor| actor::start(Arc::clone(&started), supervisor));
    *arguments = arguments.clone().child(child.before_joining().vital());
    Ok(core)
}

/// Looks whether a table can be defined so.
fn checked(name: &str, options: &TableOptions) -> Result<(), TableError> {
    let fault = match name.len() {
        1..=MAX_NAME if name.chars().any(char::is_control) => Some(
            "its name has control characters, and is shown in logs, metrics and pages: use others".to_owned(),
        ),
        1..=MAX_NAME => options.fault(),
        len => Some(format!("its name has {len} bytes, but 1 to {MAX_NAME} are possible")),
    };
    match fault {
        Some(cause) => Err(TableError::Definition { table: name.to_owned(), cause }),
        None => Ok(()),
    }
}

impl ServiceTable {
    /// Defines the table of a service, before the node starts, on all nodes alike.
    ///
    /// # Errors
    ///
    /// [`TableError::Definition`] if the name or the options are not possible, or if the node has been started.
    pub fn define(
        arguments: &mut ManagerArguments,
        name: &str,
        options: TableOptions,
        service: Arc<dyn Service>,
    ) -> Result<Self, TableError> {
        let core = start_with(arguments, name, options, Purpose::Service(service))?;
        Ok(Self { core })
    }
}
