//! What lies in the way of a server: leftovers, foreign files and processes, taken ports, damaged
//! state. It starts all the same, or says what is wrong and what to do, and harms nothing.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use micro_sdk::local;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::{
    processes::{alive, signal},
    support::{Home, outcome},
};

/// A home in which a server ran, and where its socket was.
fn used_home() -> (Home, PathBuf) {
    let home = Home::new();
    home.ok(["server", "start"]);
    let socket = home.state().socket;
    home.ok(["server", "stop"]);
    (home, socket)
}

/// A start in the background and one in the foreground fail with code 1 and the same reason, and
/// leave nothing behind.
fn assert_no_start(home: &Home, reasons: &[&str]) {
    for words in [&["server"][..], &["server", "start"], &["services"]] {
        let said = home.fails(1, words);
        for reason in reasons {
            assert!(said.contains(reason), "`{reason}` is not said by {words:?}: {said}");
        }
    }
    assert!(!local::file(&home.data()).exists(), "state.json is left");
}

fn write_state(home: &Home, pid: u32, socket: &Path) {
    let state = json!({
        "pid": pid, "version": "0.0.1", "socket": socket,
        "api": "127.0.0.1:1", "proxy": "127.0.0.1:1", "network": "127.0.0.1:1",
    });
    fs::write(local::file(&home.data()), state.to_string()).unwrap();
}

#[test]
fn a_stale_state_never_ends_a_foreign_process() {
    let (home, socket) = used_home();
    let mut foreign = Command::new("sleep").arg("1000").spawn().unwrap();
    write_state(&home, foreign.id(), &socket);
    let stopped = home.run(["server", "stop"]);
    assert_eq!((stopped.code, stopped.stderr.as_str()), (Some(0), "no micro server runs\n"));
    home.fails(3, ["server", "status"]);
    home.ok(["services"]);
    assert_ne!(home.state().pid, foreign.id());

    // Not even when it stands in the state while a server runs.
    let server = home.state().pid;
    write_state(&home, foreign.id(), &socket);
    home.ok(["server", "stop"]);
    assert!(!alive(server), "the server is left");
    assert!(alive(foreign.id()), "a foreign process was ended");
    foreign.kill().unwrap();
    foreign.wait().unwrap();
}

#[test]
fn a_foreign_process_at_the_socket_is_neither_asked_nor_ended() {
    let (home, socket) = used_home();
    let _foreign = UnixListener::bind(&socket).unwrap();
    // The listener is this very process: a signal to whoever has the socket open would end the test.
    let stopped = home.run(["--timeout", "1s", "server", "stop"]);
    assert_eq!((stopped.code, stopped.stderr.as_str()), (Some(0), "no micro server runs\n"));
    home.fails(3, ["--timeout", "1s", "server", "status"]);
    home.ok(["services"]);
    assert_ne!(home.state().pid, std::process::id());
}

#[test]
fn a_start_that_another_command_never_ends_is_not_waited_for_without_end() {
    let (home, _) = used_home();
    let path = home.data().join("server/start.lock");
    let lock = fs::File::options().write(true).open(&path).unwrap();
    lock.lock().unwrap();
    let said = home.fails(6, ["--timeout", "500ms", "services"]);
    assert!(said.contains("start.lock"), "{said}");
    drop(lock);
    home.ok(["services"]);
}

#[test]
fn leftovers_of_a_killed_server_stop_no_start() {
    let (home, socket) = used_home();
    let server = home.data().join("server");
    write_state(&home, 999_999_999, &socket);
    fs::write(server.join("lock"), "999999999999 garbage").unwrap();
    fs::write(server.join("start.lock"), "garbage").unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    home.ok(["services"]);
    home.ok(["server", "stop"]);

    fs::write(local::file(&home.data()), "{ this is not JSON").unwrap();
    home.fails(3, ["server", "status"]);
    home.ok(["services"]);
}

#[test]
fn what_is_in_the_place_of_the_socket_is_left_alone() {
    let (home, socket) = used_home();
    let target = home.path().join("target");
    let starts_elsewhere = || {
        let started = home.run(["server", "start"]);
        assert_eq!(started.code, Some(0), "{started:#?}");
        let elsewhere = home.state().socket;
        assert!(elsewhere.starts_with(home.data()), "{elsewhere:?}");
        let words = format!("not the usual `{}`", socket.display());
        assert!(started.stderr.contains(&words), "{started:#?}");
        assert!(home.ok(["server", "logs"]).contains("is in the place of the local socket"));
        home.ok(["services"]);
        home.ok(["server", "stop"]);
    };

    fs::write(&socket, "mine").unwrap();
    starts_elsewhere();
    assert_eq!(fs::read(&socket).unwrap(), b"mine");
    fs::remove_file(&socket).unwrap();

    fs::write(&target, "mine").unwrap();
    symlink(&target, &socket).unwrap();
    starts_elsewhere();
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    fs::remove_file(&socket).unwrap();

    fs::create_dir(&socket).unwrap();
    starts_elsewhere();
    fs::remove_dir(&socket).unwrap();

    mknodat(CWD, &socket, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    starts_elsewhere();
    fs::remove_file(&socket).unwrap();
    home.ok(["services"]);
    assert_eq!(home.state().socket, socket);
}

#[test]
fn a_runtime_folder_that_others_may_enter_is_refused_with_the_remedy() {
    let (home, socket) = used_home();
    let folder = socket.parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert_no_start(&home, &[&format!("chmod 700 '{}'", folder.display())]);
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    home.ok(["services"]);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_owner_and_no_door_opens() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for door in ["API", "PROXY", "NETWORK"] {
        for words in [&["server"][..], &["server", "start"], &["services"]] {
            let mut command = home.command(words);
            command.env_remove("MICRO_ISOLATED");
            for other in ["API", "PROXY", "NETWORK"] {
                let address = if other == door { &taken } else { "127.0.0.1:0" };
                command.env(format!("MICRO_{other}_ADDRESS"), address);
            }
            let refused = outcome(&mut command);
            assert_eq!(refused.code, Some(1), "{refused:#?}");
            assert!(refused.stderr.contains(&format!("cannot listen on {taken}")), "{refused:#?}");
            if cfg!(target_os = "linux") {
                let owner = format!("(pid {}) uses the port", std::process::id());
                assert!(refused.stderr.contains(&owner), "{refused:#?}");
            }
            assert!(!local::file(&home.data()).exists());
        }
    }
    home.ok(["services"]);
}

#[test]
fn addresses_are_taken_from_variables_and_flags() {
    let home = Home::new();
    // Free ports: they were free a moment ago, and a port below is tried until it still is.
    crate::support::eventually("two free ports", || {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (api, proxy) = (port(), port());
        let mut command = home.command(["server", "start", "--proxy-address", &proxy]);
        command.env_remove("MICRO_ISOLATED").env("MICRO_API_ADDRESS", &api);
        command.env("MICRO_PROXY_ADDRESS", "127.0.0.1:1").env("MICRO_NETWORK_ADDRESS", "127.0.0.1:0");
        let started = outcome(&mut command);
        let state = (started.code == Some(0)).then(|| home.state())?;
        assert_eq!((state.api, state.proxy), (api, proxy));
        assert_ne!(state.network, "127.0.0.1:0");
        Some(())
    });
}

#[test]
fn an_address_that_other_machines_reach_needs_consent() {
    let home = Home::new();
    for (flag, address) in
        [("--api-address", ":0"), ("--proxy-address", "0.0.0.0:0"), ("--network-address", "[::]:0")]
    {
        let mut command = home.command(["server", flag, address]);
        let refused = outcome(command.env_remove("MICRO_ISOLATED"));
        assert_eq!(refused.code, Some(1), "{refused:#?}");
        assert!(refused.stderr.contains("--insecure"), "{refused:#?}");
    }
    let mut command = home.command(["server", "--api-address", "nowhere"]);
    let refused = outcome(command.env_remove("MICRO_ISOLATED"));
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("`nowhere` is no address"), "{refused:#?}");

    let mut command = home.command([
        "server",
        "start",
        "--insecure",
        "--api-address",
        ":0",
        "--proxy-address",
        "127.0.0.1:0",
        "--network-address",
        "127.0.0.1:0",
    ]);
    let started = outcome(command.env_remove("MICRO_ISOLATED"));
    assert_eq!(started.code, Some(0), "{started:#?}");
    assert!(home.state().api.starts_with("0.0.0.0:"));
}

#[test]
fn a_home_that_cannot_be_written_is_named() {
    let home = Home::new();
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.as_path(), Path::new("/proc/micro")] {
        if place.starts_with("/proc") && !cfg!(target_os = "linux") {
            continue;
        }
        for words in [&["services"][..], &["server"], &["env", "add", "a"], &["login", "--local"]] {
            let mut command = home.command(words);
            let refused = outcome(command.env("MICRO_HOME", place));
            assert_eq!(refused.code, Some(1), "{words:?}: {refused:#?}");
            let named = refused.stderr.contains(&format!("`{}", place.display()));
            assert!(named && refused.stdout.is_empty(), "{words:?}: {refused:#?}");
        }
    }
}

#[test]
fn without_a_home_in_the_environment_the_system_names_the_folders() {
    let home = Home::new();
    let mut command = home.command(["env", "get"]);
    command.env_remove("HOME").env_remove("MICRO_HOME");
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
        command.env(name, home.path());
    }
    let found = outcome(&mut command);
    // A user that the system does not know has no home at all.
    if found.code == Some(0) {
        assert_eq!(found.stdout, "local\n");
    } else {
        assert_eq!(found.code, Some(1), "{found:#?}");
        assert!(found.stderr.contains("set HOME, or MICRO_HOME"), "{found:#?}");
    }
}

#[test]
fn a_damaged_config_file_or_login_is_named_with_the_way_out() {
    let home = Home::new();
    let config = home.path().join("home/config");
    fs::create_dir_all(&config).unwrap();
    for (file, words) in [
        ("config.toml", &["services"][..]),
        ("config.toml", &["env"]),
        ("config.toml", &["env", "add", "a"]),
        ("credentials.toml", &["services"]),
        ("credentials.toml", &["login", "--local"]),
    ] {
        let path = config.join(file);
        fs::write(&path, "environment = \"").unwrap();
        let said = home.fails(1, words);
        let shown = path.display();
        assert!(said.contains(&format!("`{shown}` is damaged")), "{words:?}: {said}");
        assert!(said.contains(&format!("mv '{shown}' '{shown}.damaged'")), "{words:?}: {said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "environment = \"", "{words:?}");
        fs::remove_file(&path).unwrap();
    }
    home.ok(["services"]);
}

#[test]
fn a_damaged_signing_key_is_named_with_the_way_out_and_kept() {
    let (home, _) = used_home();
    let key = home.data().join("server/keys/signing-key.der");
    fs::write(&key, "garbage").unwrap();
    let shown = key.display();
    assert_no_start(&home, &["is damaged", &format!("mv '{shown}' '{shown}.damaged'")]);
    assert_eq!(fs::read(&key).unwrap(), b"garbage");
    fs::rename(&key, home.path().join("key.damaged")).unwrap();
    home.ok(["services"]);
}

#[test]
fn a_damaged_database_is_named_with_the_way_out_and_kept() {
    let (home, _) = used_home();
    let database = home.data().join("server/micro.db");
    let garbage = "garbage ".repeat(1000);
    fs::write(&database, &garbage).unwrap();
    assert_no_start(
        &home,
        &[&format!("`{}`", database.display()), "restore it from a backup", "to start empty"],
    );
    assert_eq!(fs::read_to_string(&database).unwrap(), garbage);
}

#[test]
fn a_database_that_lost_all_it_had_is_not_taken_for_a_new_one() {
    let (home, _) = used_home();
    let database = home.data().join("server/micro.db");
    fs::write(&database, "").unwrap();
    let keys = home.data().join("server/keys");
    let way_out = format!("mv '{0}' '{0}.old'", keys.display());
    assert_no_start(&home, &[&format!("`{}` is empty", database.display()), "backup", &way_out]);
    fs::remove_file(&database).unwrap();
    assert_no_start(&home, &[&format!("`{}` is gone", database.display()), "backup", &way_out]);
    fs::rename(&keys, keys.with_extension("old")).unwrap();
    home.ok(["server", "start"]);
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_not_touched() {
    let (home, _) = used_home();
    let database = home.data().join("server/micro.db");
    // The user version is a big-endian number at offset 60 of the file (sqlite.org/fileformat2).
    let mut bytes = fs::read(&database).unwrap();
    bytes[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    fs::write(&database, &bytes).unwrap();
    assert_no_start(&home, &[&format!("`{}`", database.display()), "newer micro", "upgrade micro"]);
    assert_eq!(fs::read(&database).unwrap(), bytes);
}

/// What lies below a folder, and the modes; what cargo makes in a target folder is beside the point.
fn walk(folder: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        found.push((entry.path(), metadata.permissions().mode() & 0o777));
        let target = folder.ends_with("cache/targets");
        if metadata.is_dir() && !target {
            walk(&entry.path(), found);
        }
    }
}

#[test]
fn nothing_of_a_home_is_open_to_others_whatever_the_mask() {
    for mask in ["000", "077"] {
        let home = Home::new();
        let masked = |words: &[&str]| {
            let mut command = home.shell("sh", &format!("umask {mask}; exec micro \"$@\""));
            let outcome = outcome(command.arg("micro").args(words));
            assert_eq!(outcome.code, Some(0), "{words:?}: {outcome:#?}");
            outcome.stdout
        };
        crate::support::project(&home, "built", "fn main() { std::thread::park() }\n");
        fs::write(home.path().join("file"), "content").unwrap();
        for words in [
            &["new", "fresh"][..],
            &["env", "add", "other", "127.0.0.1:1"],
            &["store", "write", "a", "b"],
            &["store", "blob", "write", "c", "file"],
            &["config", "set", "d.e", "f", "--secret"],
            &["user", "config", "set", "namespace", "micro"],
            &["store", "snapshot", "snapshot"],
            &["store", "restore", "snapshot", "-y"],
            &["auth", "rotate", "key"],
            &["services"],
            &["login", "--username", "admin", "--password", "micro"],
            &["call", "store", "Store.Databases", "{}"],
            &["login", "--local"],
        ] {
            masked(words);
        }
        // It never registers; what is asked is what its build leaves.
        let mut running = home.shell("sh", &format!("umask {mask}; exec micro run built"));
        let mut running = running.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let binaries = home.data().join("binaries");
        crate::support::eventually("the program to be built", || {
            fs::read_dir(&binaries).ok()?.flatten().find(|file| file.file_name().len() == 64)
        });
        running.kill().unwrap();
        running.wait().unwrap();
        let mut found = Vec::new();
        walk(&home.path().join("home"), &mut found);
        for part in
            ["sdk", "micro.db", "keys", "blobs", "server.log", "credentials.toml", "targets", "start.lock"]
        {
            assert!(found.iter().any(|(path, _)| path.ends_with(part)), "no {part} in {found:#?}");
        }
        let socket = home.state().socket;
        found.push((socket.parent().unwrap().to_owned(), 0o700));
        for (path, mode) in found {
            let program = path.parent() == Some(&binaries);
            let expected: &[u32] = if path.is_dir() || program { &[0o700] } else { &[0o600] };
            assert!(expected.contains(&mode), "{} has {mode:o} with the mask {mask}", path.display());
        }
    }
}

#[test]
fn a_daemon_keeps_no_terminal_and_no_folder_of_its_caller() {
    let home = Home::new();
    let folder = home.path().join("elsewhere");
    fs::create_dir(&folder).unwrap();
    home.ok_in(&folder, ["server", "start"]);
    fs::remove_dir(&folder).unwrap();
    let pid = home.state().pid;
    signal(pid, "0");
    let session = Command::new("ps").args(["-o", "sess=,tty=", "-p", &pid.to_string()]).output().unwrap();
    let text = String::from_utf8(session.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words[1], "?", "it has a terminal: {text}");
    if cfg!(target_os = "linux") {
        assert_eq!(words[0], pid.to_string(), "it leads no session of its own: {text}");
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    }
    let status: Value = serde_json::from_str(&home.ok(["server", "status", "-o", "json"])).unwrap();
    assert_eq!(status[0]["pid"], pid);
}
