use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;

const MPS: &str = "/tmp/nvidia-mps";
const PERSISTENCE: &str = "/run/nvidia-persistenced/socket";

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A driver, and the directory that stands for /tmp in its root.
fn place(test: &str) -> Option<(Place, PathBuf)> {
    let place = Place::new(test, Shape::Debian)?;
    let tmp = place.1.root().join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    mode(&tmp, 0o1777);
    Some((place, tmp))
}

/// Why it is left out; it must be, and nothing of it may be mounted.
fn refused(place: &Place, path: &str) -> String {
    let found = place.driver();
    let edits = found.edits(&["0"], Capabilities::ALL).unwrap();
    assert!(!paths(&edits.edits).contains(&path), "{path} is mounted");
    match edits.warnings.as_slice() {
        [why] => why.clone(),
        other => panic!("one warning is expected: {other:?}"),
    }
}

#[test]
fn a_directory_of_mps_must_be_roots() {
    let Some((place, tmp)) = place("a_directory_of_mps_must_be_roots") else {
        return;
    };
    let mps = tmp.join("nvidia-mps");
    let bait = place.0.join("bait");
    std::fs::create_dir(&bait).unwrap();
    symlink(&bait, &mps).unwrap();
    let why = refused(&place, MPS);
    assert!(why.contains("it is a Symlink, allowed: a Directory"), "{why}");
    std::fs::remove_file(&mps).unwrap();

    std::fs::write(&mps, "").unwrap();
    let why = refused(&place, MPS);
    assert!(why.contains("it is a RegularFile"), "{why}");
    std::fs::remove_file(&mps).unwrap();

    std::fs::create_dir(&mps).unwrap();
    chown(&mps, Some(1000), None).unwrap();
    let why = refused(&place, MPS);
    assert!(why.contains("belongs to user 1000"), "{why}");

    // As nvidia-cuda-mps-control makes it.
    chown(&mps, Some(0), None).unwrap();
    mode(&mps, 0o777);
    let found = place.driver();
    let edits = found.edits(&["0"], Capabilities::ALL).unwrap();
    assert!(paths(&edits.edits).contains(&MPS) && edits.warnings.is_empty());
    let about = mps.metadata().unwrap();
    let identity = FileIdentity {
        device: about.dev(),
        inode: about.ino(),
    };
    let source = mps.to_string_lossy().into_owned();
    assert_eq!(edits.identities, [(source, identity)].into());
    let utility = Capabilities::parse("utility").unwrap();
    assert!(found.edits(&["0"], utility).unwrap().identities.is_empty());
    let spec = found.spec(crate::gpu::hooks::CDI_HOOK).unwrap();
    assert!(
        !paths(&spec.container_edits).contains(&MPS),
        "a file outlives what was checked"
    );
    assert!(paths(&spec.container_edits).contains(&PERSISTENCE));

    // Not sticky: anybody could exchange it.
    mode(&tmp, 0o777);
    let why = refused(&place, MPS);
    assert!(why.contains("tmp is writable by others (mode 0777)"), "{why}");
    mode(&tmp, 0o1777);
    chown(&tmp, Some(1000), None).unwrap();
    let why = refused(&place, MPS);
    assert!(why.contains("tmp belongs to user 1000"), "{why}");
}

#[test]
fn a_daemons_socket_is_a_socket_of_its_user() {
    let Some((place, _)) = place("a_daemons_socket_is_a_socket_of_its_user") else {
        return;
    };
    let folder = place.1.root().join("run/nvidia-persistenced");
    let socket = folder.join("socket");
    assert!(
        place
            .driver()
            .edits(&["0"], Capabilities::ALL)
            .unwrap()
            .identities
            .is_empty()
    );
    // Distributions run the daemon as a user of its own, to whom root gives the directory.
    chown(&folder, Some(995), None).unwrap();
    let why = refused(&place, PERSISTENCE);
    assert!(
        why.contains("belongs to user 0, and must belong to user 995"),
        "{why}"
    );
    chown(&socket, Some(995), None).unwrap();
    let edits = place.driver().edits(&["0"], Capabilities::ALL).unwrap();
    assert!(paths(&edits.edits).contains(&PERSISTENCE));
    assert_eq!(edits.identities.len(), 1, "that user can exchange it");
    std::fs::remove_file(&socket).unwrap();
    symlink("/", &socket).unwrap();
    let why = refused(&place, PERSISTENCE);
    assert!(why.contains("it is a Symlink, allowed: a Socket"), "{why}");
    std::fs::remove_file(&socket).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    chown(&socket, Some(995), None).unwrap();
    chown(folder.parent().unwrap(), Some(995), None).unwrap();
    let why = refused(&place, PERSISTENCE);
    assert!(why.contains("run belongs to user 995"), "{why}");
}
