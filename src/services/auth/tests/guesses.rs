//! What becomes of who guesses secrets, and of those beside them.

use futures::future::join_all;

use super::*;

#[tokio::test]
async fn many_guesses_at_once_are_no_way_round() {
    let block = Block::new().await;
    block.make("jane", &[]).await.unwrap();
    let far = from("10.0.0.1");
    let guesses = (0..100).map(|_| block.log_in(&far, "jane", "guess"));
    let codes: Vec<i32> = futures::future::join_all(guesses).await.into_iter().map(code).collect();
    let looked_at = codes.iter().filter(|code| **code == 400).count();
    assert!((5..20).contains(&looked_at), "{looked_at} guesses were looked at");
    assert_eq!(codes.iter().filter(|code| **code == 429).count(), 100 - looked_at);
}

#[tokio::test]
async fn secrets_of_any_length_are_taken_or_refused_whole() {
    let block = Block::new().await;
    block.make("jane", &[]).await.unwrap();
    let owner = Caller::owner();
    let (longest, longer) = ("x".repeat(1024), "x".repeat(1025));
    block.change_secret(&owner, "jane", "", &longest).await.unwrap();
    assert_eq!(code(block.log_in(&from("127.0.0.1"), "jane", &longer).await), 400);
    assert_eq!(code(block.log_in(&from("127.0.0.1"), "jane", &longest[..1023]).await), 400);
    block.log_in(&from("127.0.0.1"), "jane", &longest).await.unwrap();
    assert_eq!(code(block.change_secret(&owner, "jane", "", &longer).await), 400);
}

#[tokio::test]
async fn guesses_are_slowed_and_tell_nothing() {
    let block = Block::new().await;
    block.make("jane", &[]).await.unwrap();
    let far = from("10.0.0.1");
    let mut said = Vec::new();
    for id in ["jane", "nobody"] {
        for attempt in 0..6 {
            let error = block.log_in(&far, id, "guess").await.unwrap_err();
            said.push((attempt, error.code, error.detail.replace(id, "X")));
        }
    }
    let (jane, nobody) = said.split_at(6);
    assert_eq!(jane, nobody);
    assert_eq!(jane.iter().map(|said| said.1).collect::<Vec<_>>(), [400, 400, 400, 400, 400, 429]);
    // Who comes from elsewhere, or owns the home, does not pay for it.
    block.log_in(&from("10.0.0.2"), "jane", "old").await.unwrap();
    block.log_in(&Caller::owner(), "jane", "old").await.unwrap();
}

#[tokio::test]
async fn who_has_logged_in_from_a_place_is_not_kept_out_of_it() {
    let block = Block::new().await;
    block.make("jane", &[]).await.unwrap();
    let near = from("127.0.0.1");
    block.log_in(&near, "jane", "old").await.unwrap();
    // Somebody on the same machine, who has all of its addresses.
    // On a slow machine a wait may be over before the next guess: then there are more of them.
    let mut guesses = 0;
    while code(block.log_in(&from(&format!("127.0.0.{guesses}")), "jane", "guess").await) != 429 {
        guesses += 1;
        assert!(guesses < 100, "nobody is slowed");
    }
    block.log_in(&near, "jane", "old").await.unwrap();
}

#[tokio::test]
async fn where_somebody_logs_in_is_known_after_a_restart() {
    let block = Block::new().await;
    block.make("jane", &[]).await.unwrap();
    let pair = Place::Loopback.with("micro", "jane");
    assert!(!block.auth.0.accounts.knows(&pair).await.unwrap());
    drop(block.log_in(&from("127.0.0.1"), "jane", "guess").await);
    assert!(!block.auth.0.accounts.knows(&pair).await.unwrap());
    block.log_in(&from("127.0.0.1"), "jane", "old").await.unwrap();
    let block = block.again().await;
    assert!(block.auth.0.accounts.knows(&pair).await.unwrap());
}

#[tokio::test]
async fn a_generated_secret_need_not_wait_for_who_guesses() {
    let block = Block::new().await;
    let request = GenerateRequest { id: "robot".to_owned(), ..GenerateRequest::default() };
    let made: GenerateResponse = block.call(&Caller::owner(), "Auth.Generate", request).await.unwrap();
    let far = from("10.0.0.1");
    for _ in 0..7 {
        drop(block.log_in(&far, "robot", "guess").await);
    }
    assert_eq!(code(block.log_in(&far, "robot", "guess").await), 429);
    block.log_in(&far, "robot", &made.account.unwrap().secret).await.unwrap();
}

#[tokio::test]
async fn a_crowd_that_logs_in_is_told_to_come_back() {
    let block = Block::new().await;
    block.make("jane", &[]).await.unwrap();
    let crowd: Vec<_> = (0..40).flat_map(|place| vec![from(&format!("10.0.0.{place}")); 10]).collect();
    let attempts = crowd.iter().enumerate().map(|(number, caller)| {
        let block = &block;
        async move { block.log_in(caller, &format!("nobody{number}"), "guess").await.unwrap_err() }
    });
    let far = from("10.1.0.1");
    let (answers, jane) = tokio::join!(join_all(attempts), block.log_in(&far, "jane", "old"));
    jane.unwrap();
    let late: Vec<_> = answers.iter().filter(|error| error.code == 429).collect();
    assert!(!late.is_empty() && late.iter().all(|error| error.retry_after.is_some()), "{late:?}");
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_anything_is_done_with_it() {
    let block = Block::new().await;
    let (long, huge) = ("x".repeat(256), "x".repeat(1 << 20));
    let near = from("127.0.0.1");
    for text in [long, huge.clone()] {
        let options = || Some(Options { namespace: text.clone() });
        let token = |id: &str, refresh: &str, options| TokenRequest {
            id: id.to_owned(),
            secret: "micro".to_owned(),
            refresh_token: refresh.to_owned(),
            options,
            ..TokenRequest::default()
        };
        let revoke = RevokeTokenRequest { refresh_token: huge.clone(), options: None };
        let refused = [
            block.call::<_, TokenResponse>(&near, "Auth.Token", token(&text, "", None)).await.err(),
            block.call::<_, TokenResponse>(&near, "Auth.Token", token("a", "", options())).await.err(),
            block.call::<_, TokenResponse>(&near, "Auth.Token", token("", &huge, None)).await.err(),
            block.call::<_, RevokeTokenResponse>(&near, "Auth.Revoke", revoke).await.err(),
            block.change_secret(&Caller::owner(), &text, "", "new").await.err(),
            block.change_secret(&Caller::owner(), "admin", &huge, "new").await.err(),
        ];
        for error in refused.map(Option::unwrap) {
            assert_eq!(error.code, 400, "{error:?}");
            assert!(error.detail.len() < 1024, "{} bytes", error.detail.len());
        }
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn who_logs_in_and_closes_his_sending_side_has_the_place_of_his_user() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    let connection = Some(Connection::new(accepted.local_addr().unwrap(), peer));
    let caller = Caller { connection, ..Caller::default() };
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(Place::of(&caller).await, Place::User(rustix::process::getuid().as_raw()));
    assert!(!caller.is_of_our_user().await, "that is no proof");
}
