//! Takes over the cgroup that systemd has made around a container's first process.
//!
//! systemd knows the unified hierarchy and some of version 1. Here: what is missing of it for a container, so that it has a
//! group in every hierarchy, as with the other driver. Must not live here: talking to systemd.

use std::os::fd::AsFd;

use super::dir;
use super::fs::{Cgroup, Group, has_v1, wanted};
use super::limits::Write;
use super::path::{CgroupPaths, Directory};
use super::systemd::Scope;
use super::{cpuset, subtree};
use crate::error::Result;
use crate::facts::cgroup::HierarchyKind;

impl Cgroup {
    /// Refuses a place that is taken, before systemd makes a scope there. A directory that is there already and belongs to
    /// no unit systemd takes over as it is: with the processes in it, and frozen, where init would never run.
    ///
    /// # Errors
    /// WrongState, where a directory has processes in it or is frozen, by itself or from above; System, where that cannot be
    /// read.
    pub(crate) fn refuse_used(paths: &CgroupPaths, writes: &[Write]) -> Result<()> {
        wanted(paths, writes, false).try_for_each(|(directory, _)| {
            let group = Group::new(directory.clone());
            group.refuse_if_used()?;
            group.refuse_if_frozen_above()
        })
    }

    /// The cgroup that systemd has made for a container. In version 2 those controllers are handed down that systemd does
    /// not know; of version 1 it knows some hierarchies only, in the others `pid`, the one process of the scope, gets a
    /// directory of the same name here.
    ///
    /// # Errors
    /// It is not there, a needed controller cannot be had, or a directory cannot be made or entered.
    pub fn adopt(paths: &CgroupPaths, scope: Scope, writes: &[Write], pid: i32) -> Result<Self> {
        let mut cgroup = Self {
            groups: Vec::with_capacity(paths.directories.len()),
            scope: Some(scope),
            made: Vec::new(),
        };
        let beside_v1 = has_v1(paths);
        for (directory, needed) in wanted(paths, writes, false) {
            let result = match directory.kind {
                HierarchyKind::V1 => cgroup.accompany(directory, &needed, pid),
                HierarchyKind::Unified | HierarchyKind::Named => {
                    let group = Group::new(directory.clone());
                    let prepared = group.prepare_unified(&needed, !beside_v1);
                    cgroup.groups.push(group);
                    prepared
                }
            };
            if let Err(error) = result {
                cgroup.unmake(0);
                return Err(error);
            }
        }
        Ok(cgroup)
    }

    /// Has a process in this directory of version 1, which systemd made or not.
    fn accompany(&mut self, directory: &Directory, needed: &[&Write], pid: i32) -> Result<()> {
        let index = self.groups.len();
        self.groups.push(Group::new(directory.clone()));
        let mount = self.make_group(index, directory)?;
        let group = &self.groups[index];
        let fd = group.fd().map_err(|errno| group.os_error("openat2", "", errno))?;
        let procs = dir::procs(fd).map_err(|errno| group.os_error("read", "cgroup.procs", errno))?;
        if procs.contains(&pid) {
            return Ok(());
        }
        if group.has("cpuset") {
            cpuset::inherit(group, mount.as_fd(), fd, needed)?;
            group.fill_from_writes(needed)?;
        }
        dir::write(fd, "cgroup.procs", &pid.to_string())
            .map_err(|errno| group.os_error("write", "cgroup.procs", errno))
    }
}

impl Group {
    fn prepare_unified(&self, needed: &[&Write], all: bool) -> Result<()> {
        if !self.is_unified() {
            return Ok(());
        }
        let mount = dir::mount_of(&self.directory).map_err(|errno| self.os_error("open", "", errno))?;
        subtree::prepare(self, mount.as_fd(), needed, all)
    }

    /// A group of version 1 without CPUs and memory nodes takes no process, so these cannot wait for the other limits.
    fn fill_from_writes(&self, needed: &[&Write]) -> Result<()> {
        let fd = self.fd().map_err(|errno| self.os_error("openat2", "", errno))?;
        for write in needed
            .iter()
            .filter(|write| cpuset::FILES.contains(&write.file.as_str()))
        {
            dir::write(fd, &write.file, &write.value).map_err(|errno| {
                self.os_error("write", &write.file, errno)
                    .with_field(&write.origin)
            })?;
        }
        Ok(())
    }
}
