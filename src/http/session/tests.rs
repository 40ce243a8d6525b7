//! Sessions in simulated time, with a service that returns what a test sets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

const LIFE: Duration = Duration::from_secs(1200);

/// Issues sessions after a second, unless it is set to fail.
#[derive(Clone, Default)]
struct Fake(Arc<Requested>);

#[derive(Default)]
struct Requested {
    asked: AtomicUsize,
    fails: AtomicBool,
    retry_after: AtomicUsize,
}

impl Fake {
    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn says(&self, retry_after: usize) {
        self.0.retry_after.store(retry_after, Ordering::Relaxed);
    }

    fn fails(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::Relaxed);
    }
}

impl Issuer for Fake {
    type Granted = usize;

    fn timeout(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn issue(&self) -> BoxFuture<'_, Result<Session<usize>, SignInError>> {
        async move {
            let number = self.0.asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.0.fails.load(Ordering::Relaxed) {
                let said = self.0.retry_after.load(Ordering::Relaxed);
                let retry_after = (said > 0).then(|| Duration::from_secs(said.try_into().unwrap()));
                return Err(SignInError { retry_after, ..error("broken") });
            }
            Ok(Session { granted: number, lifetime: LIFE })
        }
        .boxed()
    }

    fn too_slow(&self) -> SignInError {
        error("slow")
    }
}

fn sessions(fake: &Fake) -> Sessions<usize> {
    Sessions::new(fake.clone(), "the test", Duration::from_secs(10))
}

fn error(cause: &str) -> SignInError {
    SignInError { cause: cause.to_owned(), remedy: "", detail: String::new(), request_id: None, retry_after: None }
}

async fn signer(sessions: &Sessions<usize>, patience: u64) -> Result<Arc<usize>, String> {
    let signer = sessions.granted(Instant::now() + Duration::from_secs(patience)).await;
    signer.map_err(|error| error.cause)
}

fn is(one: &Arc<usize>) -> impl Fn(&usize) -> bool {
    let one = **one;
    move |granted| *granted == one
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn renewal_is_asked_for_at_half_of_the_life_give_or_take_and_nobody_waits_for_it() {
    let fake = Fake::default();
    let sessions = sessions(&fake);
    let first = signer(&sessions, 5).await.unwrap();
    pass(539).await;
    assert!(Arc::ptr_eq(&first, &signer(&sessions, 0).await.unwrap()));
    pass(1).await;
    assert_eq!(fake.asked(), 1, "before 45 % of its life");
    pass(121).await;
    // With no patience at all: this is the old one, and the new one is on its way.
    assert!(Arc::ptr_eq(&first, &signer(&sessions, 0).await.unwrap()));
    pass(2).await;
    assert_eq!(fake.asked(), 2, "after 55 % of its life");
    assert!(!Arc::ptr_eq(&first, &signer(&sessions, 0).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_needs_is_not_renewed() {
    let fake = Fake::default();
    let sessions = sessions(&fake);
    signer(&sessions, 5).await.unwrap();
    pass(5000).await;
    assert_eq!(fake.asked(), 1);
    signer(&sessions, 5).await.unwrap();
    assert_eq!(fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_renewal_fails_the_old_session_serves_to_its_end_and_the_service_is_spared() {
    let fake = Fake::default();
    let sessions = sessions(&fake);
    let first = signer(&sessions, 5).await.unwrap();
    fake.fails(true);
    pass(670).await;
    for _ in 0..500 {
        assert!(Arc::ptr_eq(&first, &signer(&sessions, 0).await.unwrap()));
        pass(1).await;
    }
    // 500 seconds, an attempt a second and a pause of 15.
    assert!((29..=33).contains(&fake.asked()), "{}", fake.asked());
    pass(60).await;
    assert_eq!(signer(&sessions, 5).await.err().as_deref(), Some("broken"));
    fake.fails(false);
    pass(3).await;
    signer(&sessions, 5).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_answer_for_all_for_two_seconds() {
    let fake = Fake::default();
    let sessions = sessions(&fake);
    fake.fails(true);
    let asks = (0..100).map(|_| signer(&sessions, 5));
    for ask in futures_util::future::join_all(asks).await {
        assert_eq!(ask.err().as_deref(), Some("broken"));
    }
    assert_eq!(signer(&sessions, 5).await.err().as_deref(), Some("broken"));
    assert_eq!(fake.asked(), 1);
    pass(2).await;
    assert_eq!(signer(&sessions, 5).await.err().as_deref(), Some("broken"));
    assert_eq!(fake.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_who_cannot_wait_does_not_end_the_attempt_for_the_others() {
    let fake = Fake::default();
    let sessions = sessions(&fake);
    assert_eq!(signer(&sessions, 0).await.err().as_deref(), Some("slow"));
    signer(&sessions, 5).await.unwrap();
    assert_eq!(fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_signer_is_replaced_at_most_every_ten_seconds() {
    let fake = Fake::default();
    let sessions = sessions(&fake);
    let by = || Instant::now() + Duration::from_secs(5);
    let first = signer(&sessions, 5).await.unwrap();
    let second = sessions.other_than(is(&first), by()).await.unwrap();
    // Refused while the second was got: that one will do.
    assert!(Arc::ptr_eq(&second, &sessions.other_than(is(&first), by()).await.unwrap()));
    assert!(sessions.other_than(is(&second), by()).await.is_none());
    assert_eq!(fake.asked(), 2);
    pass(10).await;
    fake.fails(true);
    assert!(sessions.other_than(is(&second), by()).await.is_none());
    assert_eq!(fake.asked(), 3);
    assert!(Arc::ptr_eq(&second, &signer(&sessions, 5).await.unwrap()), "kept while valid");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_when_to_come_back_is_not_asked_before() {
    let fake = Fake::default();
    let sessions = sessions(&fake);
    fake.fails(true);
    fake.says(30);
    for second in 0..29 {
        assert_eq!(signer(&sessions, 5).await.err().as_deref(), Some("broken"));
        assert_eq!(fake.asked(), 1, "{second}");
        pass(1).await;
    }
    fake.fails(false);
    pass(2).await;
    let first = signer(&sessions, 5).await.unwrap();
    // Nor while there is a session to go on with, nor for a 401.
    fake.fails(true);
    pass(670).await;
    signer(&sessions, 0).await.unwrap();
    pass(2).await;
    for second in 0..29 {
        let forced = sessions.other_than(is(&first), Instant::now()).await;
        assert!(Arc::ptr_eq(&first, &signer(&sessions, 0).await.unwrap()) && forced.is_none());
        assert_eq!(fake.asked(), 3, "{second}");
        pass(1).await;
    }
    pass(3).await;
    signer(&sessions, 0).await.unwrap();
    pass(1).await;
    assert_eq!(fake.asked(), 4);
}
