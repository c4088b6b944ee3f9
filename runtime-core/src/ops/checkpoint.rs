//! checkpoint: the processes of a container into files, by CRIU.
//!
//! From the record and the configuration saved at create; the bundle is not looked at. CRIU stops the processes, and lets
//! them go on whatever goes wrong: a failed checkpoint leaves the container as it was.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Container;
use crate::criu::{Criu, Kind, Notice, Options, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::facts::HostFacts;
use crate::facts::cgroup::HierarchyKind;
use crate::plan::{Plan, PlanRequest, Surroundings};
use crate::record::NOTIFY;
use crate::request::CheckpointRequest;
use crate::state::Status;

/// CRIU's log, in the working directory.
const LOG: &str = "dump.log";
/// What runc calls the file with the names of the first program's standard descriptors, in the directory of the images.
pub(super) const DESCRIPTORS: &str = "descriptors.json";

impl Container {
    /// Saves the container's processes in an image, from which [`crate::Runtime::restore`] makes them again. They end then,
    /// and the container is stopped, to be deleted by the caller; unless `leave_running` or `pre_dump` is set.
    ///
    /// Other operations on the container wait meanwhile; with `lazy_pages` until its memory is served.
    ///
    /// # Errors
    /// WrongState, where it is neither running nor paused; Unsupported, where CRIU is missing or too old, or where CRIU or
    /// the kernel lacks what is asked for; InvalidArgument; System, with CRIU's reason and the path of its log. The
    /// container goes on as before.
    pub fn checkpoint(&mut self, mut request: CheckpointRequest) -> Result<()> {
        let lock = self.trace.time("wait for the lock", || self.dir.lock())?;
        self.refresh()?;
        match self.status()? {
            Status::Running | Status::Paused => {}
            status => {
                let message = format!("Container cannot be checkpointed in {} state", status.as_str());
                return Err(Error::new(ErrorKind::WrongState, message));
            }
        }
        let program = crate::criu::program(&request.criu)?;
        let surroundings = self.surroundings()?;
        let place = Place::open(&request.criu, LOG, true)?;
        if let Some(parent) = &request.parent {
            check_parent(&request.criu.image, parent)?;
        }
        let options = self.dump_options(&request, &place, &surroundings)?;
        let criu = self.trace.time("start criu", || Criu::start(&program))?;
        check_features(&criu, &request)?;
        if !request.pre_dump {
            self.write_descriptors(&place)?;
        }
        let kind = if request.pre_dump {
            Kind::PreDump
        } else {
            Kind::Dump
        };
        let (mut lock, mut ready) = (Some(lock), request.lazy_pages_ready.take());
        let span = self.trace.span("criu saves");
        let dumped = criu.work(kind, &options, |notice: Notice| {
            if notice.stage == "status-ready" {
                // From here on it lasts until somebody has fetched the memory.
                lock.take();
                return ready.take().map_or(Ok(()), tell_ready);
            }
            Ok(())
        });
        drop(span);
        dumped.map_err(|failed| place.explain(kind, failed))?;
        match &self.pidfd {
            Some(pidfd) if !request.leave_running && !request.pre_dump => {
                crate::sys::wait::ready_within(pidfd, Some(super::delete::PATIENCE)).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn surroundings(&self) -> Result<Surroundings> {
        let record = &self.record;
        let mut asked = PlanRequest::new(record.id.clone(), &record.bundle);
        if self.dir.path().join(NOTIFY).is_dir() {
            asked.notify_dir = Some(self.dir.path().join(NOTIFY));
        }
        let mut facts = HostFacts::gather()?;
        asked.rootless = facts.euid != 0 || facts.in_user_namespace;
        // Where its terminal went is no question any more, and which capabilities the caller has is none either.
        asked.console_socket = Some(PathBuf::new());
        facts.capabilities = u64::MAX;
        Plan::surroundings(&self.config()?, &facts, &asked)
    }

    fn dump_options(
        &self,
        request: &CheckpointRequest,
        place: &Place,
        surroundings: &Surroundings,
    ) -> Result<Options> {
        let record = &self.record;
        let init = record
            .init
            .ok_or_else(|| Error::new(ErrorKind::State, "the record names no init"))?;
        let mounts = if request.pre_dump {
            // Memory alone is saved.
            Vec::new()
        } else {
            crate::criu::external_mounts(init.pid, &surroundings.mounts)?
        };
        let mut external = Vec::new();
        for joined in surroundings.joined.iter().filter(|joined| joined.is_external()) {
            // By way of the process: the path that it was joined by may be gone.
            let path = format!("/proc/{}/ns/{}", init.pid, joined.word());
            let inode = std::fs::metadata(&path)
                .map_err(|error| Error::os(format!("stat({path:?})"), error))?
                .ino();
            external.push(format!("{}[{inode}]:{}", joined.word(), joined.key()));
        }
        Ok(Options {
            pid: Some(init.pid),
            leave_running: request.leave_running,
            tcp_skip_in_flight: request.tcp_skip_in_flight,
            link_remap: request.link_remap,
            page_server: request.page_server.clone(),
            parent_img: request.parent.clone(),
            freeze_cgroup: self.freezer_directory(),
            mounts,
            external,
            ..crate::criu::options(&request.criu, place, &record.rootfs, &record.annotations)
        })
    }

    /// The cgroup by which CRIU stops the processes; without one it traces each of them first.
    fn freezer_directory(&self) -> Option<PathBuf> {
        let directories = || self.record.cgroup.iter().flat_map(|cgroup| &cgroup.directories);
        let v1 = directories().find(|directory| {
            directory.kind == HierarchyKind::V1
                && directory
                    .controllers
                    .iter()
                    .any(|controller| controller == "freezer")
        });
        let unified = || directories().find(|directory| directory.kind == HierarchyKind::Unified);
        v1.or_else(unified).map(|directory| directory.path())
    }

    /// The restore puts its own pipes in the place of those that the first program was given.
    fn write_descriptors(&self, place: &Place) -> Result<()> {
        let names = serde_json::to_vec(&self.record.stdio).map_err(|error| {
            let message = format!("{DESCRIPTORS} cannot be written: {error}");
            Error::new(ErrorKind::Internal, message)
        })?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(place.image(), DESCRIPTORS, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| Error::os(format!("open({DESCRIPTORS:?})"), errno))?;
        std::io::Write::write_all(&mut std::fs::File::from(fd), &names)
            .map_err(|error| Error::os(format!("write({DESCRIPTORS:?})"), error))
    }
}

/// CRIU follows the parent from the directory of the images, wherever that is moved to.
fn check_parent(image: &Path, parent: &Path) -> Result<()> {
    let refuse = |why: String| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("invalid --parent-path: {why}"),
        )
    };
    if parent.is_absolute() || parent.components().any(|part| part == Component::RootDir) {
        return Err(refuse(format!(
            "{} is absolute, it must be relative to the directory of the images",
            parent.display()
        )));
    }
    let path = image.join(parent);
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(refuse(format!("{} is not a directory", path.display()))),
        Err(error) => Err(refuse(Error::os(format!("stat({path:?})"), error).to_string())),
    }
}

fn check_features(criu: &Criu, request: &CheckpointRequest) -> Result<()> {
    if !request.pre_dump && !request.criu.lazy_pages {
        return Ok(());
    }
    let features = criu.features()?;
    let lacks = |what: &str, feature: &str| {
        let message = format!("{what} needs {feature}, which criu or this kernel lacks");
        Err(Error::new(ErrorKind::Unsupported, message))
    };
    if request.pre_dump && !features.mem_track {
        return lacks("a pre-dump", "memory tracking (CONFIG_MEM_SOFT_DIRTY)");
    }
    if request.criu.lazy_pages && !features.lazy_pages {
        return lacks("lazy migration", "userfaultfd(2) with its events");
    }
    Ok(())
}

fn tell_ready(fd: OwnedFd) -> Result<()> {
    rustix::io::retry_on_intr(|| rustix::io::write(&fd, &[0]))
        .map(drop)
        .map_err(|errno| Error::os("write(status descriptor, one zero byte)", errno))
}
