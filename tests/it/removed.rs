//! What a running server owns and somebody removes, or puts something else in the place of: it is there
//! again, or the server says that it is lost, and commands tell the truth all the while.

use std::{
    fs,
    path::{Path, PathBuf},
};

use micro_sdk::local;
use serde_json::Value;

use crate::{
    processes::{Foreground, alive, of_home},
    support::{Home, eventually, hello, outcome},
};

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
}

/// What `micro server status` says, of a server that runs.
fn status(home: &Home) -> Value {
    let text = home.ok(["server", "status", "-o", "json"]);
    serde_json::from_str::<Value>(&text).unwrap()[0].take()
}

#[test]
fn what_tells_of_a_server_is_made_again_while_commands_find_it() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let (pid, socket) = (home.state().pid, home.state().socket);
    home.ok(["config", "set", "a", "b", "--secret"]);
    home.ok(["auth", "rotate", "key"]);
    let server = home.data().join("server");
    let keys: Vec<PathBuf> =
        fs::read_dir(server.join("keys")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    let runs = format!("the micro server runs already (pid {pid})\n");
    for (removed, again) in [
        (vec![socket.clone()], vec![socket.clone()]),
        (vec![local::services_socket(&socket)], vec![local::services_socket(&socket)]),
        (vec![local::nodes_folder(&socket)], vec![local::nodes_folder(&socket)]),
        (vec![server.join("lock"), server.join("micro.db-lock"), socket.clone()], vec![server.join("lock")]),
        (vec![local::file(&home.data()), server.join("lock")], vec![local::file(&home.data())]),
        (vec![server.join("keys")], keys.clone()),
        (vec![socket.parent().unwrap().to_owned()], vec![socket.clone()]),
    ] {
        for path in &removed {
            remove(path);
        }
        assert!(home.fails(1, ["server"]).contains("runs already"), "{removed:?}");
        let started = home.run(["server", "start"]);
        assert_eq!(started.code, Some(0), "{removed:?}: {started:#?}");
        assert!(started.stderr.starts_with(&runs), "{removed:?}: {started:#?}");
        assert_eq!(status(&home)["pid"], pid);
        for path in again.iter().chain(&removed) {
            eventually(&format!("{} to be there again", path.display()), || path.exists().then_some(()));
        }
    }
    eventually("one server to be there", || (of_home(&home) == [pid]).then_some(()));
    assert_eq!(home.ok(["config", "get", "a", "-s"]), "b\n");
    home.ok(["server", "restart"]);
    assert!(!alive(pid));
    assert_eq!(home.ok(["config", "get", "a", "-s"]), "b\n");
    for path in [&server.join("lock"), &socket, &local::file(&home.data())] {
        remove(path);
    }
    home.ok(["server", "stop"]);
    assert!(of_home(&home).is_empty(), "the server is left");
}

#[test]
fn what_is_written_after_logs_and_folders_were_removed_has_a_place() {
    let home = Home::new();
    home.run_helloworld();
    let (logs, server) = (home.data().join("logs"), home.data().join("server"));
    let folders = [logs.clone(), server.join("children"), home.data().join("binaries")];
    for folder in &folders {
        remove(folder);
    }
    remove(&home.path().join("home/cache"));
    for folder in &folders {
        eventually("a folder to be there again", || folder.is_dir().then_some(()));
    }
    eventually("the log of the service to go on", || {
        home.ok(["helloworld", "call"]);
        let said = home.run(["logs", "helloworld"]);
        said.stdout.contains("received").then_some(())
    });
    eventually("the log of the server to go on", || {
        let said = home.run(["server", "logs"]);
        said.stdout.contains("made again").then_some(())
    });
    let program = crate::support::helloworld().join("target/debug/helloworld");
    home.ok(["run", ".", "--name", "second", "--command", program.to_str().unwrap()]);
    home.ok(["kill", "second", "helloworld"]);
}

#[test]
fn a_server_whose_home_was_deleted_makes_nothing_anew_and_can_be_stopped() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let pid = home.state().pid;
    // The server may just be making one of its files again.
    eventually("the folder to be gone", || fs::remove_dir_all(home.data()).ok());
    assert_eq!(status(&home)["pid"], pid);
    eventually("the status to tell it", || {
        home.run(["server", "status"]).stderr.contains("micro server restart").then_some(())
    });
    home.ok(["server", "stop"]);
    assert!(!alive(pid), "the server is left");
    assert!(!home.data().join("server").exists(), "something was made again");
}

#[test]
fn a_service_whose_socket_went_with_the_folder_is_called_again() {
    let home = Home::new();
    home.run_helloworld();
    let before = home.status("helloworld")["metadata"]["pid"].clone();
    remove(home.state().socket.parent().unwrap());
    eventually("helloworld to answer again", || {
        let answer = home.run(["helloworld", "call", "--name=Jane"]);
        (answer.stdout == hello("Jane")).then_some(())
    });
    assert_eq!(home.status("helloworld")["metadata"]["pid"], before, "it was started anew");
}

#[test]
fn what_took_the_place_of_the_socket_is_left_alone_and_the_server_found_elsewhere() {
    let home = Home::new();
    let server = Foreground::start(&home, &[]);
    let socket = home.state().socket;
    remove(&socket);
    fs::write(&socket, "mine").unwrap();
    server.says("the local socket is not in its usual place");
    let found = status(&home);
    assert_eq!(found["pid"], server.pid());
    assert!(Path::new(found["socket"].as_str().unwrap()).starts_with(home.data()), "{found}");
    home.ok(["services"]);

    // What the services know by its path is tried again until it has its place.
    let services = local::services_socket(&socket);
    remove(&services);
    fs::create_dir(&services).unwrap();
    server.says("the socket for services is gone");
    let told = home.run(["server", "status"]);
    assert!(told.stderr.contains("the socket for services is gone"), "{told:#?}");
    fs::remove_dir(&services).unwrap();
    server.says("everything is in its place again");
    let told = home.run(["server", "status"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    home.ok(["server", "stop"]);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "mine");
    assert_eq!(server.wait().code, Some(0));
}

/// Changes something in the folder of the database beside a server, and proves that nothing is
/// acknowledged from then on.
fn lost(change: impl Fn(&Path), found: &str, next_start: &str) {
    let home = Home::new();
    home.ok(["server", "start"]);
    home.ok(["store", "write", "kept", "value"]);
    let database = home.data().join("server/micro.db");
    let pid = home.state().pid;
    change(&database);
    let said = home.fails(7, ["store", "write", "k", "v"]);
    let words = format!("{found} while the server uses it");
    assert!(said.contains(&words) && said.contains("micro server restart"), "{said}");
    let said = home.fails(7, ["store", "read", "kept"]);
    assert!(said.contains(&words), "{said}");
    home.fails(7, ["store", "snapshot", "-"]);
    let told = eventually("the status to tell it", || {
        let told = home.run(["server", "status"]);
        assert_eq!(told.code, Some(0), "{told:#?}");
        (!told.stderr.is_empty()).then_some(told)
    });
    assert!(told.stderr.contains(&words), "{told:#?}");
    assert!(status(&home)["troubles"][0].as_str().unwrap().contains(&words));
    home.ok(["server", "stop"]);
    assert!(!alive(pid));
    let next = outcome(&mut home.command(["store", "read", "kept"]));
    if next_start.is_empty() {
        assert_eq!((next.code, next.stdout.as_str()), (Some(0), "value\n"), "{next:#?}");
    } else {
        assert!(next.code == Some(1) && next.stderr.contains(next_start), "{next:#?}");
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", database.display()))
}

#[test]
fn a_database_that_is_deleted_takes_no_writes() {
    let all = |database: &Path| {
        for suffix in ["", "-wal", "-shm"] {
            remove(&beside(database, suffix));
        }
    };
    lost(all, "deleted or moved", "is gone, but a server has used it");
}

#[test]
fn a_database_without_its_log_takes_no_writes() {
    // A connection that opens a moment too late makes them anew.
    lost(|database| remove(&beside(database, "-wal")), "", "");
    lost(|database| remove(&beside(database, "-shm")), "", "");
}

#[test]
fn a_database_that_is_replaced_takes_no_writes_and_the_new_one_is_left_alone() {
    // What was there is whole in these files, as a backup would be.
    let replace = |database: &Path| {
        for suffix in ["", "-wal"] {
            let (file, copy) = (beside(database, suffix), beside(database, ".copy"));
            fs::copy(&file, &copy).unwrap();
            fs::rename(&copy, &file).unwrap();
        }
    };
    lost(replace, "replaced", "");
}

#[test]
fn blobs_are_written_again_where_their_folder_is_gone() {
    let home = Home::new();
    let file = home.path().join("file");
    fs::write(&file, "content").unwrap();
    let file = file.to_str().unwrap();
    home.ok(["store", "blob", "write", "a", file]);
    remove(&home.data().join("server/blobs"));
    let said = home.fails(7, ["store", "blob", "read", "a"]);
    assert!(said.contains("damaged"), "{said}");
    home.ok(["store", "blob", "write", "b", file]);
    assert_eq!(home.ok(["store", "blob", "read", "b"]), "content");
    home.ok(["server", "restart"]);
    assert_eq!(home.ok(["store", "blob", "read", "b"]), "content");
}
