//! W3C trace context: which trace a piece of work belongs to, from the request that caused it through the queue to
//! what it sends out.

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

/// Finished spans that wait for the exporter; more are dropped.
const SPAN_QUEUE_CAPACITY: usize = 4096;

static SPAN_EXPORT: OnceLock<SpanExport> = OnceLock::new();

tokio::task_local! {
    static CURRENT: TaskTrace;
}

/// Where the work stands that runs in a task.
struct TaskTrace {
    context: Cell<TraceContext>,
    /// What a caller said that his work belongs to.
    remote_parent: Option<TraceContext>,
    /// Whether that is true: whoever said it has proved who he is.
    parent_accepted: Cell<bool>,
}

/// A place in a trace: the `traceparent` header of version 00.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    /// Somebody records this trace.
    sampled: bool,
    /// Others are told of it: somebody else began it, or we record it ourselves. A trace that nobody asked for
    /// would only switch the receiver's own sampling off.
    propagated: bool,
}

/// What happened, for an exporter.
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
    /// Of the traces that begin here.
    percent: u8,
}

/// No trace, or none that version 00 knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no traceparent")]
pub struct InvalidTraceparent;

impl TraceContext {
    /// A trace that begins here.
    pub fn new_root() -> Self {
        let percent = SPAN_EXPORT.get().map_or(0, |export| export.percent);
        let sampled = random::fraction() * 100.0 < f64::from(percent);
        let trace = u128::from_be_bytes(random::bytes()).max(1);
        Self { trace_id: trace, span_id: new_span_id(), sampled, propagated: sampled }
    }

    /// The next step of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: new_span_id(), ..self }
    }

    pub fn trace_id_hex(self) -> String {
        hex(format_args!("{:032x}", self.trace_id), 32)
    }

    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    pub const fn span_id(self) -> u64 {
        self.span_id
    }

    /// The header for others, unless the trace is only ours.
    pub fn traceparent(self) -> Option<String> {
        self.propagated.then(|| self.to_string())
    }
}

/// The header's value.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// As the recommendation says: lower-case digits only, ids are not zero, later versions may be longer.
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

/// Runs `work` as part of a trace.
pub async fn in_trace<T>(context: TraceContext, work: impl Future<Output = T>) -> T {
    CURRENT
        .scope(TaskTrace { context: Cell::new(context), remote_parent: None, parent_accepted: Cell::new(false) }, work)
        .await
}

/// Runs the work of a request, in a trace of its own until [`go_on`]. Also says which trace it was in the end, and the
/// caller's place in it: a stranger decides neither what is recorded nor where.
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

/// Goes on the trace that the caller named, now that he has proved who he is.
pub fn accept_parent() {
    let _ = CURRENT.try_with(|here| {
        if let (Some(parent), false) = (here.remote_parent, here.parent_accepted.replace(true)) {
            here.context.set(parent.child());
        }
    });
}

/// The trace of the work that asks.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|here| here.context.get()).ok()
}

/// From now on finished spans come out of the receiver. `None`: somebody has it.
pub fn subscribe(percent: u8) -> Option<mpsc::Receiver<Span>> {
    let (spans, receiver) = mpsc::channel(SPAN_QUEUE_CAPACITY);
    SPAN_EXPORT.set(SpanExport { spans, percent }).ok().map(|()| receiver)
}

/// Whether anybody wants this span; making one costs something.
pub fn is_recorded(context: TraceContext) -> bool {
    context.sampled && SPAN_EXPORT.get().is_some()
}

/// Gives a finished span away. Nobody waits for an exporter.
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
    fn what_is_none_begins_a_trace_of_its_own_and_is_not_told() {
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
    async fn work_knows_its_trace() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(current(), None);
        assert_eq!(in_trace(context, async { current() }).await, Some(context));
    }

    #[tokio::test]
    async fn a_stranger_s_trace_is_not_gone_on() {
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
