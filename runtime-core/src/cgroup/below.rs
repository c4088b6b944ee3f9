//! A walk through all groups below one, whatever a container has called them and however deep it has made them.
//!
//! Names are bytes, never text. One descriptor is open at a time and nothing recurses: a container that may make groups
//! chooses their depth, and must not be able to exhaust the descriptors, the stack or the length of a path of whoever
//! deletes it. Nothing here knows what is done with the groups.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dir;

/// What is done on the walk. A group that is gone when its turn comes is left out; any other error ends the walk.
pub(super) trait Visit {
    /// Sees a group by its name first; false: it and what is below it is of no interest.
    fn meet(&mut self, _parent: BorrowedFd<'_>, _name: &CString) -> Result<bool, Errno> {
        Ok(true)
    }
    /// In a group, before those below it.
    fn enter(&mut self, _group: BorrowedFd<'_>) -> Result<(), Errno> {
        Ok(())
    }
    /// Behind all that is below a group.
    fn leave(&mut self, _parent: BorrowedFd<'_>, _name: &CString) -> Result<(), Errno> {
        Ok(())
    }
}

/// Visits all groups below `top`, not `top` itself.
pub(super) fn walk(top: BorrowedFd<'_>, visit: &mut impl Visit) -> Result<(), Errno> {
    let mut at = At { top, group: None };
    let mut names: Vec<CString> = Vec::new();
    let mut to_see = vec![dir::children(top)?];
    while let Some(level) = to_see.last_mut() {
        if let Some(name) = level.pop() {
            if let Some(below) = unless_gone(at.go_in(&name, visit))?.flatten() {
                to_see.push(below);
                names.push(name);
            }
        } else {
            to_see.pop();
            let Some(name) = names.pop() else { break };
            at.go_up(names.is_empty())?;
            unless_gone(visit.leave(at.fd(), &name))?;
        }
    }
    Ok(())
}

/// None where the group is gone.
fn unless_gone<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Err(errno) if dir::is_gone(errno) => Ok(None),
        other => other.map(Some),
    }
}

/// Where the walk is.
struct At<'a> {
    top: BorrowedFd<'a>,
    /// None: at the top.
    group: Option<OwnedFd>,
}

impl At<'_> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.group.as_ref().map_or(self.top, AsFd::as_fd)
    }

    /// Into the group of that name, where the visit wants it; the names of those below it.
    fn go_in(&mut self, name: &CString, visit: &mut impl Visit) -> Result<Option<Vec<CString>>, Errno> {
        if !visit.meet(self.fd(), name)? {
            return Ok(None);
        }
        let group = dir::open_child(self.fd(), name)?;
        visit.enter(group.as_fd())?;
        let below = dir::children(group.as_fd())?;
        self.group = Some(group);
        Ok(Some(below))
    }

    /// To the group above. No group can be moved to another parent (cgroups(7)), so `..` is where the walk came from.
    fn go_up(&mut self, to_top: bool) -> Result<(), Errno> {
        self.group = match to_top {
            true => None,
            false => Some(rustix::fs::openat(
                self.fd(),
                c"..",
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?),
        };
        Ok(())
    }
}
