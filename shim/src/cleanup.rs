//! `delete`: containerd runs it after every task, and for a shim that is gone. It may be repeated and asks nobody.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use prost::Message;
use runtime_core::ContainerId;

use crate::args::Args;
use crate::bootstrap::{ADDRESS, remove_if_dead};
use crate::proto::task::DeleteResponse;
use crate::ttrpc::Status;
use crate::{place, rootfs};

/// 128 and SIGKILL: how a container ends whose shim is gone.
const KILLED: u32 = 137;

/// Does the whole of `delete`.
///
/// # Errors
/// A text for standard error.
pub(crate) fn delete(args: &Args) -> Result<(), Status> {
    let bundle = if args.bundle.is_empty() {
        std::env::current_dir().map_err(|error| Status::os("getcwd()", error))?
    } else {
        PathBuf::from(&args.bundle)
    };
    let options = place::load(&bundle);
    let runtime = place::runtime(&options, &args.namespace);
    let id: ContainerId = args.id.parse()?;
    let pid = runtime.container(&id).ok().and_then(|container| container.pid());
    for warning in runtime.delete(&id, true)?.warnings {
        // containerd's log has it; nobody reads it where that is gone.
        let _ = writeln!(std::io::stderr(), "delete of {id}: {warning}");
    }
    rootfs::unmount(&place::rootfs(&bundle))?;
    if let Ok(address) = std::fs::read_to_string(bundle.join(ADDRESS)) {
        remove_if_dead(&address);
    }
    let response = DeleteResponse {
        pid: pid.unwrap_or(0).cast_unsigned(),
        exit_status: KILLED,
        exited_at: Some(SystemTime::now().into()),
    };
    std::io::stdout()
        .write_all(&response.encode_to_vec())
        .map_err(|error| Status::os("write(standard output)", error))
}
