//! Which connections of the port stay open: how many, and how much of their answers.
//!
//! When there are too many, or too many bytes of answers, the one whose last request is the oldest is
//! closed. Usually, its client is idle or does not read.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Connections at once: kubelet, Prometheus and users hold a few. The listener is not always on
/// loopback.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Bytes of the last answers of all connections. `/metrics` with 1,000 exported queues has 0.4 MiB.
pub(super) const ANSWERS_MAX: usize = 8 << 20;

/// All connections, the oldest request first, with the bytes of the last answer, which the client may not have
/// read yet.
#[derive(Default)]
pub(super) struct Connections(Mutex<Vec<(Arc<Connection>, usize)>>);

/// One connection. It is cancelled when another one needs its capacity.
pub(super) type Connection = CancellationToken;

// === impl Connections ===

impl Connections {
    /// Another connection.
    pub(super) fn open(&self) -> Arc<Connection> {
        let connection = Arc::new(Connection::default());
        let mut all = self.0.lock();
        all.push((connection.clone(), 0));
        evict(&mut all);
        connection
    }

    /// Records an answer of `bytes` on this connection. It replaces the previous answer, which the client has read.
    pub(super) fn answer(&self, connection: &Arc<Connection>, bytes: usize) {
        let mut all = self.0.lock();
        let Some(at) = all.iter().position(|(other, _)| Arc::ptr_eq(other, connection)) else { return };
        all.remove(at);
        all.push((connection.clone(), bytes));
        evict(&mut all);
    }

    /// This connection has ended.
    pub(super) fn close(&self, connection: &Arc<Connection>) {
        self.0.lock().retain(|(other, _)| !Arc::ptr_eq(other, connection));
    }
}

/// The newest one stays, whatever its length.
fn evict(all: &mut Vec<(Arc<Connection>, usize)>) {
    let mut bytes: usize = all.iter().map(|(_, bytes)| bytes).sum();
    while all.len() > CONNECTIONS_MAX || all.len() > 1 && bytes > ANSWERS_MAX {
        let (oldest, its) = all.remove(0);
        bytes -= its;
        oldest.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of those that are open.
    fn open(opened: &[Arc<Connection>]) -> Vec<usize> {
        (0..opened.len()).filter(|at| !opened[*at].is_cancelled()).collect()
    }

    #[test]
    fn the_one_with_the_oldest_request_is_closed_when_answers_are_too_long() {
        let all = Connections::default();
        let opened: Vec<_> = (0..4).map(|_| all.open()).collect();
        for connection in &opened {
            all.answer(connection, ANSWERS_MAX / 4);
        }
        all.answer(&opened[0], ANSWERS_MAX / 4);
        assert_eq!(open(&opened), [0, 1, 2, 3]);
        all.answer(&opened[2], ANSWERS_MAX / 2);
        assert_eq!(open(&opened), [0, 2, 3], "1 has the oldest request");
        all.close(&opened[2]);
        all.answer(&opened[3], ANSWERS_MAX / 2);
        assert_eq!(open(&opened), [0, 2, 3]);
        all.answer(&opened[0], 2 * ANSWERS_MAX);
        assert_eq!(open(&opened), [0, 2], "a long one has all");
        all.answer(&opened[1], 1);
        assert_eq!(all.0.lock().len(), 1, "a closed one does not come back");
    }
}
