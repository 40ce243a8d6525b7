//! The load: a producer that puts messages in bursts, and workers that a plain HPA would scale.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use depthgauge_emulator::queue::EmulatedQueue;
use tokio::time::{Instant, MissedTickBehavior};

use super::poller::Poller;
use crate::hpa::{self, Answer, Controller, Metric, Spec, Target, Tolerance, Workload};
use crate::metric::quantity::Quantity;

/// A line is printed, the workers work and the HPA syncs, once a second.
const TICK: Duration = Duration::from_secs(1);
/// Seconds from one burst to the next: up, drained, a while at zero.
const CYCLE: u32 = 20;
/// The second of a cycle in which its burst comes.
const BURST_AT: u32 = 3;
/// Messages in a burst: exactly what ten workers are for.
const BURST: usize = 20;
/// Workers that together finish one message a second.
const WORKERS_PER_MESSAGE: usize = 4;
/// The HPA of the README.
const HPA: Spec = Spec { min: 0, max: 10, tolerance: Tolerance { up: hpa::TOLERANCE, down: hpa::TOLERANCE } };
/// Its `averageValue`.
pub(super) const MESSAGES_PER_REPLICA: i64 = 2;
const TARGET: Target = Target::AverageValue(1000 * MESSAGES_PER_REPLICA);

/// The load, and what came of it.
pub(super) struct Script {
    queue: Arc<EmulatedQueue>,
    poller: Poller,
    replicas: i32,
    count: Count,
}

#[derive(Default)]
struct Count {
    put: usize,
    done: usize,
    answers: u32,
    failures: u32,
    most_replicas: i32,
    /// When the burst came that no answer has shown yet.
    unseen: Option<Instant>,
    slowest: Duration,
}

// === impl Script ===

impl Script {
    pub(super) fn new(queue: Arc<EmulatedQueue>, poller: Poller) -> Self {
        Self { queue, poller, replicas: 1, count: Count::default() }
    }

    /// Runs until dropped.
    pub(super) async fn run(&mut self) -> Result<()> {
        let mut out = io::stdout();
        writeln!(out, "{:>6}  {:>5}  {:>6}  {:>8}", "second", "depth", "answer", "replicas")?;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for second in 0_u32.. {
            ticks.tick().await;
            let event = self.work(second);
            let depth = self.depth();
            let answer = match self.poller.ask().await {
                Ok(sum) => {
                    self.take_in(sum);
                    sum.decimal().to_string()
                }
                Err(error) => {
                    self.count.failures += 1;
                    tracing::warn!("{error:#}");
                    // An HPA without an answer holds its size.
                    "?".to_owned()
                }
            };
            let replicas = self.replicas;
            let bar = "#".repeat(usize::try_from(replicas).unwrap_or_default());
            let line = format!("{second:>6}  {depth:>5}  {answer:>6}  {replicas:>8}  {bar:<10}  {event}");
            // Fails when the output is closed, as in `demo | head`: then there is nothing left to do.
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// What happened, in one paragraph.
    pub(super) fn summary(&self) -> String {
        let Count { put, done, answers, failures, most_replicas, slowest, .. } = &self.count;
        let mut text = format!(
            "\n{put} messages put, {done} done, {} left; {answers} answers, {failures} failures; at most {most_replicas} replicas",
            self.depth()
        );
        // Writing to a String cannot fail.
        let _ = write!(text, "; {} reads of the queue", self.queue.reads());
        if !slowest.is_zero() {
            let _ = write!(text, "; every burst was in the answer within {:.1} s", slowest.as_secs_f64());
        }
        text
    }

    /// Lets workers and producer act; returns a remark, if there is one.
    fn work(&mut self, second: u32) -> String {
        let workers = usize::try_from(self.replicas).unwrap_or_default();
        self.count.done += self.queue.consume(workers.div_ceil(WORKERS_PER_MESSAGE));
        if second % CYCLE != BURST_AT {
            return String::new();
        }
        self.queue.put((0..BURST).map(|n| format!("order {n}")));
        self.count.put += BURST;
        self.count.unseen = Some(Instant::now());
        format!("{BURST} messages put")
    }

    fn take_in(&mut self, sum: Quantity) {
        self.count.answers += 1;
        let metric = Metric { target: TARGET, answer: Answer::Sum(sum.milli()) };
        self.replicas = hpa::desired(Controller::NEWEST, &HPA, &Workload::settled(self.replicas), &[metric]).replicas;
        self.count.most_replicas = self.count.most_replicas.max(self.replicas);
        if sum > Quantity::ZERO
            && let Some(burst) = self.count.unseen.take()
        {
            self.count.slowest = self.count.slowest.max(burst.elapsed());
        }
    }

    fn depth(&self) -> i64 {
        let stats = self.queue.stats();
        stats.visible_messages + stats.in_flight_messages
    }
}
