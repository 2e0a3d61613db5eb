//! Wakes that would find nothing to do, swallowed.
//!
//! hyper wakes the task that reads a body's bytes from the network whenever somebody takes a frame, even the last: two turns of
//! connection tasks per small request in which nothing happens (3,000 instructions of 40,000; benches/README.md). So connection
//! tasks give hyper a waker of ours, and who takes a frame holds such wakes back until it is known whether more is to come.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use http_body::{Body, Frame};

thread_local! {
    static HOLDING: Cell<bool> = const { Cell::new(false) };
    static HELD: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A connection task's waker, which can be held back.
#[derive(Debug)]
struct Quiet(Waker);

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !HOLDING.get() {
            return self.0.wake_by_ref();
        }
        let before = HELD.replace(Some(self.0.clone()));
        if let Some(other) = before.filter(|other| !other.will_wake(&self.0)) {
            other.wake();
        }
    }
}

/// The waker that a connection's task gives to hyper.
#[derive(Debug, Default)]
pub struct QuietWaker(Option<(Waker, Waker)>);

impl QuietWaker {
    /// Ours, for the task's own in `cx`.
    pub fn of(&mut self, cx: &Context<'_>) -> &Waker {
        let same = self.0.as_ref().is_some_and(|(task, _)| task.will_wake(cx.waker()));
        if !same {
            self.0 = None;
        }
        let make = || (cx.waker().clone(), Arc::new(Quiet(cx.waker().clone())).into());
        &self.0.get_or_insert_with(make).1
    }
}

/// What a body yields.
pub type NextFrame<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

/// Takes the next frame of a body. The task that fills the body is woken only if there is more for it to do.
pub fn poll_frame<B: Body + Unpin>(body: &mut B, cx: &mut Context<'_>) -> Poll<Option<NextFrame<B>>> {
    let frame = {
        let _hold = Hold::begin();
        std::pin::Pin::new(&mut *body).poll_frame(cx)
    };
    if let Some(held) = HELD.take()
        && !body.is_end_stream()
    {
        held.wake();
    }
    frame
}

/// Wakes are held back while this lives: a panic in between must not silence the worker.
struct Hold;

impl Hold {
    fn begin() -> Self {
        HOLDING.set(true);
        Self
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HOLDING.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use bytes::Bytes;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// Wakes its filler with each frame, as hyper's bodies do.
    struct Frames(usize, Waker);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.1.wake_by_ref();
            self.0 -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }

        fn is_end_stream(&self) -> bool {
            self.0 == 0
        }
    }

    #[test]
    fn only_the_wake_after_the_last_frame_is_swallowed() {
        let count = Arc::<Count>::default();
        let task: Waker = Arc::clone(&count).into();
        let mut quiet = QuietWaker::default();
        let filler = quiet.of(&Context::from_waker(&task)).clone();
        let mut body = Frames(3, filler.clone());
        let mut cx = Context::from_waker(Waker::noop());
        for woken in [1, 2, 2] {
            assert!(poll_frame(&mut body, &mut cx).is_ready());
            assert_eq!(count.0.load(SeqCst), woken);
        }
        filler.wake();
        assert_eq!(count.0.load(SeqCst), 3, "other wakes go through at once");
    }
}
