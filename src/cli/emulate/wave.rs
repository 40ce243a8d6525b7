//! A load without a producer and a consumer, so that a workload visibly scales up and down.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use depthgauge_emulator::Emulator;

use crate::cli::duration;

/// The load of `--wave`: nothing for half of the time, then messages, which are consumed at its
/// end.
#[derive(Clone, Debug)]
pub(super) struct Wave {
    /// That come together, to each queue.
    messages: usize,
    /// From one wave to the next.
    period: Duration,
}

/// What the memory of a small pod holds.
const MOST_MESSAGES: usize = 10_000;
/// Each half is then visible to a client that reads every second; anything shorter shows nothing.
const SHORTEST: Duration = Duration::from_secs(2);

// === impl Wave ===

impl Wave {
    /// Puts and consumes until it is dropped.
    pub(super) async fn roll(self, emulator: &Emulator) -> Infallible {
        let mut half = tokio::time::interval(self.period / 2);
        half.tick().await;
        loop {
            half.tick().await;
            for queue in emulator.queues() {
                queue.put((1..=self.messages).map(|n| format!("message {n} of a wave")));
            }
            half.tick().await;
            for queue in emulator.queues() {
                queue.consume(self.messages);
            }
        }
    }
}

impl FromStr for Wave {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (messages, period) = text.split_once('/').ok_or("write N/DURATION, such as 20/2m")?;
        let messages = messages.parse().ok().filter(|count| (1..=MOST_MESSAGES).contains(count));
        let messages = messages.ok_or_else(|| format!("N is 1 to {MOST_MESSAGES} messages"))?;
        let period = duration(period)?;
        if period < SHORTEST {
            return Err(format!("a wave takes {} s or longer", SHORTEST.as_secs()));
        }
        Ok(Self { messages, period })
    }
}

#[cfg(test)]
mod tests {
    use depthgauge_emulator::Options;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn messages_are_there_in_each_second_half() {
        let id = "ocid1.queue.oc1.eu-frankfurt-1.wave".parse().unwrap();
        let emulator = Emulator::new(
            Options { queues: vec![("orders".to_owned(), id)], ..Options::default() },
            jiff::Timestamp::now,
        );
        let queue = emulator.queue("orders").unwrap();
        let wave: Wave = "20/60s".parse().unwrap();
        let rolling = tokio::spawn(async move { wave.roll(&emulator).await });
        for depth in [0, 20, 0, 20] {
            // The middle of each half.
            tokio::time::sleep(Duration::from_secs(15)).await;
            assert_eq!(queue.stats().visible_messages, depth);
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        rolling.abort();
    }

    #[test]
    fn what_is_no_wave_is_refused() {
        for text in ["", "20", "0/60s", "10001/60s", "-1/60s", "20/1s", "20/x"] {
            assert!(text.parse::<Wave>().is_err(), "{text}");
        }
    }
}
