use oci_spec::runtime::HookBuilder;

use super::*;

fn hook(path: &str, args: &[&str]) -> Option<NativeHook> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let hook = HookBuilder::default().path(path).args(args).build().unwrap();
    NativeHook::recognise(&hook)
}

fn link(target: &str, path: &str) -> Link {
    Link {
        target: target.to_owned(),
        path: path.to_owned(),
    }
}

#[test]
fn both_programs_and_both_forms_of_options_are_known() {
    let expected = Some(NativeHook::Links(vec![
        link("libcuda.so.1", "/usr/lib64/libcuda.so"),
        link("../a", "/b"),
    ]));
    let args = [
        "x",
        "create-symlinks",
        "--link",
        "libcuda.so.1::/usr/lib64//libcuda.so",
        "--link=../a::/b",
    ];
    assert_eq!(hook("/usr/bin/nvidia-cdi-hook", &args), expected);
    let args = [
        "nvidia-ctk",
        "hook",
        "create-symlinks",
        "--link",
        "libcuda.so.1::/usr/lib64/libcuda.so",
        "--link=../a::/b",
        "--link=../a::/./b",
    ];
    assert_eq!(hook("/opt/nvidia-ctk", &args), expected);
}

#[test]
fn what_is_not_understood_is_left_to_the_program() {
    let program = "/usr/bin/nvidia-cdi-hook";
    for args in [
        &["nvidia-cdi-hook"][..],
        &["nvidia-cdi-hook", "hook", "create-symlinks", "--link", "a::/b"],
        &["nvidia-cdi-hook", "create-symlinks"],
        &["nvidia-cdi-hook", "create-symlinks", "--link"],
        &["nvidia-cdi-hook", "create-symlinks", "--link", "a:/b"],
        &["nvidia-cdi-hook", "create-symlinks", "--link", "a::b"],
        &["nvidia-cdi-hook", "create-symlinks", "--link", "a::/../b"],
        &["nvidia-cdi-hook", "create-symlinks", "--link", "a::/b,c::/d"],
        &["nvidia-cdi-hook", "create-symlinks", "--link", "a::/b::/c"],
        &[
            "nvidia-cdi-hook",
            "create-symlinks",
            "--link",
            "a::/b",
            "--new",
            "x",
        ],
        &["nvidia-cdi-hook", "create-symlinks", "-link", "a::/b"],
        &["nvidia-cdi-hook", "create-symlinks", "--link", "a::/b", "rest"],
        &["nvidia-cdi-hook", "update-ldcache", "--folder", "usr/lib"],
        &[
            "nvidia-cdi-hook",
            "update-ldcache",
            "--ldconfig-path",
            "/a",
            "--ldconfig-path",
            "/b",
        ],
        &["nvidia-cdi-hook", "update-ldcache", "--container-spec", "/x"],
        &["nvidia-cdi-hook", "chmod", "--mode", "999", "--path", "/dev"],
        &["nvidia-cdi-hook", "chmod", "--path", "/dev"],
        &["nvidia-cdi-hook", "disable-device-node-modification", "--x=y"],
        &["nvidia-cdi-hook", "something-new"],
    ] {
        assert_eq!(hook(program, args), None, "{args:?}");
    }
    let args = ["nvidia-ctk", "create-symlinks", "--link", "a::/b"];
    assert_eq!(hook("/usr/bin/nvidia-ctk", &args), None);
    assert_eq!(
        hook(
            "/usr/bin/other",
            &["nvidia-cdi-hook", "update-application-profile"]
        ),
        None
    );
}

#[test]
fn what_is_written_for_other_engines_is_read_back_equal() {
    let all = [
        NativeHook::Links(vec![link("a", "/b"), link("../c", "/d/e")]),
        NativeHook::LoaderCache(vec!["/usr/lib64".to_owned(), "/usr/lib64/vdpau".to_owned()]),
        NativeHook::CudaCompat(CudaCompat {
            host_driver: "999.88.77".to_owned(),
            host_cuda: String::new(),
            directory: COMPAT_DIRECTORY.to_owned(),
        }),
        NativeHook::CudaCompat(CudaCompat {
            host_driver: String::new(),
            host_cuda: "13.0".to_owned(),
            directory: "/opt/compat".to_owned(),
        }),
        NativeHook::DeviceParams,
        NativeHook::ApplicationProfile,
        NativeHook::Mode {
            mode: 0o755,
            paths: vec!["/dev/dri".to_owned()],
        },
    ];
    for native in all {
        for program in [CDI_HOOK, "/usr/bin/nvidia-ctk"] {
            let written = native.to_cdi(program);
            let args: Vec<&str> = written.args.iter().map(String::as_str).collect();
            assert_eq!(hook(program, &args), Some(native.clone()), "{args:?}");
        }
    }
}

#[test]
fn only_the_one_parameter_changes() {
    let text = "Mobile: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\n";
    let changed = changed_params(text).unwrap();
    assert_eq!(changed, text.replace("Files: 1", "Files: 0"));
    assert_eq!(changed_params(&changed), None);
    assert_eq!(changed_params("ModifyDeviceFiles: 12\n"), None);
}

#[test]
fn modes_of_the_switch() {
    assert_eq!("verify".parse::<NativeHooks>().unwrap(), NativeHooks::Verify);
    assert!(
        "yes"
            .parse::<NativeHooks>()
            .unwrap_err()
            .to_string()
            .contains("on, off, verify")
    );
}
