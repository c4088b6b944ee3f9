//! Loading: what is accepted, what becomes a warning, and the words of every kind of error.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const MINIMAL: &str =
    r#"{"ociVersion":"1.3.0","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"]}}"#;

fn load(document: &Value) -> Result<LoadedSpec> {
    LoadedSpec::from_slice(document.to_string().as_bytes(), "config.json")
}

fn with(pointer: &str, value: Value) -> Value {
    let mut document: Value = serde_json::from_str(MINIMAL).unwrap();
    let mut place = &mut document;
    for part in pointer.split('.') {
        place = &mut place[part];
    }
    *place = value;
    document
}

fn refusal(document: &Value) -> String {
    let error = load(document).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    error.to_string()
}

fn warnings(document: &Value) -> Vec<String> {
    load(document)
        .unwrap()
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_minimal_document_loads_without_warnings() {
    let loaded = LoadedSpec::from_slice(MINIMAL.as_bytes(), "config.json").unwrap();
    assert!(loaded.warnings.is_empty());
    let process = loaded.spec.process().as_ref().unwrap();
    assert_eq!(
        (process.user().uid(), process.user().gid()),
        (0, 0),
        "a missing user is root"
    );
}

#[test]
fn malformed_text_is_located() {
    let text = |bytes: &[u8]| {
        LoadedSpec::from_slice(bytes, "config.json")
            .unwrap_err()
            .to_string()
    };
    let message = text(b"{\n  \"ociVersion\": oops}");
    assert!(
        message.starts_with("config.json: malformed JSON: ") && message.contains("line 2 column 17"),
        "{message}"
    );
    assert!(text(b"").contains("EOF"), "{}", text(b""));
    assert_eq!(text(b"null"), "config.json: config cannot be null");
    assert_eq!(text(b"[]"), "config.json: found an array, allowed is an object");
    assert!(text(b"{} {}").contains("trailing characters"));
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(text(format!("{{\"x\":{deep}}}").as_bytes()).contains("recursion limit"));
}

#[test]
fn a_wrong_type_names_field_found_and_allowed() {
    let bad = json!([{"type":"RLIMIT_NOFILE","soft":1,"hard":1},{"type":"RLIMIT_FOO","soft":1,"hard":1}]);
    let message = refusal(&with("process.rlimits", bad));
    assert!(
        message.starts_with(
            "process.rlimits[1].type: unknown variant `RLIMIT_FOO`, expected one of `RLIMIT_CPU`"
        )
    );
    assert_eq!(
        refusal(&with("process.cwd", json!(7))),
        "process.cwd: invalid type: integer `7`, expected path string"
    );
    assert!(refusal(&with("process.user.uid", json!(4_294_967_296_u64))).starts_with("process.user.uid: "));
    assert!(refusal(&with("process.user.uid", json!(-1))).starts_with("process.user.uid: "));
    assert!(refusal(&with("linux.seccomp.defaultAction", json!("SCMP_ACT_X"))).contains("`SCMP_ACT_ERRNO`"));
    assert!(
        refusal(&with("linux.namespaces", json!([{"type":"ipc"},{"type":"moon"}])))
            .starts_with("linux.namespaces[1].type: unknown variant `moon`")
    );
    let message = refusal(&json!({"ociVersion":"1.3.0","process":{"args":["sh"]}}));
    assert_eq!(message, "process: missing field `cwd`");
}

#[test]
fn a_wrong_memory_policy_has_the_known_words() {
    for (policy, start) in [
        (
            json!({}),
            "linux.memoryPolicy: invalid memory policy mode: missing field `mode`",
        ),
        (
            json!({"mode": "INTERLEAVE"}),
            "linux.memoryPolicy.mode: invalid memory policy mode: unknown variant `INTERLEAVE`",
        ),
        (
            json!({"mode": "MPOL_PREFERRED", "flags": ["badflag"]}),
            "linux.memoryPolicy.flags[0]: invalid memory policy flag: unknown variant `badflag`",
        ),
    ] {
        let message = refusal(&with("linux.memoryPolicy", policy));
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn unknown_fields_are_warnings_with_their_path() {
    assert_eq!(
        warnings(&with("process.colour", json!("red"))),
        ["process.colour: unknown field, ignored"]
    );
    assert_eq!(
        warnings(&with(
            "mounts",
            json!([{"destination":"/a"},{"destination":"/b","flavour":1}])
        )),
        ["mounts[1].flavour: unknown field, ignored"]
    );
    assert_eq!(
        warnings(&with("linux.netDevices", json!({"eth0":{"x":1}}))),
        ["linux.netDevices.eth0.x: unknown field, ignored"]
    );
    assert_eq!(
        warnings(&with("windows", json!({"x":1}))),
        ["windows: section of another platform, ignored"]
    );
    // Fields that only oci-spec knows stay unknown.
    assert_eq!(
        warnings(&with("uidMappings", json!([]))),
        ["uidMappings: unknown field, ignored"]
    );
}

#[test]
fn names_in_another_case_are_known_and_told() {
    let document = with("linux.resources.CPU", json!({"Cpus": "0", "shares": 5, "x": 1}));
    assert_eq!(
        warnings(&document),
        [
            "linux.resources.CPU: the field is spelled \"cpu\"",
            "linux.resources.cpu.x: unknown field, ignored",
            "linux.resources.cpu.Cpus: the field is spelled \"cpus\"",
        ]
    );
    let resources = |document: &Value| {
        load(document)
            .unwrap()
            .spec
            .linux()
            .clone()
            .unwrap()
            .resources()
            .clone()
            .unwrap()
    };
    let cpu = resources(&document).cpu().clone().unwrap();
    assert_eq!((cpu.cpus().as_deref(), cpu.shares()), (Some("0"), Some(5)));
    // The right spelling has the last word, and objects come together.
    let mut document = with("linux.resources.cpu", json!({"shares": 7}));
    document["linux"]["resources"]["CPU"] = json!({"shares": 9, "quota": 3});
    document["linux"]["resources"]["hugepageLimits"] = json!([{"pagesize": "2MB", "limit": 1}]);
    let resources = resources(&document);
    let cpu = resources.cpu().clone().unwrap();
    assert_eq!((cpu.shares(), cpu.quota()), (Some(7), Some(3)));
    assert_eq!(
        resources.hugepage_limits().as_ref().unwrap()[0].page_size(),
        "2MB"
    );
}

#[test]
fn unknown_capabilities_are_warnings_and_the_known_ones_stay() {
    let document = with(
        "process.capabilities.bounding",
        json!(["CAP_CHOWN", "CAP_FLY", "kill", 3]),
    );
    assert!(refusal(&document).starts_with("process.capabilities.bounding[2]: invalid type: integer `3`"));
    let document = with(
        "process.capabilities.bounding",
        json!(["CAP_CHOWN", "CAP_FLY", "kill"]),
    );
    let loaded = load(&document).unwrap();
    let sets = loaded
        .spec
        .process()
        .as_ref()
        .unwrap()
        .capabilities()
        .as_ref()
        .unwrap();
    assert_eq!(
        super::super::capability::mask(sets.bounding().as_ref().unwrap()),
        1 | 1 << 5
    );
    assert_eq!(
        loaded.warnings[0].to_string(),
        "process.capabilities.bounding[1]: unknown capability \"CAP_FLY\", ignored"
    );
}

#[test]
fn null_and_empty_text_mean_absence() {
    let loaded = load(&with("linux", json!({
        "timeOffsets": null, "cgroupsPath": "", "rootfsPropagation": "",
        "namespaces": [{"type":"pid","path":""}],
        "resources": {"pids": {}, "devices": [{"allow": false, "type": "", "major": null, "access": "rwm"}]},
    })))
    .unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let linux = loaded.spec.linux().as_ref().unwrap();
    assert!(linux.time_offsets().is_none() && linux.cgroups_path().is_none());
    assert!(linux.rootfs_propagation().is_none());
    assert!(linux.namespaces().as_ref().unwrap()[0].path().is_none());
    let resources = linux.resources().as_ref().unwrap();
    assert!(
        resources.pids().is_none(),
        "an empty pids object sets no limit of 0"
    );
    assert!(resources.devices().as_ref().unwrap()[0].typ().is_none());
}

/// The spellings that the types have differently must not cost a value.
#[test]
fn nothing_of_runtime_spec_1_3_is_lost() {
    let full: Value = serde_json::from_str(include_str!("full.json")).unwrap();
    let loaded = load(&full).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let mut written = serde_json::to_string(&loaded.spec).unwrap();
    for (theirs, right) in [
        ("enableCmt", "enableCMT"),
        ("enableMbm", "enableMBM"),
        ("SCHED_RESET_ON_FORK", "SCHED_FLAG_RESET_ON_FORK"),
        ("SCHED_FLAG_D_L_OVERRUN", "SCHED_FLAG_DL_OVERRUN"),
    ] {
        assert!(
            written.contains(theirs),
            "{theirs} is spelled right by now: drop the bridge"
        );
        written = written.replace(theirs, right);
    }
    let written: Value = serde_json::from_str(&written).unwrap();
    compare("", &full, &written);
}

/// `written` holds all of `read`; capability sets have no order.
fn compare(path: &str, read: &Value, written: &Value) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            for (name, value) in read {
                let path = format!("{path}.{name}");
                compare(
                    &path,
                    value,
                    written.get(name).unwrap_or_else(|| panic!("{path} is lost")),
                );
            }
        }
        (Value::Array(read), Value::Array(written)) if path.starts_with(".process.capabilities") => {
            assert_eq!(read.len(), written.len(), "{path}");
            assert!(read.iter().all(|item| written.contains(item)), "{path}");
        }
        (Value::Array(read), Value::Array(written)) => {
            assert_eq!(read.len(), written.len(), "{path}");
            for (index, (read, written)) in read.iter().zip(written).enumerate() {
                compare(&format!("{path}[{index}]"), read, written);
            }
        }
        _ => assert_eq!(read, written, "{path}"),
    }
}

#[test]
fn amounts_beyond_the_signed_range_are_capped_with_a_warning() {
    let document = with(
        "linux.resources.hugepageLimits",
        json!([{"pageSize":"2MB","limit":u64::MAX}]),
    );
    assert_eq!(
        warnings(&document),
        ["linux.resources.hugepageLimits[0].limit: 18446744073709551615 is read as 9223372036854775807"]
    );
}

#[test]
fn cpu_lists_may_have_blanks_and_may_be_empty() {
    let loaded = load(&with(
        "process.execCPUAffinity",
        json!({"initial":"0-3, 7","final":""}),
    ))
    .unwrap();
    let affinity = loaded
        .spec
        .process()
        .as_ref()
        .unwrap()
        .exec_cpu_affinity()
        .clone()
        .unwrap();
    assert_eq!(affinity.initial().as_deref(), Some("0-3,7"));
    assert_eq!(affinity.cpu_affinity_final().as_deref(), None);
    assert!(
        refusal(&with("process.execCPUAffinity", json!({"initial":"a"})))
            .starts_with("process.execCPUAffinity.initial: ")
    );
}

#[test]
fn processes_and_resources_load_alone() {
    let process =
        LoadedProcess::from_slice(br#"{"cwd":"/","args":["id"],"tint":1}"#, "process.json").unwrap();
    assert_eq!(
        process.warnings[0].to_string(),
        "process.tint: unknown field, ignored"
    );
    assert_eq!(process.process.user().uid(), 0);
    let error = LoadedProcess::from_slice(br#"{"args":["id"]}"#, "process.json").unwrap_err();
    assert_eq!(error.to_string(), "process: missing field `cwd`");
    let limits = br#"{"memory":{"limit":1},"pids":{"limit":0},"rdma":{"mlx5_1":{"hcaHandles":3}}}"#;
    let limits = LoadedResources::from_slice(limits, "-").unwrap().resources;
    assert_eq!(limits.pids().unwrap().limit(), 0);
    assert_eq!(limits.rdma().as_ref().unwrap()["mlx5_1"].hca_handles(), Some(3));
    let error = LoadedResources::from_slice(br#"{"cpu":{"shares":"x"}}"#, "-").unwrap_err();
    assert_eq!(error.field(), Some("linux.resources.cpu.shares"));
}

/// A directory that goes away with the test.
struct Bundle(std::path::PathBuf);

impl Bundle {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("spec-load-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_file_is_looked_for_in_the_bundle() {
    let bundle = Bundle::new("found");
    let error = LoadedSpec::from_bundle(&bundle.0, "config.json").unwrap_err();
    assert_eq!(error.to_string(), "JSON specification file config.json not found");
    std::fs::write(bundle.0.join("config.json"), MINIMAL).unwrap();
    assert_eq!(
        LoadedSpec::from_bundle(&bundle.0, "config.json")
            .unwrap()
            .spec
            .version(),
        "1.3.0"
    );
}

#[test]
fn only_regular_files_of_a_bounded_size_are_read() {
    let bundle = Bundle::new("bounds");
    let path = bundle.0.join("config.json");
    let message = || {
        LoadedSpec::from_bundle(&bundle.0, "config.json")
            .unwrap_err()
            .to_string()
    };
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        message().ends_with("config.json is not a regular file"),
        "a FIFO must not block: {}",
        message()
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(message().ends_with("is not a regular file"));
    std::fs::remove_dir(&path).unwrap();
    std::fs::File::create(&path)
        .unwrap()
        .set_len(MAX_CONFIG_BYTES + 1)
        .unwrap();
    assert!(message().ends_with("is larger than 16777216 bytes"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = LoadedSpec::from_slice(&bytes, "config.json");
    }

    /// Bytes of a document with every field are overwritten, cut and repeated.
    #[test]
    fn mutated_documents_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        keep_whole in any::<bool>(),
    ) {
        let mut bytes = include_bytes!("full.json").to_vec();
        for (index, byte) in edits {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if !keep_whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(loaded) = LoadedSpec::from_slice(&bytes, "config.json") {
            let _ = super::super::check(&loaded);
        }
    }

    /// One leaf or subtree of the document is exchanged for a value of another type.
    #[test]
    fn exchanged_values_never_panic(steps in proptest::collection::vec(any::<prop::sample::Index>(), 1..6), which in 0..9usize) {
        let mut document: Value = serde_json::from_str(include_str!("full.json")).unwrap();
        let mut pointer = String::new();
        for step in steps {
            match document.pointer(&pointer).unwrap() {
                Value::Object(map) if !map.is_empty() => {
                    let name = map.keys().nth(step.index(map.len())).unwrap();
                    pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                }
                Value::Array(items) if !items.is_empty() => {
                    pointer = format!("{pointer}/{}", step.index(items.len()));
                }
                _ => break,
            }
        }
        *document.pointer_mut(&pointer).unwrap() = [
            json!(null), json!(""), json!("\0"), json!(-1), json!(u64::MAX), json!(0.5), json!([]), json!({}), json!(true),
        ][which].clone();
        if let Ok(loaded) = load(&document) {
            let _ = super::super::check(&loaded);
        }
    }
}
