//! `install-init`: puts a copy of init where hosts that refuse to execute a memfd find it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use runtime_core::{Error, Result};

use crate::args::{Command, Matches};
use crate::fail::Outcome;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "install-init",
    about: "install init for hosts that refuse to execute a memfd",
    words: "[FILE]",
    min: 0,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   Needed only where vm.memfd_noexec is 2 or a policy forbids memfds; the file is made for this version of\n   \
           the runtime and must be installed anew with each. Default: /usr/libexec/runtime-core/init.",
    flags: &[],
    run,
};

fn run(_session: &Session, matches: &Matches) -> Outcome {
    let path = matches
        .word(0)
        .map_or_else(|| PathBuf::from(runtime_core::INSTALLED_INIT), PathBuf::from);
    install(&path)?;
    Ok(0)
}

/// Under a temporary name first: an init that is being executed is never written to.
fn install(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|error| Error::os(format!("mkdir({directory:?})"), error))?;
    }
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(&temporary)
        .map_err(|error| Error::os(format!("open({temporary:?})"), error))?;
    file.write_all(runtime_core::init_image())
        .map_err(|error| Error::os(format!("write({temporary:?})"), error))?;
    drop(file);
    std::fs::rename(&temporary, path)
        .map_err(|error| Error::os(format!("rename({temporary:?}, {path:?})"), error))
}
