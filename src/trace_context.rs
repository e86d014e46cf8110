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
const WAITING: usize = 4096;

static EXPORT: OnceLock<Export> = OnceLock::new();

tokio::task_local! {
    static CURRENT: Here;
}

/// Where the work stands that runs in a task.
struct Here {
    context: Cell<Context>,
    /// What a caller said that his work belongs to.
    offered: Option<Context>,
    /// Whether that is true: whoever said it has proved who he is.
    taken: Cell<bool>,
}

/// A place in a trace: the `traceparent` header of version 00.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    trace: u128,
    span: u64,
    /// Somebody records this trace.
    sampled: bool,
    /// Others are told of it: somebody else began it, or we record it ourselves. A trace that nobody asked for
    /// would only switch the receiver's own sampling off.
    told: bool,
}

/// What happened, for an exporter.
#[derive(Clone, Debug)]
pub struct Span {
    pub name: String,
    pub server: bool,
    pub context: Context,
    pub parent: Option<u64>,
    pub start: Timestamp,
    pub took: Duration,
    pub ok: bool,
    pub attributes: Vec<(&'static str, String)>,
}

struct Export {
    spans: mpsc::Sender<Span>,
    /// Of the traces that begin here.
    percent: u8,
}

/// No trace, or none that version 00 knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is no traceparent")]
pub struct NotATraceparent;

impl Context {
    /// A trace that begins here.
    pub fn begin() -> Self {
        let percent = EXPORT.get().map_or(0, |export| export.percent);
        let sampled = random::fraction() * 100.0 < f64::from(percent);
        let trace = u128::from_be_bytes(random::bytes()).max(1);
        Self { trace, span: new_span(), sampled, told: sampled }
    }

    /// The next step of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: new_span(), ..self }
    }

    pub fn trace_id(self) -> String {
        hex(format_args!("{:032x}", self.trace), 32)
    }

    pub const fn trace(self) -> u128 {
        self.trace
    }

    pub const fn span(self) -> u64 {
        self.span
    }

    /// The header for others, unless the trace is only ours.
    pub fn header(self) -> Option<String> {
        self.told.then(|| self.to_string())
    }
}

/// The header's value.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// As the recommendation says: lower-case digits only, ids are not zero, later versions may be longer.
impl FromStr for Context {
    type Err = NotATraceparent;

    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let digits = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let mut parts = text.trim().splitn(5, '-');
        let mut part = |length| parts.next().filter(|part| digits(part, length)).ok_or(NotATraceparent);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(NotATraceparent);
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| NotATraceparent)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| NotATraceparent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NotATraceparent)?;
        if trace == 0 || span == 0 {
            return Err(NotATraceparent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1, told: true })
    }
}

/// Runs `work` as part of a trace.
pub async fn within<T>(context: Context, work: impl Future<Output = T>) -> T {
    CURRENT.scope(Here { context: Cell::new(context), offered: None, taken: Cell::new(false) }, work).await
}

/// Runs the work of a request, in a trace of its own until [`go_on`]. Also says which trace it was in the end, and the
/// caller's place in it: a stranger decides neither what is recorded nor where.
pub async fn offered<T>(parent: Option<Context>, work: impl Future<Output = T>) -> (T, Context, Option<Context>) {
    let here = Here { context: Cell::new(Context::begin()), offered: parent, taken: Cell::new(false) };
    CURRENT
        .scope(here, async {
            let output = work.await;
            CURRENT.with(|here| (output, here.context.get(), here.offered.filter(|_| here.taken.get())))
        })
        .await
}

/// Goes on the trace that the caller named, now that he has proved who he is.
pub fn go_on() {
    let _ = CURRENT.try_with(|here| {
        if let (Some(parent), false) = (here.offered, here.taken.replace(true)) {
            here.context.set(parent.child());
        }
    });
}

/// The trace of the work that asks.
pub fn current() -> Option<Context> {
    CURRENT.try_with(|here| here.context.get()).ok()
}

/// From now on finished spans come out of the receiver. `None`: somebody has it.
pub fn export(percent: u8) -> Option<mpsc::Receiver<Span>> {
    let (spans, receiver) = mpsc::channel(WAITING);
    EXPORT.set(Export { spans, percent }).ok().map(|()| receiver)
}

/// Whether anybody wants this span; making one costs something.
pub fn wanted(context: Context) -> bool {
    context.sampled && EXPORT.get().is_some()
}

/// Gives a finished span away. Nobody waits for an exporter.
pub fn finish(span: Span) {
    if let Some(export) = EXPORT.get() {
        let _ = export.spans.try_send(span);
    }
}

fn new_span() -> u64 {
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
        let context: Context = EXAMPLE.parse().unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let child = context.child();
        assert!(child.header().unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert_ne!(child.span(), context.span());
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
            assert_eq!(bad.parse::<Context>(), Err(NotATraceparent), "{bad}");
        }
        assert!("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more".parse::<Context>().is_ok());
        assert_eq!(Context::begin().header(), None);
    }

    #[tokio::test]
    async fn work_knows_its_trace() {
        let context: Context = EXAMPLE.parse().unwrap();
        assert_eq!(current(), None);
        assert_eq!(within(context, async { current() }).await, Some(context));
    }

    #[tokio::test]
    async fn a_stranger_s_trace_is_not_gone_on() {
        let parent: Context = EXAMPLE.parse().unwrap();
        let (seen, context, taken) = offered(Some(parent), async { current() }).await;
        assert_eq!((seen, taken), (Some(context), None));
        assert_ne!(context.trace(), parent.trace());
        let known = async {
            go_on();
            go_on();
            current()
        };
        let (seen, context, taken) = offered(Some(parent), known).await;
        assert_eq!((seen, taken), (Some(context), Some(parent)));
        assert_eq!((context.trace(), context.sampled), (parent.trace(), true));
        let ((), context, taken) = offered(None, async { go_on() }).await;
        assert_eq!((context.header(), taken), (None, None));
    }
}
