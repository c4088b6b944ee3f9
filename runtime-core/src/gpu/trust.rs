//! Whether a file or directory of the host may be believed: whoever can write it would act with the runtime's rights.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user that root of the host is to this process: in a user namespace without him the kernel shows another number, and
/// the same one for everybody else who is not in it (user_namespaces(7)).
pub(super) fn host_root() -> u32 {
    if !crate::facts::in_user_namespace().unwrap_or(false) {
        return 0;
    }
    let shown = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
    shown
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(OVERFLOW)
}

/// DEFAULT_OVERFLOWUID of the kernel.
const OVERFLOW: u32 = 65534;

/// Nobody but root and the caller may have written it. In a user namespace whoever is not in it passes for root: the runtime
/// has no rights there that its caller has not.
pub(super) fn own(about: &Metadata) -> Result<(), String> {
    let caller = rustix::process::geteuid().as_raw();
    if about.uid() != 0 && about.uid() != caller && about.uid() != host_root() {
        return Err(format!(
            "owned by user {}, allowed: root and the caller",
            about.uid()
        ));
    }
    let group_writes = about.mode() & 0o020 != 0 && about.gid() != 0;
    if about.mode() & 0o002 != 0 || group_writes {
        return Err(format!(
            "others may write it (mode {:04o})",
            about.mode() & 0o7777
        ));
    }
    Ok(())
}

/// Nobody but root and the caller may exchange any part of the path, once its links are followed. A directory where
/// everybody may make files, but only remove his own (sticky, as /tmp), is fine above a trusted one.
pub(super) fn whole_path(path: &Path) -> Result<(), String> {
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    for (position, part) in real.ancestors().enumerate() {
        let about =
            std::fs::symlink_metadata(part).map_err(|error| format!("{}: {error}", part.display()))?;
        let sticky = position > 0 && about.is_dir() && about.mode() & 0o1000 != 0 && about.uid() == 0;
        if !sticky {
            own(&about).map_err(|why| format!("{}: {why}", part.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_root_or_the_caller_wrote_is_believed() {
        assert_eq!(whole_path(Path::new("/etc/passwd")), Ok(()));
        let place = std::env::temp_dir().join(format!("gpu-trust-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        assert_eq!(whole_path(&place), Ok(()));
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&place, open).unwrap();
        let file = place.join("file");
        std::fs::write(&file, "").unwrap();
        let why = whole_path(&file).unwrap_err();
        assert!(why.contains("others may write it (mode 0777)"), "{why}");
        std::fs::remove_dir_all(&place).unwrap();
    }
}
