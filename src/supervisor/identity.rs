//! Which process a process id means: ids are reused, so an id alone is never enough to kill by.
//!
//! A process is known by its id, the time it started and the boot it belongs to.

/// What can be told about a process from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its parent's id.
    pub(super) parent: u32,
    /// The number of its process group.
    pub(super) group: i32,
    /// When it started, in the system's own words; the same process always says the same.
    pub(super) started: String,
}

#[cfg(target_os = "linux")]
mod system {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::Process;

    /// The running boot of this machine.
    pub(in super::super) fn boot() -> Option<String> {
        Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
    }

    /// The process with this id, unless it is dead already (a zombie counts as dead).
    pub(in super::super) fn process(pid: u32) -> Option<Process> {
        parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// All processes of this user.
    pub(in super::super) fn own_processes() -> Vec<u32> {
        let user = rustix::process::geteuid().as_raw();
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                (entry.metadata().ok()?.uid() == user).then_some(pid)
            })
            .collect()
    }

    /// The value of a variable the process was started with.
    pub(in super::super) fn variable(pid: u32, name: &str) -> Option<String> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        environment.split(|byte| *byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    }

    /// Reads `/proc/<pid>/stat`; the name in parentheses may hold anything, also `)`.
    fn parse(stat: &str) -> Option<Process> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        Some(Process {
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            started: (*fields.get(19)?).to_owned(),
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_with_parentheses_does_not_shift_the_fields() {
            let stat = "42 (a) b) c) S 7 40 40 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
            let read = parse(stat).expect("a process");
            assert_eq!(read, Process { parent: 7, group: 40, started: "12345".to_owned() });
        }

        #[test]
        fn a_zombie_is_no_process() {
            assert_eq!(parse("42 (a) Z 7 40 40 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0"), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::process::{Command, Stdio};

    use super::Process;

    /// The running boot of this machine.
    pub(in super::super) fn boot() -> Option<String> {
        said("sysctl", &["-n", "kern.boottime"])
    }

    /// The process with this id, unless it is dead already.
    pub(in super::super) fn process(pid: u32) -> Option<Process> {
        let line = said("ps", &["-o", "ppid=,pgid=,stat=,lstart=", "-p", &pid.to_string()])?;
        let mut fields = line.split_whitespace();
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        if fields.next()?.starts_with('Z') {
            return None;
        }
        Some(Process { parent, group, started: fields.collect::<Vec<_>>().join(" ") })
    }

    /// All processes of this user.
    pub(in super::super) fn own_processes() -> Vec<u32> {
        let user = rustix::process::geteuid().as_raw().to_string();
        let listed = said("ps", &["-U", &user, "-o", "pid="]).unwrap_or_default();
        listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The environment of another process cannot be read here.
    pub(in super::super) fn variable(_pid: u32, _name: &str) -> Option<String> {
        None
    }

    fn said(program: &str, arguments: &[&str]) -> Option<String> {
        let output =
            Command::new(program).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

pub(super) use system::{boot, own_processes, process, variable};
