//! The guide: concepts, configuration, running a cluster, and its limits. One module is one chapter.
//!
//! The chapters are Markdown files in the folder `guide` of this crate. The book in `docs/guide` of the repository is made of
//! the same files. Their programs are compiled as documentation tests. This module exists in the documentation only.
//!
#![doc = chapters!()]
#![doc = include_str!("../guide/introduction.md")]

/// Where the links of the chapters lead in this documentation. These definitions stand before the chapter, and the first definition of a
/// label counts. The ones at the end of the file lead to other files: they are for the book and for plain Markdown.
macro_rules! chapters {
    () => {
        "\n\
         [concepts]: crate::guide::concepts\n\
         [starting]: crate::guide::starting\n\
         [leaving]: crate::guide::starting#leaving\n\
         [child]: crate::guide::starting#a-child-of-the-manager\n\
         [configuration]: crate::guide::configuration\n\
         [size]: crate::guide::configuration#how-many-nodes-consensus\n\
         [same-settings]: crate::guide::configuration#the-same-settings-on-all-nodes\n\
         [placement]: crate::guide::placement\n\
         [fencing]: crate::guide::placement#fencing\n\
         [listeners]: crate::guide::listeners\n\
         [calls]: crate::guide::calls\n\
         [messages]: crate::guide::calls#messages\n\
         [promised]: crate::guide::calls#what-is-promised\n\
         [tables]: crate::guide::tables\n\
         [entities]: crate::guide::entities\n\
         [splits]: crate::guide::splits\n\
         [state-file]: crate::guide::splits#state-file-a-node-that-remembers\n\
         [deployment]: crate::guide::deployment\n\
         [state-kubernetes]: crate::guide::deployment#a-state-file-in-kubernetes\n\
         [own-program]: crate::guide::deployment#a-program-of-your-own\n\
         [security]: crate::guide::security\n\
         [secret-files]: crate::guide::security#secret-files\n\
         [tls]: crate::guide::security#tls\n\
         [operations]: crate::guide::operations\n\
         [admin]: crate::guide::operations#the-admin-server\n\
         [live-page]: crate::guide::operations#the-live-page\n\
         [log]: crate::guide::operations#the-log\n\
         [labels]: crate::guide::operations#labels\n\
         [tool]: crate::guide::tool\n\
         [as-with-cargo]: crate::guide::tool#as-with-cargo\n\
         [beside-compose]: crate::guide::tool#beside-docker-compose\n\
         [troubleshooting]: crate::guide::troubleshooting\n\
         [no-owner]: crate::guide::troubleshooting#a-message-is-not-handled\n\
         [refuses]: crate::guide::troubleshooting#a-table-or-an-entity-refuses\n\
         [by-log-line]: crate::guide::troubleshooting#by-log-line\n\
         [warnings]: crate::guide::troubleshooting#warnings-before-it-hurts\n\
         [migrating]: crate::guide::migrating\n\
         [limits]: crate::guide::limits\n\
         [second-cluster]: crate::guide::limits#the-exception-a-second-cluster-beside-the-first\n\n"
    };
}
use chapters;

macro_rules! chapter {
    ($name:ident, $file:literal) => {
        #[doc = chapters!()]
        #[doc = include_str!($file)]
        pub mod $name {}
    };
}

chapter!(concepts, "../guide/concepts.md");
chapter!(starting, "../guide/starting.md");
chapter!(configuration, "../guide/configuration.md");
chapter!(placement, "../guide/placement.md");
chapter!(listeners, "../guide/listeners.md");
chapter!(calls, "../guide/calls.md");
chapter!(tables, "../guide/tables.md");
chapter!(entities, "../guide/entities.md");
chapter!(splits, "../guide/splits.md");
chapter!(deployment, "../guide/deployment.md");
chapter!(security, "../guide/security.md");
chapter!(operations, "../guide/operations.md");
chapter!(tool, "../guide/tool.md");
chapter!(troubleshooting, "../guide/troubleshooting.md");
chapter!(migrating, "../guide/migrating.md");
chapter!(limits, "../guide/limits.md");
