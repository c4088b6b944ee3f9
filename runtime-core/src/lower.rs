//! From the plan's names to the program's numbers: the init lines of a schedule and the descriptors that now exist.
//!
//! Sees no configuration and no path; decides nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use runtime_core_program::{StepBuf, Writer};
use rustix::fs::MemfdFlags;

use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Action, FdName, Line, Step};

/// The descriptors that init inherits, by name.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(BTreeMap<FdName, OwnedFd>);

impl Descriptors {
    /// Names a descriptor. Numbers 0 to 2 are moved away: they are the container's.
    pub(crate) fn insert(&mut self, name: FdName, fd: OwnedFd) -> Result<()> {
        self.0.insert(name, above_standard(fd)?);
        Ok(())
    }

    fn number(&self, name: &FdName) -> RawFd {
        self.0.get(name).map_or(-1, AsRawFd::as_raw_fd)
    }

    /// All numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        self.0.values().map(AsRawFd::as_raw_fd)
    }
}

/// The descriptor, moved where a caller with closed standard descriptors was given one of their numbers for it: in init
/// they are the container's.
pub(crate) fn above_standard(fd: OwnedFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(|errno| Error::os("fcntl(F_DUPFD_CLOEXEC, 3)", errno))
}

/// The program of these lines in a memfd that init can map.
///
/// # Errors
/// InvalidSpec, where the configuration is larger than a program can be; System.
pub(crate) fn lower(lines: &[Line], descriptors: &Descriptors) -> Result<OwnedFd> {
    let mut writer = Writer::new();
    for (number, line) in lines.iter().enumerate() {
        let Action::Init(step) = &line.action else {
            continue;
        };
        let number = u32::try_from(number).map_err(|_| too_large())?;
        match step {
            Step::CloseStray { keep } => {
                let mut keep: Vec<RawFd> = keep
                    .iter()
                    .map(|name| descriptors.number(name))
                    .filter(|fd| *fd >= 0)
                    .collect();
                keep.sort_unstable();
                writer.push(number, &StepBuf::CloseStray { keep }, |fd| *fd);
            }
            // A hierarchy that this caller may not use, and need not.
            Step::JoinCgroup { tasks } if descriptors.number(tasks) < 0 => {}
            _ => writer.push(number, step, |name| descriptors.number(name)),
        }
    }
    let bytes = writer.finish().ok_or_else(too_large)?;
    memfd(c"runtime-program", &bytes)
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::InvalidSpec,
        "the configuration is larger than a program can be (256 MiB)",
    )
}

/// Bytes as a file in memory, read from its start.
pub(crate) fn memfd(name: &std::ffi::CStr, bytes: &[u8]) -> Result<OwnedFd> {
    let fd = match rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC),
        other => other,
    };
    let fd = fd.map_err(|errno| Error::os(format!("memfd_create({name:?})"), errno))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)
        .map_err(|error| Error::os(format!("write(memfd {name:?})"), error))?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
        .map_err(|errno| Error::os(format!("lseek(memfd {name:?})"), errno))?;
    above_standard(file.into())
}

#[cfg(test)]
mod tests {
    use runtime_core_program::{Program, Step as Read};

    use super::*;
    use crate::facts::HostFacts;
    use crate::plan::{Plan, PlanRequest};
    use crate::spec::LoadedSpec;

    /// The bytes of a program that was lowered.
    fn bytes(lines: &[Line]) -> Vec<u8> {
        let fd = lower(lines, &Descriptors::default()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes).unwrap();
        bytes
    }

    fn texts(read: runtime_core_program::Texts<'_>) -> Vec<String> {
        read.iter()
            .map(|text| text.to_string_lossy().into_owned())
            .collect()
    }

    fn shown(written: &[runtime_core_program::Text]) -> Vec<String> {
        written.iter().map(ToString::to_string).collect()
    }

    /// What init reads is what was planned. Lists are compared one by one; all other fields show alike on both sides.
    fn same(written: &Step, read: &Read<'_>) {
        match (written, read) {
            (
                Step::Exec {
                    args,
                    env,
                    home,
                    keep,
                },
                Read::Exec {
                    args: a,
                    env: e,
                    home: h,
                    keep: k,
                },
            ) => {
                assert_eq!(
                    (shown(args), shown(env), home, keep),
                    (texts(*a), texts(*e), h, k)
                );
            }
            (
                Step::Hook {
                    path,
                    args,
                    env,
                    head,
                    tail,
                    timeout,
                    ..
                },
                Read::Hook {
                    path: p,
                    args: a,
                    env: e,
                    head: h,
                    tail: t,
                    timeout: s,
                    ..
                },
            ) => {
                assert_eq!((path.as_bytes(), timeout), (p.to_bytes(), s));
                assert_eq!((shown(args), shown(env)), (texts(*a), texts(*e)));
                assert_eq!((head.as_slice(), tail.as_slice()), (*h, *t));
            }
            (
                Step::MountFs {
                    fstype,
                    source,
                    options,
                    attributes,
                    target,
                    propagation,
                    flags,
                    ..
                },
                Read::MountFs {
                    fstype: y,
                    source: s,
                    options: o,
                    attributes: a,
                    target: t,
                    propagation: p,
                    flags: f,
                    ..
                },
            ) => {
                let given = [fstype.as_bytes(), source.as_bytes(), target.as_bytes()];
                assert_eq!(given, [y.to_bytes(), s.to_bytes(), t.to_bytes()]);
                assert_eq!((shown(options), attributes, flags), (texts(*o), a, f));
                assert!(p.iter().eq(propagation.iter().copied()));
            }
            (
                Step::MountBind {
                    source,
                    target,
                    set,
                    clear,
                    propagation,
                    flags,
                    ..
                },
                Read::MountBind {
                    source: s,
                    target: t,
                    set: a,
                    clear: c,
                    propagation: p,
                    flags: f,
                    ..
                },
            ) => {
                assert_eq!(
                    (source.as_bytes(), target.as_bytes()),
                    (s.to_bytes(), t.to_bytes())
                );
                assert_eq!((set, clear, flags), (a, c, f));
                assert!(p.iter().eq(propagation.iter().copied()));
            }
            (
                Step::Remount {
                    target, options, set, ..
                },
                Read::Remount {
                    target: t,
                    options: o,
                    set: s,
                    ..
                },
            ) => {
                assert_eq!(
                    (target.as_bytes(), shown(options), set),
                    (t.to_bytes(), texts(*o), s)
                );
            }
            (
                Step::User {
                    uid,
                    gid,
                    groups,
                    set_groups,
                },
                Read::User {
                    uid: u,
                    gid: g,
                    groups: n,
                    set_groups: s,
                },
            ) => {
                assert_eq!((uid, gid, set_groups), (u, g, s));
                assert!(n.iter().eq(groups.iter().copied()));
            }
            // No descriptor exists here: none is kept, each name is -1.
            (Step::CloseStray { .. }, Read::CloseStray { keep }) => assert!(keep.is_empty()),
            (Step::PlaceFds { fds }, Read::PlaceFds { fds: read }) => {
                assert_eq!(read.iter().collect::<Vec<_>>(), vec![-1; fds.len()]);
            }
            (
                Step::Join { kind, .. },
                Read::Join {
                    namespace: -1,
                    kind: read,
                },
            ) => assert_eq!(kind, read),
            (Step::WaitStart { .. }, Read::WaitStart { listener: -1 })
            | (
                Step::Stdio { .. },
                Read::Stdio {
                    input: -1,
                    output: -1,
                    error: -1,
                },
            ) => {}
            _ => assert_eq!(format!("{written:?}"), format!("{read:?}")),
        }
    }

    #[test]
    fn what_is_lowered_decodes_to_what_was_planned() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
        let mut steps = 0;
        for entry in std::fs::read_dir(folder.join("configs")).unwrap() {
            let config = std::fs::read(entry.unwrap().path()).unwrap();
            for host in ["hybrid-v1", "pure-v2", "rootless-v2"] {
                let facts = std::fs::read(folder.join(format!("facts/{host}.json"))).unwrap();
                let facts: HostFacts = serde_json::from_slice(&facts).unwrap();
                let mut request = PlanRequest::new("lowered".parse().unwrap(), "/bundle");
                request.preserve_fds = 2;
                request.stdio = [true; 3];
                let planned = LoadedSpec::from_slice(&config, "config.json")
                    .and_then(|loaded| Plan::create(&loaded, &facts, &request));
                let Ok(plan) = planned else { continue };
                let bytes = bytes(&plan.lines);
                let program = Program::new(&bytes).unwrap();
                // Without a descriptor a hierarchy is not joined.
                let written = plan
                    .lines
                    .iter()
                    .enumerate()
                    .filter_map(|(number, line)| match &line.action {
                        Action::Init(Step::JoinCgroup { .. }) | Action::Parent(_) => None,
                        Action::Init(step) => Some((number, step)),
                    });
                let mut read = program.steps();
                for (number, step) in written {
                    let (line, found) = read.next().unwrap().unwrap();
                    assert_eq!(usize::try_from(line).unwrap(), number);
                    same(step, &found);
                    steps += 1;
                }
                assert!(read.next().is_none());
            }
        }
        assert!(steps > 1000, "only {steps} steps were compared");
    }
}
