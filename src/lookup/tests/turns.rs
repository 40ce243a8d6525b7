//! Reads that wait for their turns, because more is to be read than the service gets at once.

use super::*;

impl Fake {
    /// Each further read has to wait for this long.
    pub(super) fn queue(&self, wait: Duration) {
        *self.queued.lock().unwrap() = wait;
        if self.reads() > 0 {
            self.owe();
        }
    }

    /// Two turns a second are taken for others.
    pub(super) fn owe(&self) {
        let queued = *self.queued.lock().unwrap();
        let until = if queued.is_zero() { queued } else { queued + Duration::from_secs(5) };
        for _ in 1..until.as_millis() / 500 {
            self.service.charge();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_sources_share_takes_nothing_of_the_deadline() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    scene.kept().await;
    // Longer than the deadline of a read.
    *fake.shared.lock().unwrap() = Duration::from_secs(10);
    seconds(28.0).await;
    scene.age().await;
    let before = fake.reads();
    for _ in 0..300 {
        let requested = Instant::now();
        let age = scene.age().await;
        assert!(requested.elapsed() < Duration::from_millis(1) && age <= 17.0, "{age} {:?}", requested.elapsed());
        seconds(1.0).await;
    }
    assert_eq!(scene.catalog.throttled(), Duration::from_secs(10));
    assert!((19..=21).contains(&(fake.reads() - before)), "{}", fake.reads() - before);
}

#[tokio::test(start_paused = true)]
async fn where_turns_are_waited_for_values_are_older_and_answers_are_not_slower() {
    let fake = Fake::new();
    let scene = scene(&[("orders", "shop", fake.clone())]);
    fake.queue(Duration::from_secs(10));
    scene.kept().await;
    assert_eq!(scene.catalog.throttled(), Duration::ZERO, "the first read is urgent");
    // Until the first wait is known, requests wait with it.
    seconds(28.0).await;
    scene.age().await;
    let before = fake.reads();
    for _ in 0..300 {
        let asked = Instant::now();
        let age = scene.age().await;
        assert!(asked.elapsed() < Duration::from_millis(1) && age <= 17.0, "{age} {:?}", asked.elapsed());
        seconds(1.0).await;
    }
    assert_eq!(scene.catalog.throttled(), Duration::from_secs(10));
    // `refresh` and the wait: every 15 s.
    assert!((19..=21).contains(&(fake.reads() - before)), "{}", fake.reads() - before);
    fake.queue(Duration::ZERO);
    seconds(20.0).await;
    scene.age().await;
    assert_eq!(scene.catalog.throttled(), Duration::ZERO);
}
