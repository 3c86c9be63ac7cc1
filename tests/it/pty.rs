//! Commands on a terminal of their own.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::support::eventually;

/// A command with a terminal of its own.
pub(crate) struct Terminal {
    /// The side of the person at the terminal.
    person: File,
    /// The side of the command.
    side: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
    command: Child,
}

impl Terminal {
    pub(crate) fn start(command: &mut Command) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::<u8>::new()).unwrap();
        let side = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let stdio = || Stdio::from(side.try_clone().unwrap());
        let command = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();

        let person = File::from(person);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, seen) = (person.try_clone().unwrap(), screen.clone());
        // Ends with the other side.
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                seen.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { person, side, screen, command }
    }

    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned()
    }

    pub(crate) fn modes(&self) -> LocalModes {
        tcgetattr(&self.side).unwrap().local_modes
    }

    /// Waits until this stands on the screen.
    pub(crate) fn shows(&self, text: &str) {
        eventually(&format!("the terminal to show `{text}`"), || self.screen().contains(text).then_some(()));
    }

    /// Waits until this is asked and the answer is awaited: what is typed is not echoed any more.
    pub(crate) fn asks(&self, prompt: &str) {
        eventually(&format!("the terminal to ask `{prompt}`"), || {
            (self.screen().contains(prompt) && !self.modes().contains(LocalModes::ECHO)).then_some(())
        });
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until all that the command wrote is on the screen.
    pub(crate) fn is_read_whole(&self) {
        let marker = "the end of what was written";
        rustix::io::write(&self.side, marker.as_bytes()).unwrap();
        self.shows(marker);
    }

    /// Waits for the end of the command.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        eventually("the command to end", || self.command.try_wait().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that still asks would ask for ever.
        drop(self.command.kill());
        drop(self.command.wait());
    }
}
