//! What is logged on the threads of the node goes to the subscriber of the application.
//!
//! An application may set its subscriber for the whole process, or for its own threads only. So the threads of the node have a
//! subscriber that forwards to the one of the application's thread that started the node.

use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};

/// The subscriber of the application. It is never exchanged: the numbers of spans are of one subscriber.
static APPLICATION: OnceLock<Dispatch> = OnceLock::new();

/// Takes the subscriber of the calling thread for that of the application, if there is one and none was taken before.
pub(super) fn adopt() {
    if APPLICATION.get().is_some() {
        return;
    }
    let dispatch = dispatcher::get_default(Dispatch::clone);
    if dispatch.is::<LogForwarder>() || dispatch.is::<tracing::subscriber::NoSubscriber>() {
        return;
    }
    // Another thread may have been faster, with the same subscriber.
    let _ = APPLICATION.set(dispatch);
}

/// Whether the subscriber of the application is known.
pub(super) fn has_adopted() -> bool {
    APPLICATION.get().is_some()
}

/// Has the calling thread log so until it ends.
pub(super) fn begin() {
    static FORWARDER: OnceLock<Dispatch> = OnceLock::new();
    let forwarder = FORWARDER.get_or_init(|| Dispatch::new(LogForwarder));
    std::mem::forget(dispatcher::set_default(forwarder));
}

/// Forwards what is logged to the subscriber of the application, once there is one.
struct LogForwarder;

impl LogForwarder {
    fn application() -> Option<&'static Dispatch> {
        APPLICATION.get()
    }
}

impl Subscriber for LogForwarder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match Self::application() {
            Some(application) => application.register_callsite(metadata),
            None => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // That of the application is what counts.
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::application().is_some_and(|it| it.enabled(metadata))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        // Without an application no span is enabled, and this number is not used again.
        Self::application().map_or_else(|| Id::from_u64(u64::MAX), |it| it.new_span(span))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(application) = Self::application() {
            application.record(span, values);
        }
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        if let Some(application) = Self::application() {
            application.record_follows_from(span, follows);
        }
    }

    fn event(&self, event: &Event<'_>) {
        if let Some(application) = Self::application() {
            application.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        if let Some(application) = Self::application() {
            application.enter(span);
        }
    }

    fn exit(&self, span: &Id) {
        if let Some(application) = Self::application() {
            application.exit(span);
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        Self::application().map_or_else(|| id.clone(), |it| it.clone_span(id))
    }

    fn try_close(&self, id: Id) -> bool {
        Self::application().is_some_and(|it| it.try_close(id))
    }
}
