//! `gpu`: the devices of vendors that containers can get on this host, and CDI files for engines that need them.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use runtime_core::gpu::hooks::CDI_HOOK;
use runtime_core::gpu::{NVIDIA_GPU, Offer, Offers, generate, offers};
use runtime_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::{Command, Flag, Matches};
use crate::cmd::device;
use crate::fail::Outcome;
use crate::output::out;
use crate::session::Session;

pub(crate) const COMMAND: Command = Command {
    name: "gpu",
    about: "show the GPUs that containers can get, or write a CDI file of them",
    words: "list | cdi generate",
    min: 1,
    max: 2,
    first_word_ends_options: false,
    failure: 1,
    text: "   list shows each name that --device takes, the nodes that it brings, and who answers: a CDI file, or the\n   \
           driver on this host; then what cannot be used, with the reason.\n   \
           cdi generate writes a CDI file (JSON) of the driver on this host, for other engines.",
    flags: &[
        Flag::option("format", "FORMAT", "of list: table or json (default: table)")
            .choices(&["table", "json"])
            .short('f'),
        Flag::option(
            "kind",
            "KIND",
            "of cdi generate: whose devices (default: nvidia.com/gpu)",
        ),
        Flag::option(
            "hook",
            "FILE",
            "of cdi generate: NVIDIA's nvidia-cdi-hook where the file is used (default: /usr/bin/nvidia-cdi-hook)",
        ),
        Flag::option(
            "output",
            "FILE",
            "of cdi generate: write to this file, in one step (default: standard output)",
        )
        .short('o'),
        device::CDI_SPEC_DIR,
        device::GPU_CONFIG,
    ],
    run,
};

fn run(_session: &Session, matches: &Matches) -> Outcome {
    let words: Vec<_> = matches
        .words()
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        ["list"] => list(matches)?,
        ["cdi", "generate"] => cdi_generate(matches)?,
        _ => {
            let message = format!(
                "unknown gpu command {:?}: allowed: list, cdi generate",
                words.join(" ")
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message).into());
        }
    }
    Ok(0)
}

fn list(matches: &Matches) -> Result<()> {
    let as_json = matches.choice("format", false, &[("table", false), ("json", true)])?;
    let found = offers(&device::request(matches)?);
    if as_json {
        out(&format!("{:#}\n", json!(found)));
    } else {
        out(&table(&found));
    }
    Ok(())
}

fn table(found: &Offers) -> String {
    let mut rows = vec![["NAME", "NODES", "ANSWERED BY"].map(str::to_owned)];
    rows.extend(found.devices.iter().map(|offer| row(offer, found)));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (names, nodes) = (width(0), width(1));
    let mut text: String = rows
        .iter()
        .map(|[name, node, by]| format!("{name:names$}  {node:nodes$}  {by}\n"))
        .collect();
    for fault in &found.faults {
        text.push_str(&format!("not used: {fault}\n"));
    }
    for problem in &found.problems {
        text.push_str(&format!("driver: {problem}\n"));
    }
    text
}

fn row(offer: &Offer, found: &Offers) -> [String; 3] {
    let by = match (&offer.file, &found.driver) {
        (Some(file), _) => file.display().to_string(),
        (None, Some((root, version))) if offer.name.starts_with(NVIDIA_GPU) => {
            format!("driver {version} in {}", root.display())
        }
        (None, _) => "the kernel's driver".to_owned(),
    };
    let nodes = match offer.nodes.as_slice() {
        [] => "-".to_owned(),
        nodes => nodes.join(","),
    };
    [offer.name.clone(), nodes, by]
}

fn cdi_generate(matches: &Matches) -> Result<()> {
    let roots = device::request(matches)?.config.roots();
    let kind = matches.text("kind")?.unwrap_or(NVIDIA_GPU);
    let hook = matches.text("hook")?.unwrap_or(CDI_HOOK);
    let text = format!("{:#}\n", json!(generate(kind, &roots, hook)?));
    match matches.path("output") {
        Some(path) => write(&path, &text),
        None => {
            out(&text);
            Ok(())
        }
    }
}

/// Other engines may read the directory at any moment: they see the old file or the new one.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Error::os(format!("write({path:?})"), error)
    })
}
