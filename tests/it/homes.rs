//! The home is its owner's alone: what others could change or read is closed to them, and what they own
//! is refused.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io::ErrorKind,
    net::TcpListener,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, chown},
    },
    path::Path,
};

use micro_sdk::local;
use serde_json::Value;

use crate::support::{Home, outcome};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_home_that_is_open_to_others_is_closed_with_a_word() {
    let home = Home::new();
    home.ok(["server", "start"]);
    home.ok(["server", "stop"]);
    let (data, above) = (home.data(), home.data().parent().unwrap().to_owned());
    let (server, keys) = (data.join("server"), data.join("server/keys"));
    let key = keys.join("signing-key.der");
    for folder in [&above, &data, &server, &keys] {
        fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(&key, Permissions::from_mode(0o666)).unwrap();
    let said = home.run(["server", "start"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    for path in [&above, &data, &server, &keys, &key] {
        let words = format!("other users could write to `{}`", path.display());
        assert!(said.stderr.contains(&words), "{words}: {said:#?}");
    }
    assert_eq!((mode(&above), mode(&key)), (0o755, 0o600));
    for folder in [&data, &server, &keys] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    let said = home.run(["status"]);
    assert!(said.code == Some(0) && !said.stderr.contains("other users"), "{said:#?}");
}

#[test]
fn what_another_user_owns_in_a_home_is_refused() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let state = local::file(&home.data());
    // Only root can give something away.
    if chown(&state, Some(65534), None).is_err() {
        return;
    }
    let said = home.fails(1, ["login", "--username", "jane", "--password", "secret"]);
    assert!(said.contains("another user (uid 65534)") && said.contains("MICRO_HOME"), "{said}");
    chown(&state, Some(0), None).unwrap();
    home.ok(["status"]);
}

#[test]
fn a_password_goes_by_the_socket_whatever_the_state_says_of_ports() {
    let home = Home::new();
    home.ok(["server", "start"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = local::file(&home.data());
    let kept = fs::read(&file).unwrap();
    let mut state: Value = serde_json::from_slice(&kept).unwrap();
    for door in ["api", "proxy", "network"] {
        state[door] = listener.local_addr().unwrap().to_string().into();
    }
    fs::write(&file, state.to_string()).unwrap();
    home.ok(["login", "--username", "admin", "--password", "micro"]);
    assert_eq!(home.ok(["user"]), "admin\n");
    home.ok(["logout"]);
    home.fails(4, ["auth", "list", "accounts"]);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody came");
    fs::write(&file, kept).unwrap();
}

#[test]
fn a_home_whose_path_is_not_utf8_is_refused_with_what_to_do() {
    let home = Home::new();
    let odd = home.path().join(OsStr::from_bytes(b"caf\xe9"));
    for words in [&["server", "start"][..], &["services"], &["new", "x"]] {
        let said = outcome(home.command(words).env("MICRO_HOME", &odd));
        let told = said.stderr.contains(r"caf\xe9") && said.stderr.contains("set MICRO_HOME");
        assert!(said.code == Some(1) && told, "{words:?}: {said:#?}");
    }
    assert!(!odd.exists());
}
