//! A running QEMU and the sockets to it: its monitor, the control port and the two ports of the job's output.
//!
//! Lives here: starting a guest, from nothing or from a template's memory, saving one, and its end. Must not live here:
//! what is run in it. A guest ends with this process (`setpriv --pdeathsig`) and with the value.

use super::image::Image;
use super::{Layout, Trouble};
use crate::workspace::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Folders that a job can have; part of a template, since they are devices.
pub(super) const SHARES: usize = 4;
const MEMORY_MIB: u32 = 4096;
const PROCESSORS: u32 = 2;
const KERNEL: &str = "console=ttyS0 quiet loglevel=4 panic=-1 root=/dev/vda net.ifnames=0 mitigations=off nokaslr nowatchdog \
    nosoftlockup no_timer_check tsc=reliable rcupdate.rcu_cpu_stall_suppress=1 random.trust_cpu=on init_on_alloc=0 \
    cryptomgr.notests audit=0 systemd.show_status=0";
const HYBRID: &str = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1";
/// For QEMU to open its sockets; the host may be busy.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How a guest starts.
#[derive(Debug)]
pub(super) enum From<'a> {
    /// Boots, and keeps its disk and memory in this folder.
    Boot(&'a Path),
    /// Goes on from what such a folder holds, and leaves that as it is.
    Template(&'a Path),
}

/// The guest.
#[derive(Debug)]
pub(super) struct Machine {
    process: Child,
    monitor: BufReader<UnixStream>,
    pub(super) control: UnixStream,
    pub(super) output: UnixStream,
    pub(super) errors: UnixStream,
    work: Scratch,
}

/// What makes a template another one.
pub(super) fn description(image: &Image, layout: Layout) -> String {
    let initrd = image.initrd.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "{initrd} {MEMORY_MIB} {PROCESSORS} {SHARES} {}",
        kernel_arguments(layout)
    )
}

fn kernel_arguments(layout: Layout) -> String {
    match layout {
        Layout::Unified => KERNEL.to_owned(),
        Layout::Hybrid => format!("{KERNEL} {HYBRID}"),
    }
}

impl Machine {
    /// Starts it; `shares` are folders of the host, read-only for the guest.
    pub(super) fn start(
        image: &Image,
        layout: Layout,
        from: &From<'_>,
        shares: &[PathBuf],
    ) -> Result<Machine, Trouble> {
        let work = Scratch::new("vm").map_err(Trouble::Broken)?;
        let empty = work.join("empty");
        fs::create_dir(&empty)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nice", "-n", "5"])
            .args(&image.qemu)
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"])
            .args(["-smp", &PROCESSORS.to_string(), "-m", &format!("{MEMORY_MIB}M")])
            .arg("-kernel")
            .arg(image.folder.join("vmlinuz"))
            .arg("-initrd")
            .arg(&image.initrd)
            .args(["-append", &kernel_arguments(layout)])
            .args(["-serial", &format!("file:{}", work.join("console").display())])
            .args(["-device", "vmgenid,guid=auto"])
            .args(storage(from))
            .args(["-device", "virtio-serial-pci"])
            .args(ports(&work));
        for slot in 0..SHARES {
            command.args(share(slot, shares.get(slot).unwrap_or(&empty)));
        }
        if matches!(from, From::Template(_)) {
            command.args(["-incoming", "defer"]);
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Trouble::Absent(format!("setpriv (util-linux) cannot be started: {error}")))?;
        let mut machine = Machine::connect(process, work)?;
        machine.prepare(from)?;
        Ok(machine)
    }

    fn connect(mut process: Child, work: Scratch) -> Result<Machine, Trouble> {
        let deadline = Instant::now() + START_LIMIT;
        let mut open = |name: &str| loop {
            match UnixStream::connect(work.join(name)) {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    if let Some(status) = process.try_wait()? {
                        return Err(Trouble::Broken(format!("QEMU ended with {status} at its start")));
                    }
                    if Instant::now() > deadline {
                        let _ = process.kill();
                        let _ = process.wait();
                        return Err(Trouble::Broken(format!("QEMU opened no socket: {error}")));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        };
        let (monitor, control, output, errors) =
            (open("monitor")?, open("control")?, open("out")?, open("err")?);
        monitor.set_read_timeout(Some(START_LIMIT))?;
        Ok(Machine {
            process,
            monitor: BufReader::new(monitor),
            control,
            output,
            errors,
            work,
        })
    }

    fn prepare(&mut self, from: &From<'_>) -> Result<(), Trouble> {
        let mut greeting = String::new();
        self.monitor.read_line(&mut greeting)?;
        self.order("qmp_capabilities", &json!({}))?;
        // The memory is a file, and no part of what is saved.
        let shared = json!({"capabilities": [{"capability": "x-ignore-shared", "state": true}]});
        self.order("migrate-set-capabilities", &shared)?;
        if let From::Template(folder) = from {
            let state = format!("file:{}", folder.join("state").display());
            self.order("migrate-incoming", &json!({"uri": state}))?;
            while self.order("query-status", &json!({}))?["status"] == "inmigrate" {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.order("cont", &json!({}))?;
        }
        Ok(())
    }

    /// Stops the guest and writes the state of its devices.
    pub(super) fn save(&mut self, path: &Path) -> Result<(), Trouble> {
        self.order("stop", &json!({}))?;
        self.order("migrate", &json!({"uri": format!("file:{}", path.display())}))?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let answer = self.order("query-migrate", &json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    return Err(Trouble::Broken("QEMU could not save the guest".into()));
                }
                _ if Instant::now() > deadline => {
                    return Err(Trouble::Broken("QEMU does not end saving".into()));
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn order(&mut self, name: &str, arguments: &Value) -> Result<Value, Trouble> {
        let line = format!("{}\n", json!({"execute": name, "arguments": arguments}));
        self.monitor.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut line = String::new();
            if self.monitor.read_line(&mut line)? == 0 {
                return Err(Trouble::Broken(format!("QEMU ended at {name}")));
            }
            let mut answer: Value = serde_json::from_str(&line)
                .map_err(|error| Trouble::Broken(format!("QEMU answered {line:?}: {error}")))?;
            if let Some(why) = answer["error"]["desc"].as_str() {
                return Err(Trouble::Broken(format!("QEMU refused {name}: {why}")));
            }
            // Events come in between.
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }

    /// The last lines of the guest's console.
    pub(super) fn console(&self, lines: usize) -> String {
        let bytes = fs::read(self.work.join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Ends the guest at once; who reads from its ports comes to their end.
    pub(super) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn storage(from: &From<'_>) -> Vec<String> {
    let (folder, keep) = match from {
        From::Boot(folder) => (folder, true),
        From::Template(folder) => (folder, false),
    };
    let disk = comma(&folder.join("disk.img"));
    let memory = comma(&folder.join("memory"));
    let (snapshot, share) = if keep { ("off", "on") } else { ("on", "off") };
    [
        "-drive",
        &format!("file={disk},format=raw,if=none,id=disk,cache=unsafe,snapshot={snapshot}"),
        "-device",
        "virtio-blk-pci,drive=disk",
        "-object",
        &format!("memory-backend-file,id=memory,size={MEMORY_MIB}M,mem-path={memory},share={share}"),
        "-machine",
        "pc,memory-backend=memory",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn ports(work: &Scratch) -> Vec<String> {
    let mut words = Vec::new();
    for name in ["monitor", "control", "out", "err"] {
        let socket = format!(
            "socket,id={name},path={},server=on,wait=off",
            comma(&work.join(name))
        );
        words.extend(["-chardev".to_owned(), socket]);
        words.extend(match name {
            "monitor" => ["-mon".to_owned(), "chardev=monitor,mode=control".to_owned()],
            _ => [
                "-device".to_owned(),
                format!("virtserialport,chardev={name},name={name}"),
            ],
        });
    }
    words
}

fn share(slot: usize, folder: &Path) -> [String; 4] {
    let folder = comma(folder);
    [
        "-fsdev".to_owned(),
        format!("local,id=share{slot},path={folder},security_model=none,multidevs=remap,readonly=on"),
        "-device".to_owned(),
        format!("virtio-9p-pci,fsdev=share{slot},mount_tag=share{slot}"),
    ]
}

/// QEMU's way to write a comma in a value.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
