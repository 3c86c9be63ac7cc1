//! A client in Python, with grpcio and stubs compiled from the .proto files.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Home, helloworld, not_run, outcome};

/// The Python with grpcio; the reason when there is none and none can be made.
fn python() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Beside the temporary folder of the tests, which lies in the target folder.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let made = outcome(Command::new(root.join("scripts/python-clients")).env("CARGO_TARGET_DIR", target));
    if made.code == Some(0) { Ok(target.join("python-clients/bin/python")) } else { Err(made.stderr) }
}

#[test]
fn a_client_of_grpcio_calls_services_and_blocks_in_every_direction() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            return not_run(&format!("scripts/python-clients failed: {reason}"));
        }
    };
    let home = Home::new();
    home.run_helloworld();
    let stubs = home.path().join("stubs");
    std::fs::create_dir(&stubs).unwrap();
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/micro");
    let own = helloworld().join("proto");
    let compiled = outcome(
        Command::new(&python)
            .args(["-m", "grpc_tools.protoc", "-I"])
            .arg(&contracts)
            .arg("-I")
            .arg(&own)
            .arg(format!("--python_out={}", stubs.display()))
            .arg(format!("--grpc_python_out={}", stubs.display()))
            .args([contracts.join("auth.proto"), contracts.join("registry.proto")])
            .arg(own.join("helloworld.proto")),
    );
    assert_eq!(compiled.code, Some(0), "{compiled:#?}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python/client.py");
    let run = outcome(Command::new(&python).arg(script).arg(&stubs).arg(home.state().proxy));
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(
        run.stdout,
        "unary Hello Jane\n\
         stream 0 1 2\n\
         open-stream 0 1 2\n\
         ping-pong 0 1 2\n\
         anonymous UNAUTHENTICATED\n\
         services auth broker config events helloworld network registry runtime store\n"
    );
}
