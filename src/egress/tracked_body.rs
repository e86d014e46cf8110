//! A request body that records when the client first polls it, which is when the request head was written.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body of one frame. `begun` is set at the first poll.
pub(super) struct TrackedBody {
    remaining: Option<Bytes>,
    begun: Arc<AtomicBool>,
}

impl TrackedBody {
    pub(super) fn wrap(bytes: Vec<u8>, begun: &Arc<AtomicBool>) -> reqwest::Body {
        if bytes.is_empty() {
            // An empty body is never polled, so the request counts as begun from here on.
            begun.store(true, Ordering::Relaxed);
            return reqwest::Body::from(bytes);
        }
        reqwest::Body::wrap(Self { remaining: Some(bytes.into()), begun: Arc::clone(begun) })
    }
}

pub(super) fn is_begun(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.begun.store(true, Ordering::Relaxed);
        Poll::Ready(self.remaining.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
