//! How services end: by name, by version, by folder, and with calls under way.

use std::{fs, os::unix::net::UnixStream, process::Stdio};

use serde_json::{Value, json};

use crate::{
    faulty,
    processes::alive,
    raw::{Raw, frame, soon},
    support::{Home, eventually},
};

const CALL: &str = "/helloworld.Helloworld/Call";
const PING_PONG: &str = "/helloworld.Helloworld/PingPong";
const JSON: &str = "application/grpc+json";

/// The services that run, as `name@version`.
fn running(home: &Home) -> Vec<String> {
    let services: Vec<Value> = serde_json::from_str(&home.ok(["status", "-o", "json"])).unwrap();
    let name = |service: &Value| {
        let text = |field: &str| service[field].as_str().unwrap().to_owned();
        format!("{}@{}", text("name"), text("version"))
    };
    services.iter().map(name).collect()
}

#[test]
fn kill_ends_what_it_is_told_to_and_nothing_else() {
    let home = Home::new();
    let program = faulty::program().to_str().unwrap();
    for (name, version) in [("a", "latest"), ("a", "v1"), ("a", "v10"), ("b", "latest")] {
        home.ok(["run", ".", "--name", name, "--version", version, "--command", program]);
    }
    let folder = home.path().join("shop");
    fs::create_dir(&folder).unwrap();
    home.ok_in(&folder, ["run", ".", "--command", program]);
    assert_eq!(running(&home), ["a@latest", "a@v1", "a@v10", "b@latest", "shop@latest"]);

    home.ok(["kill", "a@v1", "b"]);
    assert_eq!(running(&home), ["a@latest", "a@v10", "shop@latest"]);
    home.ok_in(&folder, ["kill", "."]);
    assert_eq!(running(&home), ["a@latest", "a@v10"]);
    assert!(home.fails(5, ["kill", "a@v1"]).contains("service a does not run"));
    home.ok(["kill", "a"]);
    assert_eq!(running(&home), ["a@v10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_that_are_under_way_are_answered_before_a_service_ends() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let found = home.ok(["call", "registry", "Registry.GetService", r#"{"service": "helloworld"}"#]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let address = found["services"][0]["nodes"][0]["address"].as_str().unwrap();
    let socket = address.strip_prefix("unix:").unwrap().to_owned();
    UnixStream::connect(&socket).unwrap();

    let raw = Raw::connect(&home.state().proxy).await;
    let mut stream = raw.start(PING_PONG, JSON, &[], frame(br#"{"stroke":1}"#)).await;
    assert_eq!(stream.value().await, json!({"stroke": "1"}));
    let unary = tokio::spawn(async move { raw.json(CALL, r#"{"name":"until"}"#).await });
    eventually("the call to be under way", || {
        home.ok(["logs", "helloworld"]).contains("waiting\n").then_some(())
    });

    let mut kill = home.command(["kill", "helloworld"]);
    let kill = kill.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the service to take no new connections", || {
        UnixStream::connect(&socket).is_err().then_some(())
    });
    stream.write(r#"{"stroke":2}"#).await;
    assert_eq!(stream.value().await, json!({"stroke": "2"}));
    stream.close();
    assert_eq!(stream.end().await.status, 0);
    fs::write(home.path().join("go-on"), "").unwrap();
    let reply = soon("the answer", unary).await.unwrap();
    assert_eq!(reply.value(), json!({"msg": "Hello at last"}));

    let killed = kill.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&killed.stderr).into_owned();
    assert_eq!((killed.status.code(), said.as_str()), (Some(0), "helloworld has stopped\n"));
    assert!(home.fails(8, ["helloworld", "call"]).contains("was stopped by `micro kill`"));
}

/// Where the system shows the environment of a process (proc(5)).
#[test]
#[cfg(target_os = "linux")]
fn what_a_service_left_in_sessions_of_their_own_ends_with_it() {
    let home = Home::new();
    let script = "setsid sh -c 'echo $$ >left.new; mv left.new left; exec sleep 1000' &\n\
                  while ! test -e left; do sleep 0.01; done; test -e ends && exit 3; exec sleep 1000\n";
    for ends in [false, true] {
        let folder = home.path().join(format!("ends-{ends}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("service.sh"), script).unwrap();
        if ends {
            fs::write(folder.join("ends"), "").unwrap();
        }
        // It never registers, so the command waits until the service is killed.
        let mut run = home.command(["run", ".", "--name", "leaver", "--command", "sh service.sh"]);
        let mut run = run.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let left = eventually("the process in a session of its own", || {
            fs::read_to_string(folder.join("left")).ok()?.trim().parse().ok()
        });
        if !ends {
            assert!(alive(left));
            home.ok(["kill", "leaver"]);
        }
        eventually("it to end too", || (!alive(left)).then_some(()));
        home.run(["kill", "leaver"]);
        run.kill().unwrap();
        run.wait().unwrap();
    }
    eventually("no record to be left", || {
        fs::read_dir(home.data().join("server/children")).unwrap().next().is_none().then_some(())
    });
}

/// A service whose server goes first does not wait for it.
#[test]
fn a_server_with_services_stops_as_soon_as_they_have_ended() {
    let home = Home::new();
    home.run_helloworld();
    home.ok(["server", "stop"]);
    let log = fs::read_to_string(home.data().join("logs/micro/helloworld@latest/current.log")).unwrap();
    assert!(!log.contains("no answer from `registry`"), "{log}");
}
