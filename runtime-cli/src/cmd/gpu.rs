//! `gpu`: the devices of vendors that containers can get on this host.

use std::fmt::Write;

use runtime_core::gpu::cdi::spec::ContainerEdits;
use runtime_core::gpu::cdi::{CdiFile, Registry};
use runtime_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::args::{Command, Flag, Matches};
use crate::cmd::device;
use crate::fail::Outcome;
use crate::output::out;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "gpu",
    about: "show the GPUs and other devices that containers can get",
    words: "list",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   list shows each name that --device takes, the nodes that it brings, and who offers it; then the CDI files\n   \
           that cannot be used, with the reason.",
    flags: &[
        Flag::option("format", "FORMAT", "table or json (default: table)")
            .choices(&["table", "json"])
            .short('f'),
        device::CDI_SPEC_DIR,
        device::GPU_CONFIG,
    ],
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    match matches.words() {
        [word] if word == "list" => list(session, matches),
        words => {
            let typed: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let message = format!("unknown gpu command {:?}: allowed: list", typed.join(" "));
            Err(Error::new(ErrorKind::InvalidArgument, message).into())
        }
    }
}

fn list(_session: &Session, matches: &Matches) -> Outcome {
    let as_json = matches.choice("format", false, &[("table", false), ("json", true)])?;
    let registry = Registry::load(device::request(matches)?.dirs());
    if as_json {
        out(&format!("{:#}\n", document(&registry)));
    } else {
        out(&table(&registry)?);
    }
    Ok(0)
}

fn edits_of<'a>(name: &str, file: &'a CdiFile) -> Option<&'a ContainerEdits> {
    let device = file
        .spec
        .devices
        .iter()
        .find(|device| name.ends_with(&format!("={}", device.name)));
    device.map(|device| &device.container_edits)
}

fn document(registry: &Registry) -> Value {
    let devices: Vec<Value> = registry
        .devices()
        .map(|(name, file)| {
            let edits = edits_of(name, file).cloned().unwrap_or_default();
            json!({"name": name, "source": "cdi", "file": file.path, "priority": file.priority, "edits": edits})
        })
        .collect();
    let faults: Vec<Value> = registry
        .faults()
        .iter()
        .map(|fault| json!({"file": fault.path, "message": fault.message}))
        .collect();
    json!({"devices": devices, "faults": faults, "directories": registry.dirs()})
}

fn table(registry: &Registry) -> Result<String> {
    let mut rows = vec![["NAME", "NODES", "OFFERED BY"].map(str::to_owned)];
    for (name, file) in registry.devices() {
        let nodes = edits_of(name, file).map_or_else(String::new, nodes);
        rows.push([name.to_owned(), nodes, file.path.display().to_string()]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (names, nodes) = (width(0), width(1));
    let mut text = String::new();
    let internal = |_| Error::new(ErrorKind::Internal, "writing to memory failed");
    for [name, node, by] in &rows {
        writeln!(text, "{name:names$}  {node:nodes$}  {by}").map_err(internal)?;
    }
    for fault in registry.faults() {
        writeln!(text, "not used: {fault}").map_err(internal)?;
    }
    Ok(text)
}

fn nodes(edits: &ContainerEdits) -> String {
    let paths: Vec<&str> = edits.device_nodes.iter().map(|node| node.path.as_str()).collect();
    match paths.as_slice() {
        [] => "-".to_owned(),
        paths => paths.join(","),
    }
}
