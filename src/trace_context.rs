//! W3C trace context, from an incoming request through the job queue to the outgoing requests.
//!
//! The context of the current task is a task-local. A request runs in [`in_request_trace`]: it gets a trace of its own,
//! and joins the caller's trace ([`accept_parent`]) once the caller is authenticated. A job stores its `traceparent`
//! and runs in [`in_trace`]. Finished spans go over a bounded channel to the exporter, if there is one.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
    str::FromStr,
    sync::OnceLock,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::random;

/// Finished spans that may wait for the exporter; further ones are dropped.
const SPAN_QUEUE_CAPACITY: usize = 4096;

static SPAN_EXPORT: OnceLock<SpanExport> = OnceLock::new();

tokio::task_local! {
    static CURRENT: TaskTrace;
}

/// The trace of the current task.
struct TaskTrace {
    context: Cell<TraceContext>,
    /// The context that the caller sent.
    remote_parent: Option<TraceContext>,
    /// Whether the caller is authenticated, so that its context is used.
    parent_accepted: Cell<bool>,
}

/// A position in a trace, as in the `traceparent` header of version 00.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    /// The trace is recorded, here or by the caller.
    sampled: bool,
    /// Whether `traceparent` is sent on: the trace came from the caller, or it is recorded here. An unsampled trace of
    /// this process would only turn the receiver's own sampling off.
    propagated: bool,
}

/// A finished span.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub server: bool,
    pub context: TraceContext,
    pub parent: Option<u64>,
    pub start: Timestamp,
    pub duration: Duration,
    pub ok: bool,
    pub attributes: Vec<(&'static str, String)>,
}

struct SpanExport {
    spans: mpsc::Sender<Span>,
    /// Share of new traces that are recorded.
    percent: u8,
}

/// A `traceparent` header that does not follow the recommendation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a valid traceparent")]
pub struct InvalidTraceparent;

impl TraceContext {
    /// A new trace, sampled at the exporter's rate.
    pub fn new_root() -> Self {
        let percent = SPAN_EXPORT.get().map_or(0, |export| export.percent);
        let sampled = random::fraction() * 100.0 < f64::from(percent);
        let trace = u128::from_be_bytes(random::bytes()).max(1);
        Self { trace_id: trace, span_id: new_span_id(), sampled, propagated: sampled }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: new_span_id(), ..self }
    }

    /// 32 hexadecimal digits.
    pub fn trace_id_hex(self) -> String {
        hex(format_args!("{:032x}", self.trace_id), 32)
    }

    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    pub const fn span_id(self) -> u64 {
        self.span_id
    }

    /// The `traceparent` header for outgoing requests; `None` for an unsampled trace of this process.
    pub fn traceparent(self) -> Option<String> {
        self.propagated.then(|| self.to_string())
    }
}

/// The value of a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// As the recommendation requires: lower-case digits only, ids are not zero, later versions may be longer.
impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let digits = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = text.trim().splitn(5, '-');
        let mut part = |length| parts.next().filter(|part| digits(part, length)).ok_or(InvalidTraceparent);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(InvalidTraceparent);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| InvalidTraceparent)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| InvalidTraceparent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| InvalidTraceparent)?;
        if trace == 0 || span == 0 {
            return Err(InvalidTraceparent);
        }
        Ok(Self { trace_id: trace, span_id: span, sampled: flags & 1 == 1, propagated: true })
    }
}

/// Runs `work` with `context` as its trace context.
pub async fn in_trace<T>(context: TraceContext, work: impl Future<Output = T>) -> T {
    CURRENT
        .scope(TaskTrace { context: Cell::new(context), remote_parent: None, parent_accepted: Cell::new(false) }, work)
        .await
}

/// Runs the work of a request in a new trace, until [`accept_parent`] joins the caller's. Returns the context at the
/// end, and `parent` if it was accepted. Unauthenticated clients decide neither what is recorded nor under which trace
/// id.
pub async fn in_request_trace<T>(
    parent: Option<TraceContext>,
    work: impl Future<Output = T>,
) -> (T, TraceContext, Option<TraceContext>) {
    let here = TaskTrace {
        context: Cell::new(TraceContext::new_root()),
        remote_parent: parent,
        parent_accepted: Cell::new(false),
    };
    CURRENT
        .scope(here, async {
            let output = work.await;
            CURRENT.with(|here| (output, here.context.get(), here.remote_parent.filter(|_| here.parent_accepted.get())))
        })
        .await
}

/// Joins the trace that the caller sent. Called once the caller is authenticated.
pub fn accept_parent() {
    let _ = CURRENT.try_with(|here| {
        if let (Some(parent), false) = (here.remote_parent, here.parent_accepted.replace(true)) {
            here.context.set(parent.child());
        }
    });
}

/// The context of the current task.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|here| here.context.get()).ok()
}

/// Starts recording: finished spans arrive at the receiver. `None` if a receiver was handed out before.
pub fn subscribe(percent: u8) -> Option<mpsc::Receiver<Span>> {
    let (spans, receiver) = mpsc::channel(SPAN_QUEUE_CAPACITY);
    SPAN_EXPORT.set(SpanExport { spans, percent }).ok().map(|()| receiver)
}

/// Whether spans of this context are exported. Check it before building a [`Span`].
pub fn is_recorded(context: TraceContext) -> bool {
    context.sampled && SPAN_EXPORT.get().is_some()
}

/// Queues a finished span for the exporter. Never blocks.
pub fn record(span: Span) {
    if let Some(export) = SPAN_EXPORT.get() {
        let _ = export.spans.try_send(span);
    }
}

fn new_span_id() -> u64 {
    u64::from_be_bytes(random::bytes()).max(1)
}

fn hex(text: fmt::Arguments<'_>, length: usize) -> String {
    let mut out = String::with_capacity(length);
    let _ = out.write_fmt(text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_recommendation() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(context.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let child = context.child();
        assert!(child.traceparent().unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert_ne!(child.span_id(), context.span_id());
    }

    #[test]
    fn invalid_headers_are_refused_and_an_unsampled_root_is_not_propagated() {
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-447700900123-1-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(InvalidTraceparent), "{bad}");
        }
        assert!("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more".parse::<TraceContext>().is_ok());
        assert_eq!(TraceContext::new_root().traceparent(), None);
    }

    #[tokio::test]
    async fn a_task_has_its_context() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(current(), None);
        assert_eq!(in_trace(context, async { current() }).await, Some(context));
    }

    #[tokio::test]
    async fn only_an_accepted_parent_is_joined() {
        let parent: TraceContext = EXAMPLE.parse().unwrap();
        let (seen, context, taken) = in_request_trace(Some(parent), async { current() }).await;
        assert_eq!((seen, taken), (Some(context), None));
        assert_ne!(context.trace_id(), parent.trace_id());
        let known = async {
            accept_parent();
            accept_parent();
            current()
        };
        let (seen, context, taken) = in_request_trace(Some(parent), known).await;
        assert_eq!((seen, taken), (Some(context), Some(parent)));
        assert_eq!((context.trace_id(), context.sampled), (parent.trace_id(), true));
        let ((), context, taken) = in_request_trace(None, async { accept_parent() }).await;
        assert_eq!((context.traceparent(), taken), (None, None));
    }
}
