//! What a child that ended, or a server that was killed, left running, and how it is stopped.
//!
//! Each child has a small record as long as anything of it is there. A process is stopped only when it is proven
//! to be of a recorded child: it still carries the child's unique `MICRO_INSTANCE`, or it is in a
//! process group that is proven to be the child's. A reused process id proves nothing.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::identity;
use crate::private;

/// The variable that marks a child and its descendants; its value is unique to one start.
pub(crate) const INSTANCE_VARIABLE: &str = "MICRO_INSTANCE";

/// How long killed leftovers may take to vanish.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two looks at processes that were killed.
const PAUSE: Duration = Duration::from_millis(5);

/// The folder of the records.
#[derive(Clone, Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

/// What is known of a child.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    instance: String,
    boot: Option<String>,
    /// The leader of its process group; none until it was started.
    leader: Option<Leader>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Leader {
    pid: u32,
    started: String,
}

impl Records {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Notes a child that is about to be started.
    pub(super) fn announce(&self, instance: &str) -> io::Result<()> {
        self.write(&Record { instance: instance.to_owned(), boot: identity::boot(), leader: None })
    }

    /// Notes the process that the child became.
    pub(super) fn started(&self, instance: &str, pid: u32) -> io::Result<()> {
        let leader = identity::process(pid).map(|process| Leader { pid, started: process.started });
        self.write(&Record { instance: instance.to_owned(), boot: identity::boot(), leader })
    }

    /// Kills what a child that ended has left running outside its process group, in sessions of its
    /// own, and forgets the child once nothing of it is left.
    pub(super) fn stop_instance(&self, instance: &str) {
        let record = Record { instance: instance.to_owned(), boot: None, leader: None };
        if kill_all(&[record]).1 {
            self.forget(instance);
        }
    }

    /// Forgets a child of which nothing runs any more.
    pub(super) fn forget(&self, instance: &str) {
        if let Err(error) = fs::remove_file(self.path(instance)) {
            tracing::warn!(path = %self.path(instance).display(), %error, "cannot remove the record of a child");
        }
    }

    /// Kills what earlier servers left running, waits until it is gone, and removes the records.
    /// Returns how many processes were killed.
    pub(super) fn stop_leftovers(&self) -> io::Result<usize> {
        let (records, files) = self.read()?;
        let boot = identity::boot();
        let valid: Vec<Record> = records.into_iter().filter(|record| record.boot == boot).collect();
        let killed = if valid.is_empty() { 0 } else { kill_all(&valid).0 };
        for file in files {
            fs::remove_file(file)?;
        }
        Ok(killed)
    }

    fn read(&self) -> io::Result<(Vec<Record>, Vec<PathBuf>)> {
        let files: Vec<PathBuf> =
            fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        let mut records = Vec::new();
        for file in &files {
            match serde_json::from_slice(&fs::read(file)?) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::warn!(path = %file.display(), %error, "the record of a child is not readable");
                }
            }
        }
        Ok((records, files))
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.path(&record.instance);
        private::write_cache_file(&path, &serde_json::to_vec(record)?)
    }

    fn path(&self, instance: &str) -> PathBuf {
        self.folder.join(format!("{instance}.json"))
    }
}

/// Kills until nothing is found any more: a process may fork between the look and the signal. Returns
/// how many were killed, and whether nothing is left.
fn kill_all(records: &[Record]) -> (usize, bool) {
    let deadline = Instant::now() + PATIENCE;
    let spared = ancestry();
    let mut killed = HashSet::new();
    loop {
        let found = members(records, &spared);
        if found.is_empty() {
            return (killed.len(), true);
        }
        if Instant::now() > deadline {
            tracing::error!(processes = ?found, "processes that a service left behind do not die");
            return (killed.len(), false);
        }
        for (pid, started) in found {
            kill(pid, &started);
            killed.insert((pid, started));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The processes that are proven to be of these children, with the times they started.
fn members(records: &[Record], spared: &HashSet<u32>) -> Vec<(u32, String)> {
    let instances: HashSet<&str> = records.iter().map(|record| record.instance.as_str()).collect();
    let known: Vec<(u32, identity::Process, bool)> = identity::own_processes()
        .into_iter()
        .filter_map(|pid| {
            let process = identity::process(pid)?;
            let marked = identity::variable(pid, INSTANCE_VARIABLE)
                .is_some_and(|instance| instances.contains(instance.as_str()));
            Some((pid, process, marked))
        })
        .collect();
    let groups: HashSet<i32> = records
        .iter()
        .filter_map(|record| record.leader.as_ref())
        .filter(|leader| known.iter().any(|(pid, process, marked)| proves(leader, *pid, process, *marked)))
        .filter_map(|leader| i32::try_from(leader.pid).ok())
        .collect();
    known
        .into_iter()
        .filter(|(pid, process, marked)| {
            (*marked || groups.contains(&process.group)) && !spared.contains(pid)
        })
        .map(|(pid, process, _)| (pid, process.started))
        .collect()
}

/// Whether this process proves that the leader's group is still the recorded one: it is the leader
/// itself, or a marked member. The number of a group is not reused while the group has a member.
fn proves(leader: &Leader, pid: u32, process: &identity::Process, marked: bool) -> bool {
    let member = i32::try_from(leader.pid).is_ok_and(|group| group == process.group);
    member && (marked || (pid == leader.pid && process.started == leader.started))
}

/// This process and its ancestors, which are never leftovers: the server may have been started from
/// a terminal or a service that carries the mark.
fn ancestry() -> HashSet<u32> {
    let mut family = HashSet::new();
    let mut next = Some(std::process::id());
    while let Some(pid) = next.filter(|pid| *pid > 0 && family.insert(*pid)) {
        next = identity::process(pid).map(|process| process.parent);
    }
    family
}

/// Kills this very process: it is held while its start is compared, so its id cannot change hands.
#[cfg(target_os = "linux")]
fn kill(pid: u32, started: &str) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    let Some(id) = raw(pid) else { return };
    match pidfd_open(id, PidfdFlags::empty()) {
        Ok(held) if is_still(pid, started) => {
            // It may end by itself meanwhile, which the next look shows.
            let _ = pidfd_send_signal(held, Signal::KILL);
        }
        // Without such handles (old kernels, some sandboxes) the comparison alone must do.
        Err(_) if is_still(pid, started) => {
            let _ = kill_process(id, Signal::KILL);
        }
        Ok(_) | Err(_) => {}
    }
}

#[cfg(not(target_os = "linux"))]
fn kill(pid: u32, started: &str) {
    if let Some(id) = raw(pid).filter(|_| is_still(pid, started)) {
        // It may end by itself meanwhile, which the next look shows.
        let _ = kill_process(id, Signal::KILL);
    }
}

fn is_still(pid: u32, started: &str) -> bool {
    identity::process(pid).is_some_and(|process| process.started == started)
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok().filter(|pid| *pid > 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server finds what the one before it left in this form, also after an update of micro.
    #[test]
    fn the_stored_form_stays() {
        for form in [
            r#"{"instance":"a","boot":"b","leader":{"pid":7,"started":"42"}}"#,
            r#"{"instance":"a","boot":null,"leader":null}"#,
        ] {
            let record: Record = serde_json::from_str(form).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), form);
        }
    }
}
