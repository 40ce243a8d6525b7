//! The log of a test: what is logged on its thread and in its blocking tasks, at every level.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::{Dispatch, Level};

/// Everything logged so far. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

/// Runs the body of a test and captures its log.
pub(crate) fn captured<T>(body: impl AsyncFnOnce(Log) -> T) -> T {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
    let dispatch = Dispatch::new(subscriber.with_max_level(Level::TRACE).finish());
    let also = dispatch.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Until the thread ends.
        .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&also)))
        .build()
        .unwrap();
    let _guard = super::listen(dispatch);
    runtime.block_on(body(log))
}

// === impl Log ===

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
