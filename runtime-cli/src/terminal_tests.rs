//! The terminal with a pty in the container's place. Standard input and output of the test stay out of it.

use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::*;

fn pty() -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let name = ptsname(&master, Vec::new()).expect("ptsname");
    let slave = open(
        name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .expect("open the slave");
    (master, slave)
}

/// A terminal whose host is another pty.
fn terminal() -> (Terminal, OwnedFd, OwnedFd) {
    let (master, slave) = pty();
    let (host_master, host) = pty();
    let mut terminal = Terminal::new(Some(master)).expect("a terminal");
    terminal.host = Some(host);
    (terminal, slave, host_master)
}

#[test]
fn output_arrives_and_a_closed_end_is_no_end() {
    let (mut terminal, slave, _host) = terminal();
    write(&slave, b"one\n").expect("write");
    terminal.pump();
    let expected: &[u8] = if isatty(stdout()) { b"one\r\n" } else { b"one\n" };
    assert_eq!(terminal.to_caller.bytes, expected);
    terminal.to_caller.clear();
    let name = ptsname(&terminal.master, Vec::new()).expect("ptsname");
    drop(slave);
    terminal.pump();
    assert!(
        !terminal.readable && terminal.to_caller.is_empty(),
        "hung up for now"
    );
    let again = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("opened again");
    write(&again, b"two").expect("write");
    let mut fds = [rustix::event::PollFd::new(
        &terminal.edges,
        rustix::event::PollFlags::IN,
    )];
    let second = rustix::event::Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    assert_eq!(
        rustix::event::poll(&mut fds, Some(&second)),
        Ok(1),
        "the edge wakes"
    );
    terminal.pump();
    assert_eq!(terminal.to_caller.bytes, b"two");
    terminal.to_caller.clear();
}

#[test]
fn input_arrives() {
    let (mut terminal, slave, _host) = terminal();
    terminal.to_app.bytes = b"line\n".to_vec();
    terminal.pump();
    assert!(terminal.to_app.is_empty());
    let mut buffer = [0; 16];
    let length = read(&slave, &mut buffer[..]).expect("read");
    assert_eq!(&buffer[..length], b"line\n");
    terminal.to_caller.clear();
}

#[test]
fn nobody_spins_when_there_is_nothing() {
    let (mut terminal, _slave, _host) = terminal();
    terminal.pump();
    assert!(!terminal.busy());
    let mut fds = [rustix::event::PollFd::new(
        &terminal.edges,
        rustix::event::PollFlags::IN,
    )];
    let nothing = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    assert_eq!(rustix::event::poll(&mut fds, Some(&nothing)), Ok(0));
}

#[test]
fn the_size_follows_the_host() {
    let (terminal, slave, host) = terminal();
    let mut size = tcgetwinsize(&host).expect("size");
    (size.ws_row, size.ws_col) = (33, 99);
    tcsetwinsize(&host, size).expect("set the size");
    terminal.resize();
    let size = tcgetwinsize(&slave).expect("size");
    assert_eq!((size.ws_row, size.ws_col), (33, 99));
}

#[test]
fn raw_mode_is_undone_by_drop() {
    let (terminal, _slave, host) = terminal();
    let before = tcgetattr(&host).expect("settings").local_modes;
    terminal.make_raw().expect("raw");
    assert_ne!(tcgetattr(&host).expect("settings").local_modes, before);
    drop(terminal);
    assert_eq!(tcgetattr(&host).expect("settings").local_modes, before);
}
