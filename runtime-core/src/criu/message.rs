//! CRIU's requests and responses (images/rpc.proto of CRIU 3.15 to 4.2), as far as containers need them.
//!
//! The numbers behind the fields are those of the proto file. What stands for nothing is left out of the message: CRIU's
//! defaults are what we want there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::wire::{Message, Value, fields};

/// What is asked for: criu_req_type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Dump,
        Self::Restore,
        Self::PreDump,
        Self::Notify,
        Self::FeatureCheck,
        Self::Version,
    ];

    /// The word in messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Restore => "restore",
            Self::PreDump => "pre-dump",
            Self::Notify => "notify",
            Self::FeatureCheck => "feature check",
            Self::Version => "version",
        }
    }
}

/// criu_opts: what containers use of it.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The number of the image directory's descriptor in the calling process.
    pub(crate) images_dir_fd: i32,
    pub(crate) work_dir_fd: Option<i32>,
    pub(crate) pid: Option<i32>,
    pub(crate) leave_running: bool,
    pub(crate) ext_unix_sk: bool,
    pub(crate) tcp_established: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) tcp_close: bool,
    pub(crate) evasive_devices: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    pub(crate) link_remap: bool,
    pub(crate) auto_dedup: bool,
    pub(crate) lazy_pages: bool,
    pub(crate) log_file: &'static str,
    pub(crate) page_server: Option<(String, u16)>,
    pub(crate) root: PathBuf,
    pub(crate) parent_img: Option<PathBuf>,
    pub(crate) cgroup_roots: Vec<(String, String)>,
    pub(crate) rst_sibling: bool,
    /// Descriptors of CRIU's own: name and number.
    pub(crate) inherit_fds: Vec<(String, i32)>,
    /// External mounts.
    pub(crate) mounts: Vec<(PathBuf, PathBuf)>,
    /// criu_cg_mode.
    pub(crate) cgroups_mode: i32,
    pub(crate) external: Vec<String>,
    /// CLONE_NEW* flags.
    pub(crate) empty_ns: u32,
    pub(crate) join_ns: Vec<(&'static str, String)>,
    pub(crate) freeze_cgroup: Option<PathBuf>,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
    /// criu_network_lock_method.
    pub(crate) network_lock: Option<i32>,
}

/// CRIU says everything but what it says for its own developers.
const LOG_LEVEL: i32 = 4;

impl Options {
    fn message(&self) -> Message {
        let mut message = Message::default();
        message.number(1, self.images_dir_fd);
        self.switches(&mut message);
        message.number(9, LOG_LEVEL).bytes(10, self.log_file);
        message.bytes(13, bytes(&self.root));
        self.single(&mut message);
        self.repeated(&mut message);
        message.number(34, self.cgroups_mode).number(38, self.empty_ns);
        message
    }

    /// What is there once or not at all.
    fn single(&self, message: &mut Message) {
        let numbers = [(2, self.pid), (17, self.work_dir_fd), (64, self.network_lock)];
        for (field, number) in numbers {
            if let Some(number) = number {
                message.number(field, number);
            }
        }
        for (field, path) in [(44, &self.freeze_cgroup), (51, &self.config_file)] {
            if let Some(path) = path {
                message.bytes(field, bytes(path));
            }
        }
        for (field, text) in [(53, &self.lsm_profile), (63, &self.lsm_mount_context)] {
            if let Some(text) = text {
                message.bytes(field, text);
            }
        }
        if let Some((address, port)) = &self.page_server {
            let mut server = Message::default();
            server.bytes(1, address).number(2, *port);
            message.message(11, &server);
        }
        if let Some(parent) = &self.parent_img {
            // 15: which pages have changed since is to be known.
            message.bytes(14, bytes(parent)).number(15, 1);
        }
    }

    /// Lists, most of pairs.
    fn repeated(&self, message: &mut Message) {
        let mut pair = |field, key: &[u8], value: &[u8]| {
            let mut pair = Message::default();
            pair.bytes(1, key).bytes(2, value);
            message.message(field, &pair);
        };
        for (name, place) in &self.mounts {
            pair(23, bytes(name), bytes(place));
        }
        for (controllers, cgroup) in &self.cgroup_roots {
            pair(25, controllers.as_bytes(), cgroup.as_bytes());
        }
        for (kind, file) in &self.join_ns {
            pair(39, kind.as_bytes(), file.as_bytes());
        }
        for (name, fd) in &self.inherit_fds {
            let mut inherited = Message::default();
            inherited.bytes(1, name).number(2, *fd);
            message.message(27, &inherited);
        }
        for external in &self.external {
            message.bytes(37, external);
        }
    }

    fn switches(&self, message: &mut Message) {
        // 12: CRIU's notifications; 24: cgroups are managed, as far as the mode says; 50: terminals without a master in the
        // container.
        for (field, on) in [
            (3, self.leave_running),
            (4, self.ext_unix_sk),
            (5, self.tcp_established),
            (6, self.evasive_devices),
            (7, self.shell_job),
            (8, self.file_locks),
            (12, true),
            (16, self.auto_dedup),
            (18, self.link_remap),
            (24, true),
            (26, self.rst_sibling),
            (46, self.tcp_skip_in_flight),
            (48, self.lazy_pages),
            (50, true),
            (52, self.tcp_close),
        ] {
            message.switch(field, on);
        }
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// What CRIU and the kernel can do: criu_features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// Which pages were written to.
    pub(crate) mem_track: bool,
    /// userfaultfd(2) across fork.
    pub(crate) lazy_pages: bool,
}

/// The question for CRIU's version; the connection stays open.
pub(crate) fn version_request() -> Vec<u8> {
    let mut message = Message::default();
    message.number(1, Kind::Version as i32).number(4, 1);
    message.into_bytes()
}

/// The question for features; the connection stays open.
pub(crate) fn features_request() -> Vec<u8> {
    let mut asked = Message::default();
    asked.number(1, 1).number(2, 1);
    let mut message = Message::default();
    message
        .number(1, Kind::FeatureCheck as i32)
        .number(4, 1)
        .message(5, &asked);
    message.into_bytes()
}

/// A request for work.
pub(crate) fn request(kind: Kind, options: &Options) -> Vec<u8> {
    let mut message = Message::default();
    message.number(1, kind as i32).message(2, &options.message());
    message.into_bytes()
}

/// The answer to a notification.
pub(crate) fn notified(success: bool) -> Vec<u8> {
    let mut message = Message::default();
    message
        .number(1, Kind::Notify as i32)
        .number(3, i64::from(success));
    message.into_bytes()
}

/// What CRIU says: criu_resp.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// What it is about; None: something that was not asked for.
    pub(crate) kind: Option<Kind>,
    pub(crate) success: bool,
    /// The stage that a notification is about, and the pid of the container's first process where there is one.
    pub(crate) notify: Option<(String, i32)>,
    /// The pid of the restored process.
    pub(crate) restored: Option<i32>,
    pub(crate) errno: i32,
    pub(crate) errmsg: String,
    pub(crate) features: Features,
    /// Of CRIU: major * 10000 + minor * 100 + sublevel.
    pub(crate) version: Option<u32>,
}

impl Response {
    /// Reads one; None where the bytes are none.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        for (field, value) in fields(bytes)? {
            match field {
                1 => {
                    let number = value.as_i32()?;
                    response.kind = Kind::ALL.into_iter().find(|kind| *kind as i32 == number);
                }
                2 => response.success = value.as_bool(),
                4 => response.restored = find(value, 1)?.and_then(Value::as_i32),
                5 => {
                    let script = find(value, 1)?.map(Value::as_text).unwrap_or_default();
                    let pid = find(value, 2)?.and_then(Value::as_i32).unwrap_or(0);
                    response.notify = Some((script, pid));
                }
                7 => response.errno = value.as_i32().unwrap_or(0),
                8 => {
                    response.features = Features {
                        mem_track: find(value, 1)?.is_some_and(Value::as_bool),
                        lazy_pages: find(value, 2)?.is_some_and(Value::as_bool),
                    }
                }
                9 => response.errmsg = value.as_text(),
                10 => response.version = Some(version(value)?),
                _ => {}
            }
        }
        Some(response)
    }
}

/// The last value of a field of a message within; the outer None: it is no message.
fn find(message: Value<'_>, wanted: u32) -> Option<Option<Value<'_>>> {
    let found = fields(message.as_bytes()?)?;
    let found = found.into_iter().rev().find(|(field, _)| *field == wanted);
    Some(found.map(|(_, value)| value))
}

fn version(message: Value<'_>) -> Option<u32> {
    let part = |field| {
        let value = find(message, field)?.and_then(Value::as_i32).unwrap_or(0);
        u32::try_from(value).ok()
    };
    let (major, minor, sublevel) = (part(1)?, part(2)?, part(4)?);
    major
        .checked_mul(10_000)?
        .checked_add(minor.checked_mul(100)?)?
        .checked_add(sublevel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_as_criu_reads_it() {
        assert_eq!(version_request(), b"\x08\x0a\x20\x01");
        assert_eq!(notified(true), b"\x08\x06\x18\x01");
        assert_eq!(notified(false), b"\x08\x06\x18\x00");
        let options = Options {
            images_dir_fd: 7,
            log_file: "dump.log",
            root: "/r".into(),
            pid: Some(300),
            mounts: vec![("/a".into(), "/b".into())],
            cgroups_mode: 6,
            ..Options::default()
        };
        let bytes = request(Kind::Dump, &options);
        let outer = fields(&bytes).unwrap();
        assert_eq!(outer[0].1.as_i32(), Some(1));
        let inner = fields(outer[1].1.as_bytes().unwrap()).unwrap();
        let field = |number| {
            inner
                .iter()
                .find(|(field, _)| *field == number)
                .map(|(_, value)| *value)
        };
        assert_eq!(field(1).and_then(Value::as_i32), Some(7));
        assert_eq!(field(2).and_then(Value::as_i32), Some(300));
        assert_eq!(field(3), None);
        assert_eq!(field(13), Some(Value::Bytes(b"/r")));
        assert_eq!(field(23), Some(Value::Bytes(b"\x0a\x02/a\x12\x02/b")));
        assert_eq!(field(34).and_then(Value::as_i32), Some(6));
    }

    #[test]
    fn responses_are_read() {
        let notify = Response::parse(b"\x08\x06\x10\x01\x2a\x10\x0a\x0cpost-restore\x10\x07").unwrap();
        assert_eq!(notify.kind, Some(Kind::Notify));
        assert_eq!(notify.notify, Some(("post-restore".to_owned(), 7)));
        let version = Response::parse(b"\x08\x0a\x10\x01\x52\x06\x08\x03\x10\x11\x20\x01").unwrap();
        assert_eq!(version.version, Some(31_701));
        let failed = Response::parse(b"\x08\x01\x10\x00\x38\x34\x4a\x03bad").unwrap();
        assert_eq!(
            (failed.success, failed.errno, failed.errmsg.as_str()),
            (false, 52, "bad")
        );
        let restored = Response::parse(b"\x08\x02\x10\x01\x22\x02\x08\x2a").unwrap();
        assert_eq!(restored.restored, Some(42));
        let features = Response::parse(b"\x08\x09\x10\x01\x42\x04\x08\x00\x10\x01").unwrap();
        assert_eq!(
            (features.features.mem_track, features.features.lazy_pages),
            (false, true)
        );
        assert_eq!(Response::parse(b"\x08"), None);
    }
}
