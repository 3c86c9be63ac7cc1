//! The account that every fresh server has: when it is there, and who may use it.

use super::*;

#[tokio::test]
async fn the_account_of_a_fresh_server_works_where_its_user_is_proven_until_its_secret_is_changed() {
    let block = Block::new().await;
    let (near, far) = (from("127.0.0.1"), from("10.0.0.1"));
    block.log_in(&by_socket(), "admin", "micro").await.unwrap();
    // On the loopback address, but the system shows no such connection.
    for unproven in [&near, &far, &from("::ffff:127.0.0.1"), &Caller::default()] {
        assert_eq!(code(block.log_in(unproven, "admin", "micro").await), 403);
    }
    if cfg!(target_os = "linux") {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = Connection::new(listener.local_addr().unwrap(), client.local_addr().unwrap());
        let proven = Caller { connection: Some(connection), ..Caller::default() };
        block.log_in(&proven, "admin", "micro").await.unwrap();
        drop(client);
        assert_eq!(code(block.log_in(&proven, "admin", "micro").await), 403);
    }
    block.change_secret(&Caller::owner(), "admin", "", "a long one").await.unwrap();
    assert_eq!(code(block.log_in(&near, "admin", "micro").await), 400);
    block.log_in(&far, "admin", "a long one").await.unwrap();
}

#[tokio::test]
async fn the_account_of_a_fresh_server_is_there_whenever_no_person_has_one() {
    let block = Block::new().await;
    let near = by_socket();
    block.make("jane", &[]).await.unwrap();
    assert_eq!(code(block.log_in(&near, "admin", "micro").await), 400);
    let request = DeleteAccountRequest { id: "jane".to_owned(), options: None };
    let _: micro_sdk::proto::auth::DeleteAccountResponse =
        block.call(&Caller::owner(), "Accounts.Delete", request).await.unwrap();
    block.log_in(&near, "admin", "micro").await.unwrap();
}
