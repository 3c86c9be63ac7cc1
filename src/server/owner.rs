//! Which program uses a port, for the error that says it is taken. Only Linux tells.

use std::fs;

/// The program and process that listen on this TCP port, such as "`nginx` (pid 42)".
pub(super) fn of_port(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| listener_inode(table, port))?;
    let socket = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        let holds = |path| fs::read_link(path).is_ok_and(|target| target.as_os_str() == socket.as_str());
        if descriptors.flatten().any(|descriptor| holds(descriptor.path())) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("`{}` (pid {pid})", name.trim()));
        }
    }
    Some("another user's program".to_owned())
}

/// The inode of the socket that listens on a port, from a table of the kernel (proc(5)).
fn listener_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let text = fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = columns.get(1)?.rsplit_once(':')?;
        let matches = u16::from_str_radix(local, 16).ok()? == port && columns.get(3) == Some(&LISTEN);
        matches.then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    })
}
