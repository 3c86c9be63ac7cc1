//! Where nodes may be: services of this machine on Unix sockets that other users cannot reach, and
//! TCP addresses only where the system proves, or the server was told, that they are to be trusted.

use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use micro_sdk::local;
use serde_json::{Value, json};

use crate::{
    faulty,
    go_service::{Door, Node, node, shop},
    processes::{alive, signal},
    raw::Raw,
    support::{Home, as_another_user, eventually, outcome},
};

const JANE: &str = "{\n\t\"msg\": \"Hello Jane\"\n}\n";
const CALL: [&str; 3] = ["helloworld", "call", "--name=Jane"];

/// A service that was started by hand, and ends with the test.
struct ByHand(Child);

impl ByHand {
    fn start(home: &Home, variables: &[(&str, &str)]) -> Self {
        let mut program = Command::new(faulty::program());
        program.env_clear().env("MICRO_HOME", home.path().join("home")).envs(variables.iter().copied());
        let started = Self(program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually("it to be called", || (home.run(CALL).stdout == JANE).then_some(()));
        started
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the registry knows of the nodes of `helloworld`.
fn nodes(home: &Home) -> Vec<Value> {
    let known: Value =
        serde_json::from_str(&home.ok(["get", "service", "helloworld", "-o", "json"])).unwrap();
    known[0]["nodes"].as_array().unwrap().clone()
}

/// The file of the only node of `helloworld`.
fn socket(home: &Home) -> PathBuf {
    let nodes = nodes(home);
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    let address = nodes[0]["address"].as_str().unwrap();
    PathBuf::from(address.strip_prefix("unix:").unwrap_or_else(|| panic!("{address} is no socket")))
}

/// The sockets in the folder of the nodes.
fn files(home: &Home) -> Vec<PathBuf> {
    let folder = local::nodes_folder(&home.state().socket);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Whether a process listens on TCP.
fn listens_on_tcp(pid: u32) -> bool {
    let tables =
        fs::read_to_string("/proc/net/tcp").unwrap() + &fs::read_to_string("/proc/net/tcp6").unwrap();
    let listening: Vec<String> = tables
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns.get(3) == Some(&"0A"))
        .map(|columns| format!("socket:[{}]", columns[9]))
        .collect();
    let held = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    held.filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| listening.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

#[test]
fn a_service_of_this_machine_listens_where_no_other_user_reaches_it() {
    let home = Home::new();
    faulty::run(&home, &[]);
    let path = socket(&home);
    let folder = path.parent().unwrap();
    assert_eq!(folder, local::nodes_folder(&home.state().socket));
    assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    let file = fs::symlink_metadata(&path).unwrap();
    assert!(file.file_type().is_socket() && file.mode() & 0o777 == 0o600, "{file:?}");
    assert!(home.ok(["logs", "helloworld"]).contains(&format!("is registered at unix:{}", path.display())));
    let pid = home.status("helloworld")["metadata"]["pid"].as_str().unwrap().parse().unwrap();
    assert!(!listens_on_tcp(pid), "a port of its own would stand outside of the rules");

    // The owner calls it past the server; the same word is the address everywhere.
    let address = format!("unix:{}", path.display());
    let request = r#"{"name": "Jane"}"#;
    let call = ["call", "helloworld", "Helloworld.Call", request, "--address", &address];
    // It is reached, and speaks protobuf only: JSON is the server's matter.
    assert!(home.fails(7, call).contains("Protobuf"));
    for (wrong, reason) in [
        ("unix:relative", "has to begin with `/`"),
        ("nowhere", "neither host:port nor unix:/path"),
        ("127.0.0.1:0", "port 0"),
    ] {
        for command in ["call", "stream"] {
            let said = home.fails(2, [command, "helloworld", "Helloworld.Call", "--address", wrong]);
            assert!(said.contains(reason), "{said}");
        }
    }
    home.ok(["kill", "helloworld"]);
    assert_eq!(files(&home), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_by_the_services_socket_is_nobody_without_a_token() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let socket = home.state().socket;
    let (owner, service) = (Raw::local(&socket).await, Raw::local(&local::services_socket(&socket)).await);
    for (path, request) in [
        ("/auth.Accounts/List", "{}"),
        ("/auth.Auth/Generate", r#"{"id": "jane"}"#),
        ("/auth.Auth/Local", r#"{"service": "helloworld"}"#),
        ("/registry.Registry/ListServices", "{}"),
        ("/runtime.Runtime/Read", "{}"),
    ] {
        assert_eq!(owner.json(path, request).await.status, 0, "{path}");
        let refused = service.json(path, request).await;
        assert!(matches!(refused.failure().1, 401 | 403), "{path}: {refused:?}");
    }
    let token = owner.json("/auth.Auth/Local", r#"{"service": "helloworld"}"#).await.value();
    let bearer = format!("Bearer {}", token["token"]["access_token"].as_str().unwrap());
    let form = "application/grpc+json";
    let headers = [("authorization", &*bearer)];
    let listed = service.unary("/registry.Registry/ListServices", form, &headers, "{}").await;
    assert_eq!(listed.status, 0, "{listed:?}");
    for (path, request) in [("/auth.Accounts/List", "{}"), ("/auth.Auth/Local", r#"{"service": "other"}"#)] {
        let refused = service.unary(path, form, &headers, request).await;
        assert_eq!(refused.failure().1, 403, "{path}: {refused:?}");
    }
}

#[test]
fn the_port_of_a_dead_service_brings_nothing_to_another_user() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let started = ByHand::start(&home, &[("MICRO_SERVICE_ADDRESS", "127.0.0.1:0")]);
    let address = nodes(&home)[0]["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    started.kill();
    let Some(thief) = as_another_user(|| TcpListener::bind(&address).unwrap()) else { return };

    let token = home.ok(["call", "auth", "Auth.Local", r#"{"service": "helloworld"}"#]);
    let token: Value = serde_json::from_str(&token).unwrap();
    let bearer = format!("Bearer {}", token["token"]["access_token"].as_str().unwrap());
    let header = format!("authorization={bearer}");
    let call = ["call", "helloworld", "Helloworld.Call", "--metadata", &header];
    for _ in 0..2 {
        let said = home.run(call).stderr;
        assert!(said.contains("another user's program (uid 65534)") && said.contains(&address), "{said}");
    }
    let (status, body) = home.http("/helloworld/Call?name=Jane");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("gets no calls") && body.contains("--nodes-from 127.0.0.1"), "{body}");
    let shown = home.ok(["get", "service", "helloworld"]);
    assert!(shown.contains("gets no calls: another user's program (uid 65534)"), "{shown}");
    // It connected once, and sent nothing.
    thief.set_nonblocking(true).unwrap();
    let (mut stream, _) = thief.accept().unwrap();
    stream.set_nonblocking(false).unwrap();
    let mut received = Vec::new();
    assert!(matches!(stream.read_to_end(&mut received), Ok(0)), "{received:?}");
    assert!(thief.accept().is_err(), "it is not tried again before it registers");

    drop((stream, thief));
    let again = ByHand::start(&home, &[("MICRO_SERVICE_ADDRESS", &address)]);
    eventually("only the one that lives to be called", || (home.run(CALL).stdout == JANE).then_some(()));
    drop(again);
}

#[test]
fn a_dead_node_is_out_at_once_and_back_when_it_registers() {
    let home = Home::new();
    home.ok(["server", "start"]);
    // One that listens at every address registers the one it can be reached at.
    for (asked, beginning) in [("", "unix:/"), ("127.0.0.1:0", "127.0.0.1:"), (":0", "127.0.0.1:")] {
        let started = ByHand::start(&home, &[("MICRO_SERVICE_ADDRESS", asked)]);
        let address = nodes(&home)[0]["address"].clone();
        assert!(address.as_str().unwrap().starts_with(beginning), "{asked}: {address}");
        assert_eq!(files(&home).len(), usize::from(asked.is_empty()));
        started.kill();
        // The first call may find the connection that breaks, the next one finds none.
        let gone = eventually("the node to be out", || {
            let (status, body) = home.http("/helloworld/Call");
            (status == 404).then_some(body)
        });
        assert!(gone.contains("route not found"), "{gone}");
        assert_eq!(files(&home), Vec::<PathBuf>::new());
    }
    drop(ByHand::start(&home, &[]));
}

#[test]
fn a_socket_that_was_removed_or_whose_server_moved_is_made_anew() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let started = ByHand::start(&home, &[]);
    let before = socket(&home);
    fs::remove_file(&before).unwrap();
    home.ok(["server", "restart"]);
    eventually("it to be called again", || (home.run(CALL).stdout == JANE).then_some(()));
    assert!(before.exists());

    // A server of another session has another runtime folder.
    home.ok(["server", "stop"]);
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mut start = home.command(["server", "start"]);
    assert_eq!(outcome(start.env("XDG_RUNTIME_DIR", &elsewhere)).code, Some(0));
    eventually("it to be called there", || (home.run(CALL).stdout == JANE).then_some(()));
    assert!(socket(&home).starts_with(&elsewhere), "{:?}", socket(&home));
    assert!(!before.exists(), "what it listened on before is removed");
    let pid = started.0.id();
    signal(pid, "TERM");
    eventually("its last socket to be removed", || files(&home).is_empty().then_some(()));
    drop(started);
    assert!(!alive(pid));
}

#[test]
fn a_home_with_a_long_name_and_any_umask_have_private_sockets() {
    let home = Home::new();
    let long = home.path().join("x".repeat(200)).join("y".repeat(200));
    for umask in ["000", "777"] {
        let (home_folder, program) = (long.join(umask), faulty::program());
        let script = format!(
            "umask {umask}; micro run . --name helloworld --command {} && micro helloworld call --name=Jane; \
             micro get service helloworld -o json; micro server stop",
            program.display()
        );
        let said = outcome(home.shell("sh", &script).env("MICRO_HOME", &home_folder));
        assert!(said.stdout.starts_with(JANE) && said.stdout.contains("unix:/"), "{umask}: {said:#?}");
        assert_eq!(said.code, Some(0), "{umask}: {said:#?}");
    }
}

/// Registers a node of `shop` there.
async fn registered(door: &Door, address: &str) -> (i64, String) {
    let reply = door.registry("Register", &shop("latest", "90", &[node("1", address)])).await;
    let (_, code, detail) = reply.failure();
    (code, detail.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_taken_only_from_whom_it_can_be_right_for() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let door = Door::open(&home).await;
    let state = home.state();
    let folder = local::nodes_folder(&state.socket);
    let mine = std::os::unix::net::UnixListener::bind(home.path().join("mine")).unwrap();
    symlink(home.path().join("mine"), folder.join("link")).unwrap();
    let unix = |path: &Path| format!("unix:{}", path.display());
    let on_all = |address: &str| format!("0.0.0.0:{}", address.rsplit_once(':').unwrap().1);
    for (address, reason) in [
        ("169.254.169.254:80".to_owned(), "link-local"),
        ("[fe80::1]:80".to_owned(), "link-local"),
        ("192.0.2.1:80".to_owned(), "--nodes-from 192.0.2.1"),
        ("example.com:80".to_owned(), "has a name"),
        (state.api.clone(), "door of the server"),
        (state.proxy.clone(), "door of the server"),
        (state.network.clone(), "door of the server"),
        (state.network.replace("127.0.0.1", "localhost"), "door of the server"),
        (on_all(&state.network), "no machine"),
        (unix(&home.path().join("mine")), "does not lie in the folder"),
        (unix(&state.socket), "does not lie in the folder"),
        (unix(&local::services_socket(&state.socket)), "does not lie in the folder"),
        (unix(&folder.join("../..").join("mine")), "does not lie in the folder"),
        (unix(&folder.join("link")), "is not a socket"),
        (unix(&folder.join("nothing")), "is not there"),
        ("unix:mine".to_owned(), "has to begin with `/`"),
        (unix(&folder.join("x".repeat(100))), "107 are possible"),
    ] {
        let (code, detail) = registered(&door, &address).await;
        assert!(matches!(code, 400 | 403) && detail.contains(reason), "{address}: {code} {detail}");
        assert!(detail.contains("node `1` of service shop"), "{detail}");
    }
    let many = shop("latest", "90", &[node("1", "127.0.0.1:1"), node("2", "169.254.169.254:80")]);
    assert_eq!(door.registry("Register", &many).await.failure().1, 403, "one of several is enough");
    assert_eq!(door.registry("GetService", &json!({"service": "shop"})).await.failure().1, 404);
    drop(mine);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_another_user_is_a_node_where_the_server_was_told_so() {
    let home = Home::new();
    let (sender, receiver) = mpsc::channel();
    // It accepts connections as the other user, in a thread that inherits from this one.
    let started = as_another_user(|| {
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(Node::on(listener, "foreign")).unwrap();
                std::future::pending::<()>().await;
            });
        });
    });
    if started.is_none() {
        return;
    }
    let foreign = receiver.recv().unwrap();

    // A network that reaches beyond this machine is told of other machines.
    home.ok(["server", "start", "--nodes-from", "0.0.0.0/0"]);
    let door = Door::open(&home).await;
    door.register(&shop("latest", "90", &[foreign.wire("1")])).await;
    let refused = door.call("/shop.Shop/Buy", "").await;
    assert_eq!((refused.failure().0, refused.failure().1), (14, 503), "{refused:?}");
    assert!(refused.failure().2.contains("uid 65534"), "{refused:?}");
    assert_eq!(foreign.calls(), 0);

    home.ok(["server", "stop"]);
    home.ok(["server", "start", "--nodes-from", "127.0.0.1"]);
    home.ok(["server", "restart"]);
    let door = Door::open(&home).await;
    door.register(&shop("latest", "90", &[foreign.wire("1")])).await;
    assert_eq!(door.call("/shop.Shop/Buy", "").await.value()["node"], "foreign");
}
