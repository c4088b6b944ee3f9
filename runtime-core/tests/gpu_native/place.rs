//! A bundle with a root of its own kind, and a driver beside it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use fixtures::driver::rootfs::{self, Variant};
use fixtures::driver::{Driver, Shape};
use runtime_core::Container;
use runtime_core::gpu::cdi::spec::{ContainerEdits, DeviceNode};
use runtime_core::gpu::driver::{self, Capabilities, Roots};
use runtime_core::gpu::hooks::{CDI_HOOK, NativeHooks};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, sandbox};

pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    pub(crate) driver: Driver,
}

/// A place, or None with the reason on standard error.
pub(crate) fn place(test: &str, shape: Shape, variant: Variant) -> Option<Place> {
    let sandbox = sandbox(test)?;
    let root = sandbox.rootfs();
    fs::remove_dir_all(&root).unwrap();
    let dir = sandbox.dir().join("gpu");
    let made = copy_of(&format!("root-{variant:?}"), &root, |dir| {
        rootfs::build(dir, variant)
    })
    .and_then(|()| {
        copy_of(&format!("driver-{shape:?}"), &dir, |dir| {
            Driver::build(dir, shape, 2).map(drop)
        })
    })
    .and_then(|()| Driver::open(&dir, shape, 2));
    match made {
        Ok(driver) => Some(Place { sandbox, driver }),
        Err(error) => {
            eprintln!("SKIPPED {test}: the fixture cannot be made: {error}");
            None
        }
    }
}

/// A copy of what is made once for each build of this test: a compiler runs some twenty times for a driver.
fn copy_of(name: &str, to: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let built = fs::metadata(std::env::current_exe()?)?.mtime();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gpu-native-{built}"));
    let template = folder.join(name);
    if !template.exists() {
        let new = folder.join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&new)?;
        make(&new)?;
        fs::rename(&new, &template)?;
    }
    let done = Command::new("cp").arg("-a").arg(&template).arg(to).status()?;
    if done.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "cp -a {} ended with {done}",
            template.display()
        )))
    }
}

impl Place {
    pub(crate) fn found(&self) -> driver::Driver {
        let roots = Roots {
            driver_root: Some(self.driver.root()),
            dev_root: Some(self.driver.dev_root()),
            proc_root: self.driver.proc_root(),
            sysfs_root: self.driver.sysfs_root(),
        };
        driver::discover(&roots).unwrap().unwrap()
    }

    /// A configuration without a GPU.
    pub(crate) fn config(&self, args: &[&str]) -> Value {
        let mut config = self.sandbox.config("one", args);
        for set in ["bounding", "effective", "permitted"] {
            let list = config["process"]["capabilities"][set].as_array_mut().unwrap();
            list.extend(["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_FOWNER"].map(Value::from));
        }
        config
    }

    /// One with the first GPU.
    pub(crate) fn gpu_config(&self, args: &[&str]) -> Value {
        self.gpu_config_of("0", args)
    }

    /// One with this GPU: edits and hooks of the plain driver, in the form of config.json.
    pub(crate) fn gpu_config_of(&self, name: &str, args: &[&str]) -> Value {
        let got = self.found().edits(&[name], Capabilities::ALL).unwrap();
        let mut config = self.config(args);
        apply(&mut config, &got.edits);
        let hooks = got.native.iter().map(|native| native.to_cdi(CDI_HOOK));
        config["hooks"] = json!({"createContainer": hooks
            .map(|hook| json!({"path": hook.path, "args": hook.args, "env": hook.env}))
            .collect::<Vec<_>>()});
        config
    }

    /// Runs the program to its end and gives what it printed.
    pub(crate) fn run(&self, config: &Value) -> String {
        self.run_with(config, |_| {})
    }

    /// The same with a look at the container before it starts.
    pub(crate) fn run_with(&self, config: &Value, look: impl FnOnce(&Container)) -> String {
        self.run_as(config, NativeHooks::On, look)
    }

    pub(crate) fn run_as(&self, config: &Value, hooks: NativeHooks, look: impl FnOnce(&Container)) -> String {
        let mut container = self.create(config, hooks).unwrap();
        look(&container);
        container.start().unwrap();
        container.wait().unwrap();
        let id = container.id().clone();
        drop(container);
        self.sandbox.runtime().delete(&id, false).unwrap();
        fs::read_to_string(self.printed()).unwrap()
    }

    pub(crate) fn create(&self, config: &Value, hooks: NativeHooks) -> runtime_core::Result<Container> {
        // Real hooks read it; the library does not.
        put(&self.sandbox.bundle().join("config.json"), config.to_string());
        let mut request = self.sandbox.request("one", config);
        // The fixture's procfs instead of the host's.
        request.gpu.params = fs::read_to_string(self.driver.proc_root().join("driver/nvidia/params")).ok();
        request.gpu.native_hooks = hooks;
        let file = File::create(self.printed()).unwrap();
        request.stdio.output = Some(file.try_clone().unwrap().into());
        request.stdio.error = Some(file.into());
        request.stdio.input = Some(File::open("/dev/null").unwrap().into());
        self.sandbox.runtime().create(request)
    }

    fn printed(&self) -> std::path::PathBuf {
        self.sandbox.dir().join("printed")
    }
}

fn apply(config: &mut Value, edits: &ContainerEdits) {
    let mounts = config["mounts"].as_array_mut().unwrap();
    for mount in &edits.mounts {
        mounts.push(
            json!({"destination": mount.container_path, "source": mount.host_path, "type": "bind",
            "options": mount.options}),
        );
    }
    let env = config["process"]["env"].as_array_mut().unwrap();
    env.extend(edits.env.iter().map(|entry| Value::from(entry.as_str())));
    let devices: Vec<Value> = edits.device_nodes.iter().map(device).collect();
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    rules.extend(edits.device_nodes.iter().map(|node| {
        json!({"allow": true, "type": "c", "major": node.major, "minor": node.minor, "access": node.permissions})
    }));
    config["linux"]["devices"] = devices.into();
    config["linux"]["resources"] = json!({"devices": rules});
}

fn device(node: &DeviceNode) -> Value {
    json!({"path": node.path, "type": "c", "major": node.major, "minor": node.minor, "fileMode": node.file_mode,
        "uid": 0, "gid": 0})
}

/// A file with what is above it.
pub(crate) fn put(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}
