//! Sources that are read from the start, and values that are made of numbers of several reads.

use std::sync::atomic::AtomicBool;

use super::*;

/// A source that is read from the start, and whose values have a part of the first read.
struct Rate {
    fake: Arc<Fake>,
    from_start: bool,
    keeps_a_part: bool,
    first: Mutex<Option<Instant>>,
    fails: Arc<AtomicBool>,
}

impl Rate {
    fn of(fake: &Arc<Fake>) -> Self {
        let (first, fails) = Default::default();
        Self { fake: fake.clone(), from_start: true, keeps_a_part: false, first, fails }
    }
}

impl Source for Rate {
    fn upstream(&self) -> Option<NextRequest<'_>> {
        None
    }

    fn read<'s>(&'s self, part: &'s Part, by: Instant) -> BoxFuture<'s, Result<Items, SourceError>> {
        let first = *self.first.lock().unwrap().get_or_insert_with(Instant::now);
        async move {
            let items = self.fake.read(part, by).await?;
            if self.fails.load(Ordering::Relaxed) {
                return Err(SourceError::new(Operation::Read, ErrorKind::Transient, "no", "Wait.", ""));
            }
            Ok(if self.keeps_a_part { items.with_oldest(Some(first)) } else { items })
        }
        .boxed()
    }

    fn reads_from_start(&self) -> bool {
        self.from_start
    }
}

fn config_with(name: &str, rate: Rate) -> SourceConfig {
    let source = Opened::One(Identified { identity: name.to_owned(), source: Box::new(rate) });
    SourceConfig { source, ..config_of(name, &Fake::new()) }
}

#[tokio::test(start_paused = true)]
async fn rates_are_read_from_the_start_and_are_known_after_two_reads() {
    let (rate, usual) = (Fake::new(), Fake::new());
    let configs = vec![
        config_with("rate", Rate::of(&rate)),
        config_with("usual", Rate { from_start: false, ..Rate::of(&usual) }),
    ];
    let scene = catalog_of(configs);
    assert!(!scene.catalog.has_rates());
    seconds(1.0).await;
    assert_eq!((rate.reads(), scene.catalog.has_rates()), (1, false));
    seconds(5.0).await;
    assert_eq!((rate.reads(), scene.catalog.has_rates()), (2, true));
    seconds(600.0).await;
    assert_eq!((rate.reads(), usual.reads()), (122, 0));
}

#[tokio::test(start_paused = true)]
async fn reads_that_fail_are_not_waited_for() {
    let fake = Fake::new();
    fake.set(Mood::Fails("500"));
    let scene = catalog_of(vec![config_with("rate", Rate::of(&fake)), config_of("usual", &Fake::new())]);
    seconds(1.0).await;
    assert!(scene.catalog.has_rates());
    assert!(catalog_of(vec![config_of("usual", &fake)]).catalog.has_rates());
}

#[tokio::test(start_paused = true)]
async fn no_part_of_a_value_is_older_than_max_age() {
    let (fake, fails) = (Fake::new(), Arc::new(AtomicBool::new(false)));
    let rate = Rate { keeps_a_part: true, fails: fails.clone(), ..Rate::of(&fake) };
    let scene = catalog_of(vec![config_with("orders", rate)]);
    seconds(50.0).await;
    assert!(scene.ask("shop", "queue=orders").await.is_ok());
    fails.store(true, Ordering::Relaxed);
    seconds(9.0).await;
    // The last read was good some seconds ago, and a part of it is of the first read.
    assert!(scene.ask("shop", "queue=orders").await.is_ok());
    seconds(3.0).await;
    assert!(scene.ask("shop", "queue=orders").await.is_err());
}
