//! Passes: what a hub signs it knows again, also after a restart with the same secret, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use kernel::{Caller, Grant, Hub, Settings};
use model::Time;

async fn hub(secret: u8) -> (tempfile::TempDir, Hub) {
    let directory = tempfile::tempdir().expect("a directory");
    let catalog = catalogs::Plan::new(directory.path().join("catalog.db")).open().expect("a catalog");
    let settings = Settings { secret: [secret; 32], ..Settings::default() };
    let hub = Hub::open(Arc::new(catalog), Arc::new(stores::Memory::default()), Vec::new(), settings).await;
    (directory, hub.expect("a hub"))
}

fn soon() -> Time {
    Time::now().plus(Duration::from_secs(60))
}

fn grants(list: &[&str]) -> Vec<Grant> {
    list.iter().map(|grant| grant.parse().expect("a grant")).collect()
}

#[tokio::test]
async fn a_pass_says_who_somebody_is_until_it_ends() {
    let (_one, hub_one) = hub(7).await;
    let (_two, again) = hub(7).await;
    let caller = Caller::known("user:anna", grants(&["read:main:oci/a:", "push"]));
    let pass = hub_one.make_pass(&caller, soon()).expect("a pass");
    let found = again.token_caller(&pass).await.expect("an answer").expect("the same secret knows it");
    assert_eq!((&*found.who, found.known, &*found.grants), ("user:anna", true, &*caller.grants));
    let over = hub_one.make_pass(&caller, Time::now()).expect("a pass");
    assert!(hub_one.token_caller(&over).await.expect("an answer").is_none(), "it has ended");
}

#[tokio::test]
async fn nobody_else_can_make_or_change_a_pass() {
    let (_one, hub_one) = hub(7).await;
    let (_two, other) = hub(8).await;
    let pass = hub_one.make_pass(&Caller::known("user:anna", grants(&["read"])), soon()).expect("a pass");
    assert!(other.token_caller(&pass).await.expect("an answer").is_none(), "another secret");
    for at in 5..pass.len() {
        let mut changed = pass.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        if changed == pass.as_bytes() {
            continue;
        }
        let changed = String::from_utf8(changed).expect("text");
        assert!(hub_one.token_caller(&changed).await.expect("an answer").is_none(), "changed at {at}");
    }
    for noise in ["entp_", "entp_.", "entp_a.b", &format!("entp_{}", "a".repeat(100_000))] {
        assert!(hub_one.token_caller(noise).await.expect("an answer").is_none());
    }
}

#[tokio::test]
async fn a_name_with_a_line_in_it_adds_no_grants() {
    let (_one, hub_one) = hub(7).await;
    let caller = Caller::known("cert:x\nall:*:", grants(&["read"]));
    let pass = hub_one.make_pass(&caller, soon()).expect("a pass");
    let found = hub_one.token_caller(&pass).await.expect("an answer").expect("a caller");
    assert_eq!(&*found.grants, &*caller.grants);
    let many = vec!["read:main:oci/some/repository/name:"; 1000];
    assert!(hub_one.make_pass(&Caller::known("x", grants(&many)), soon()).is_err(), "it would not fit into a header");
}
