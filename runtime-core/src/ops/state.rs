//! The state of a container: its record and the life of (pid, start time), never the pid alone.

use std::path::PathBuf;

use serde_json::json;

use super::Container;
use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::record::Record;
use crate::state::{State, Status};

impl Container {
    /// The state as the runtime-spec has it, looked up now.
    ///
    /// # Errors
    /// System, where /proc or the cgroup cannot be read.
    pub fn state(&self) -> Result<State> {
        if let Some(now) = self.now()? {
            return now.state();
        }
        let status = self.status()?;
        let record = &self.record;
        Ok(State {
            oci_version: record.oci_version.clone(),
            id: record.id.to_string(),
            pid: if status == Status::Stopped {
                0
            } else {
                self.pid().unwrap_or(0)
            },
            status,
            bundle: record.bundle.to_string_lossy().into_owned(),
            rootfs: record.rootfs.to_string_lossy().into_owned(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
            owner: user_name(record.owner),
        })
    }

    /// The status alone.
    ///
    /// # Errors
    /// As [`Container::state`].
    pub fn status(&self) -> Result<Status> {
        self.look().map(|(status, _)| status)
    }

    /// The status, and the cgroup that was looked at for it, which a second question need not open again.
    fn look(&self) -> Result<(Status, Option<Cgroup>)> {
        match self.now()? {
            Some(now) => now.look_at_processes(),
            None => self.look_at_processes(),
        }
    }

    /// The container as it is recorded by now, where that may have changed since this value was made: somebody else may have
    /// made it ready or started it.
    pub(super) fn now(&self) -> Result<Option<Self>> {
        if !matches!(self.record.status, Status::Creating | Status::Created) {
            return Ok(None);
        }
        match self.dir.stamp()? {
            // Deleted: nothing is going to change any more.
            None => Ok(None),
            stamp if stamp == self.seen => Ok(None),
            _ => Self::load(self.dir.try_clone()?, &self.trace).map(Some),
        }
    }

    fn look_at_processes(&self) -> Result<(Status, Option<Cgroup>)> {
        let _span = self.trace.span("look at the processes");
        let record = &self.record;
        let alive = match &self.pidfd {
            Some(pidfd) => !crate::sys::wait::has_ended(pidfd)?,
            None => false,
        };
        match record.status {
            Status::Creating if record.creator.is_alive()? => Ok((Status::Creating, None)),
            _ if !alive => Ok((Status::Stopped, None)),
            // Its creator died before it was ready: nobody can ever start it.
            Status::Creating => Ok((Status::Stopped, None)),
            // A created container can be frozen like a running one, and must be seen to be for resume.
            Status::Created | Status::Running | Status::Paused | Status::Stopped => {
                let cgroup = self.cgroup();
                let frozen = match &cgroup {
                    Some(cgroup) => cgroup.is_frozen()?,
                    None => false,
                };
                let status = match record.status {
                    _ if frozen => Status::Paused,
                    Status::Created => Status::Created,
                    _ => Status::Running,
                };
                Ok((status, cgroup))
            }
        }
    }

    /// The status, for what waits for a process of the container to run: with the cgroup above the container's, if any,
    /// that is frozen and lets none run. The specification and runc know no word for that; it is not paused itself.
    pub(super) fn status_and_frozen_above(&self) -> Result<(Status, Option<PathBuf>)> {
        let (status, cgroup) = self.look()?;
        let above = match cgroup {
            Some(cgroup) if status != Status::Paused => cgroup.frozen_above()?,
            _ => None,
        };
        Ok((status, above))
    }
}

/// The state document for hooks (runtime.md#state): no runtime's own additions, no pid when stopped.
pub(crate) fn document(record: &Record, status: Status, pid: i32) -> Vec<u8> {
    let mut document = json!({
        "ociVersion": record.oci_version,
        "id": record.id.as_str(),
        "status": status,
        "bundle": record.bundle.to_string_lossy(),
    });
    if let Some(fields) = document.as_object_mut() {
        if status != Status::Stopped {
            fields.insert("pid".to_owned(), pid.into());
        }
        if !record.annotations.is_empty() {
            fields.insert("annotations".to_owned(), json!(record.annotations));
        }
    }
    document.to_string().into_bytes()
}

/// The name of a user of the host; the number where there is none.
pub(crate) fn user_name(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(number.as_str())).then(|| name.to_owned())
    });
    found.unwrap_or(number)
}
