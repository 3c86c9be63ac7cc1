//! `micro quickstart`: the first five minutes, wherever they are spent, and as often as one likes.

use std::{fs, path::Path};

use crate::support::Home;

/// Runs it, and looks whether all of its steps were shown and have worked.
fn quickstart(home: &Home, folder: &Path, arguments: &[&str]) -> String {
    let said = home.ok_in(folder, ["quickstart"].iter().chain(arguments));
    let curl = format!("$ curl \"http://{}/helloworld/Call?name=John\"", home.state().api);
    for part in [
        "$ micro server start",
        "$ micro run .",
        "$ micro status",
        "running",
        "$ micro helloworld call --name=Jane",
        "\t\"msg\": \"Hello Jane\"\n",
        &*curl,
        "{\"msg\":\"Hello John\"}",
        "micro kill helloworld",
        "micro server stop",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    said
}

#[test]
fn quickstart_works_inside_a_workspace_again_and_again_and_elsewhere() {
    let home = Home::new();
    let workspace = home.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    let manifest = "[workspace]\nmembers = []\nresolver = \"3\"\n";
    fs::write(workspace.join("Cargo.toml"), manifest).unwrap();

    let first = quickstart(&home, &workspace, &[]);
    let folder = home.data().join("quickstart/helloworld");
    assert!(first.contains("$ micro new helloworld"), "{first}");
    assert!(first.contains(&format!("$ cd {}", folder.display())), "{first}");
    assert!(folder.join("src/handler.rs").is_file());
    assert_eq!(fs::read_to_string(workspace.join("Cargo.toml")).unwrap(), manifest);
    assert_eq!(fs::read_dir(&workspace).unwrap().count(), 1, "the workspace was changed");

    // What is there is kept, and the server that runs is used.
    let server = home.state().pid;
    let second = quickstart(&home, &workspace, &[]);
    assert!(second.contains("The service is there already") && !second.contains("$ micro new"), "{second}");
    let third = quickstart(&home, home.path(), &["--folder", "tour"]);
    assert!(third.contains("$ micro new helloworld"), "{third}");
    assert!(home.path().join("tour/helloworld/src/handler.rs").is_file());
    assert_eq!(home.state().pid, server);
    let status = home.ok(["status", "helloworld"]);
    assert!(status.contains("tour/helloworld"), "{status}");
}
