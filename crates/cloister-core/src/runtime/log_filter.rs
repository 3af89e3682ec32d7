//! What is logged on the threads of the node, without ractor's own lines about its sessions.
//!
//! ractor tells of each session that it ends, each in several lines, and knows less of it than the link layer does. Its tasks
//! run on threads of ours. So these have a subscriber of their own, which hands all else on to that of the application.

use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// What ractor's link layer logs under.
const CHATTY: &str = "ractor_cluster";

/// The subscriber of the application. It is never exchanged: the numbers of spans are of one subscriber.
static APPLICATION: OnceLock<Application> = OnceLock::new();

struct Application {
    dispatch: Dispatch,
    /// Whether it wants to read what ractor does in detail.
    wants_all: bool,
}

/// Takes the subscriber of the calling thread for that of the application, if there is one and none was taken before.
pub(super) fn adopt() {
    if APPLICATION.get().is_some() {
        return;
    }
    let dispatch = dispatcher::get_default(Dispatch::clone);
    if dispatch.is::<LogFilter>() || dispatch.is::<tracing::subscriber::NoSubscriber>() {
        return;
    }
    let wants_all = tracing::enabled!(target: CHATTY, Level::DEBUG);
    // Another thread may have been faster, with the same subscriber.
    let _ = APPLICATION.set(Application { dispatch, wants_all });
}

/// Has the calling thread log so until it ends.
pub(super) fn begin() {
    static FILTER: OnceLock<Dispatch> = OnceLock::new();
    let filter = FILTER.get_or_init(|| Dispatch::new(LogFilter));
    std::mem::forget(dispatcher::set_default(filter));
}

/// Hands on what is logged, but for what ractor says of its sessions. Its errors are handed on; all of it is if the
/// application reads `ractor_cluster=debug`.
struct LogFilter;

impl LogFilter {
    fn application() -> Option<&'static Dispatch> {
        APPLICATION.get().map(|application| &application.dispatch)
    }

    fn hands_on(metadata: &Metadata<'_>) -> bool {
        let is_chat = || metadata.target().split("::").next() == Some(CHATTY);
        let wants_all = || APPLICATION.get().is_some_and(|application| application.wants_all);
        metadata.is_span() || *metadata.level() == Level::ERROR || !is_chat() || wants_all()
    }
}

impl Subscriber for LogFilter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match Self::application() {
            Some(application) if Self::hands_on(metadata) => application.register_callsite(metadata),
            _ => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // That of the application is what counts.
        Some(LevelFilter::OFF)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::hands_on(metadata) && Self::application().is_some_and(|it| it.enabled(metadata))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        // Without an application no span is enabled, and this number is never heard of again.
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
        if Self::hands_on(event.metadata())
            && let Some(application) = Self::application()
        {
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
