//! What every service answers about itself, at every door: `Debug.Health` and `Debug.Stats`.

use serde_json::Value;

use crate::{raw::Raw, support::Home};

#[tokio::test]
async fn a_service_tells_its_health_and_figures_in_protobuf() {
    let home = Home::new();
    home.run_helloworld();
    let raw = Raw::connect(&home.state().proxy).await;
    let health = raw.unary("/helloworld.Debug/Health", "application/grpc", &[], "").await;
    assert_eq!(health.status, 0, "{health:?}");
    assert_eq!(health.messages, [&b"\n\x02ok"[..]]);
    let stats = raw.unary("/helloworld.Debug/Stats", "application/grpc", &[], "").await;
    assert_eq!((stats.status, stats.messages.len()), (0, 1), "{stats:?}");
    assert!(!stats.messages[0].is_empty());
}

#[test]
fn a_service_tells_its_health_and_figures_to_commands_and_over_http() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["helloworld", "call", "--name=Jane"]);
    assert_eq!(home.ok(["call", "helloworld", "Debug.Health", "{}"]), "{\n\t\"status\": \"ok\"\n}\n");
    assert_eq!(home.http("/helloworld/Debug/Health"), (200, "{\"status\":\"ok\"}".to_owned()));

    let by_command = home.ok(["call", "helloworld", "Debug.Stats", "{}", "-o", "json"]);
    let (status, by_http) = home.http("/helloworld/Debug/Stats");
    assert_eq!(status, 200, "{by_http}");
    for text in [by_command, by_http] {
        let answer: Value = serde_json::from_str(&text).unwrap();
        let figure = |name: &str| answer[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(figure("started") > 0 && figure("timestamp") >= figure("started"), "{text}");
        assert!(figure("requests") >= 1, "{text}");
        assert_eq!(figure("errors"), 0, "{text}");
    }
    // They are no part of what the service is for.
    assert!(!home.ok(["helloworld", "--help"]).contains("debug"));
}
