//! One node in this process, with everything around the core real.

use std::time::{Duration, Instant};

use cloister_core::ractor::Actor;
use cloister_core::{Config, ManagerActor, ManagerArguments, Status};

#[tokio::test]
async fn alone() {
    let arguments = ManagerArguments::new(Config::new("alone")).unwrap();
    let cloister = arguments.handle();
    let began = Instant::now();
    let (_manager, _) = Actor::spawn(Some("cloister".into()), ManagerActor, arguments).await.unwrap();
    cloister.wait_until_up(Duration::from_secs(10)).await.unwrap();
    println!("up after {:?}", began.elapsed());
    assert!(cloister.is_mine("x"));
    assert!(cloister.is_sentry());
    cloister.leave().await;
    println!("left after {:?}", began.elapsed());
    assert!(!cloister.is_mine("x"));
    assert_eq!(cloister.status(), Status::Stopped);
}
