//! The page of times: filled from the first instruction on, gone before anybody else could see it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use runtime_core_program::{Command, FrameKind, page};
use rustix::fs::MemfdFlags;

use crate::harness::*;
use crate::start::{connect, listen};

const NAME: &str = "runtime-trace-test";

fn make_page(lines: usize) -> OwnedFd {
    let page = rustix::fs::memfd_create(NAME, MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&page, ((lines + 3) * page::SLOT_LEN) as u64).unwrap();
    page
}

fn slots(page: &OwnedFd) -> Vec<u64> {
    let mut bytes = [0; 512];
    let length = rustix::io::pread(page, &mut bytes, 0).unwrap();
    let words = bytes[..length].chunks_exact(8);
    words
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .collect()
}

fn umask(count: usize) -> Vec<Step> {
    vec![Step::Umask { mask: 0o22 }; count]
}

#[test]
fn each_step_leaves_its_time_and_the_program_finds_no_page() {
    let page = make_page(5);
    let script = "cat /proc/self/maps /proc/$$/maps; ls -l /proc/self/fd/ /proc/$$/fd/";
    let steps = all(&[&umask(3), &shell(script)]);
    let init = Init::start_watched(&bytes(&steps), &page, &[]);
    let seen = init.output();
    assert!(seen.contains("[stack]") && seen.contains(" 1 -> "), "{seen}");
    assert!(!seen.contains(NAME) && !seen.contains("memfd:"), "{seen}");
    let slots = slots(&page);
    let mut times = vec![slots[page::ENTERED]];
    times.extend((1..=5).map(|line| slots[page::slot(line)]));
    assert!(times.iter().all(|time| *time != 0), "{times:?}");
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!((slots[page::FAILED], slots[page::slot(0)]), (0, 0));
}

#[test]
fn a_failure_leaves_its_time_and_no_later_step_one() {
    let page = make_page(4);
    let steps = all(&[&umask(2), &[Step::Pivot {}], &umask(1)]);
    let init = Init::start_watched(&bytes(&steps), &page, &[]);
    assert_eq!(init.failure().line, 3);
    let slots = slots(&page);
    assert!(
        slots[page::FAILED] >= slots[page::slot(3)] && slots[page::slot(3)] != 0,
        "{slots:?}"
    );
    assert_eq!(slots[page::slot(4)], 0);
}

/// Nothing fails because somebody watches.
#[test]
fn a_page_that_is_none_is_passed_over() {
    let empty = rustix::fs::memfd_create(NAME, MemfdFlags::CLOEXEC).unwrap();
    let short = make_page(0);
    let folder = Folder::new();
    let path = folder.join("read-only");
    std::fs::write(&path, [0; 4096]).unwrap();
    let read_only: OwnedFd = std::fs::File::open(&path).unwrap().into();
    for page in [empty, short, read_only] {
        let steps = all(&[&umask(9), &shell("echo runs")]);
        let init = Init::start_watched(&bytes(&steps), &page, &[]);
        assert_eq!(init.output(), "runs\n");
    }
}

fn waiting(path: &Path, page: &OwnedFd, before: &[Step], behind: &[Step]) -> Init {
    let listener = listen(path);
    let wait = [Step::WaitStart {
        listener: listener.as_raw_fd(),
    }];
    let steps = all(&[before, &wait, behind]);
    Init::start_watched(&bytes(&steps), page, &[listener.as_fd()])
}

#[test]
fn a_waiting_init_has_no_page_and_takes_that_of_who_starts_it() {
    let folder = Folder::new();
    let path = folder.join("start");
    let first = make_page(4);
    let init = waiting(&path, &first, &umask(1), &shell("cat /proc/self/maps"));
    init.expect(FrameKind::Reached, 2);
    assert!(init.proc("maps").contains(NAME), "it is there before");
    init.go(None);
    assert!(init.receive().is_none(), "create is let go");
    // A connection that is accepted tells that init waits.
    let start = connect(&path);
    assert!(!init.proc("maps").contains(NAME), "{}", init.proc("maps"));
    let second = make_page(4);
    send(start.as_fd(), &Command::Go.encode(), Some(second.as_fd()));
    assert_eq!(receive(start.as_fd()).unwrap().0.kind, FrameKind::Starting);
    assert!(receive(start.as_fd()).is_none(), "end of file: it runs");
    assert!(!init.rest().contains(NAME));
    let (first, second) = (slots(&first), slots(&second));
    let noted = |slots: &[u64]| {
        (1..=4)
            .map(|line| slots[page::slot(line)] != 0)
            .collect::<Vec<_>>()
    };
    assert_eq!(noted(&first), [true, true, false, false]);
    assert_eq!(noted(&second), [false, false, true, true]);
}

/// A filter with which the calls that map and unmap a page mean death.
fn no_mappings() -> Step {
    // seccomp(2): load the number of the call; mmap, munmap and statx kill, all else is allowed.
    let instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([jt, jf]);
        bytes.extend(k.to_ne_bytes());
        bytes
    };
    let number = |call: i64| u32::try_from(call).unwrap();
    let filter = [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 3, 0, number(libc::SYS_mmap)),
        instruction(0x15, 2, 0, number(libc::SYS_munmap)),
        instruction(0x15, 1, 0, number(libc::SYS_statx)),
        instruction(0x06, 0, 0, 0x7fff_0000),
        instruction(0x06, 0, 0, 0x8000_0000),
    ];
    Step::Seccomp {
        filter: filter.concat(),
        flags: 0,
    }
}

#[test]
fn under_a_filter_no_page_is_mapped_or_unmapped() {
    let folder = Folder::new();
    let path = folder.join("start");
    let page = make_page(4);
    let before = [Step::NoNewPrivs {}, no_mappings()];
    let init = waiting(&path, &page, &before, &[Step::Pivot {}]);
    init.expect(FrameKind::Reached, 3);
    init.go(None);
    assert!(init.receive().is_none(), "create is let go");
    let start = connect(&path);
    let other = make_page(4);
    send(start.as_fd(), &Command::Go.encode(), Some(other.as_fd()));
    let (frame, _) = receive(start.as_fd()).expect("the filter has not killed it");
    assert_eq!((frame.kind, frame.line), (FrameKind::Failed, 4));
    let first = slots(&page);
    assert!(
        first[page::slot(2)] != 0 && first[page::slot(3)] == 0,
        "{first:?}"
    );
    assert!(slots(&other).iter().all(|slot| *slot == 0));
}

#[test]
fn a_filter_at_the_end_is_timed_where_it_is_loaded() {
    let page = make_page(4);
    let filter = Step::Seccomp {
        filter: [6u8, 0, 0, 0, 0, 0, 0xff, 0x7f].to_vec(),
        flags: 0,
    };
    let shell = shell("echo runs");
    let steps = all(&[&[Step::NoNewPrivs {}], &shell[..1], &[filter], &shell[1..]]);
    let init = Init::start_watched(&bytes(&steps), &page, &[]);
    assert_eq!(init.output(), "runs\n");
    let slots = slots(&page);
    let times: Vec<_> = (1..=4).map(|line| slots[page::slot(line)]).collect();
    assert!(
        times.iter().all(|time| *time != 0) && times.is_sorted(),
        "{times:?}"
    );
}
