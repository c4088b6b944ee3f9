//! `update`: changes limits of a container.
//!
//! The flags are one table of name, type and place in linux.resources: each makes a member of the same JSON document that
//! --resources takes, so that both ways go through the same reader and the same checks.

use std::io::Read;

use runtime_core::spec::LoadedResources;
use runtime_core::{Error, ErrorKind, Result, UpdateRequest};
use serde_json::{Map, Value};

use crate::amounts;
use crate::args::{Command, Flag, Matches, bad_value};
use crate::fail::Outcome;
use crate::session::Session;

/// The largest text that is read; a configuration may have as much.
const MAX_BYTES: u64 = 16 << 20;

const FLAGS: &[Flag] = &[
    Flag::option(
        "resources",
        "FILE",
        "read the limits from this file, or from standard input (-), as JSON; the other options do not count then",
    )
    .short('r'),
    Flag::option("blkio-weight", "WEIGHT", "share of block I/O, 10 to 1000"),
    Flag::option("cpu-period", "MICROSECONDS", "period of the CPU limit"),
    Flag::option("cpu-quota", "MICROSECONDS", "CPU time in each period; -1: no limit"),
    Flag::option("cpu-burst", "MICROSECONDS", "CPU time that may be saved up for later periods"),
    Flag::option("cpu-share", "SHARES", "weight against other containers"),
    Flag::option("cpu-rt-period", "MICROSECONDS", "period of the limit for realtime scheduling"),
    Flag::option("cpu-rt-runtime", "MICROSECONDS", "realtime CPU time in each period"),
    Flag::option("cpuset-cpus", "LIST", "CPUs to use, as 0-3,7"),
    Flag::option("cpuset-mems", "LIST", "memory nodes to use"),
    Flag::option("kernel-memory", "BYTES", "obsolete, without effect").hidden(),
    Flag::option("kernel-memory-tcp", "BYTES", "obsolete, without effect").hidden(),
    Flag::option("memory", "BYTES", "memory limit; -1: none"),
    Flag::option("cpu-idle", "0|1", "1: only run when nothing else wants the CPU"),
    Flag::option("memory-reservation", "BYTES", "memory that is kept when it becomes scarce"),
    Flag::option("memory-swap", "BYTES", "limit of memory and swap together; -1: none"),
    Flag::option("pids-limit", "NUMBER", "most processes and threads; -1: no limit"),
    Flag::option("l3-cache-schema", "SCHEMA", "Intel RDT schema of the L3 cache"),
    Flag::option("mem-bw-schema", "SCHEMA", "Intel RDT schema of the memory bandwidth"),
];

pub(crate) const COMMAND: Command = Command {
    name: "update",
    about: "change limits of a container",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   What is not named stays as it is, and so does everything where one of the changes is refused. BYTES may have a\n   \
           unit: k, m, g, t. The JSON is like linux.resources of a configuration; device rules in it are not looked at:\n   \
           {\"memory\": {\"limit\": 67108864, \"checkBeforeUpdate\": true}, \"cpu\": {\"quota\": 50000}, \"pids\": {\"limit\": 100}}",
    flags: FLAGS,
    run,
};

/// How a flag's value is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// As it is.
    Text,
    /// A number that may be negative.
    Signed,
    /// A number that may not.
    Unsigned,
    /// A number of bytes with a unit, or -1.
    Bytes,
}

/// Flag, section and member of linux.resources, type.
const PLACES: &[(&str, &str, &str, Kind)] = &[
    ("blkio-weight", "blockIO", "weight", Kind::Unsigned),
    ("cpu-period", "cpu", "period", Kind::Unsigned),
    ("cpu-quota", "cpu", "quota", Kind::Signed),
    ("cpu-burst", "cpu", "burst", Kind::Unsigned),
    ("cpu-share", "cpu", "shares", Kind::Unsigned),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Unsigned),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Signed),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("cpu-idle", "cpu", "idle", Kind::Signed),
    ("memory", "memory", "limit", Kind::Bytes),
    ("memory-reservation", "memory", "reservation", Kind::Bytes),
    ("memory-swap", "memory", "swap", Kind::Bytes),
    ("kernel-memory", "memory", "kernel", Kind::Bytes),
    ("kernel-memory-tcp", "memory", "kernelTCP", Kind::Bytes),
    ("pids-limit", "pids", "limit", Kind::Signed),
];

fn run(session: &Session, matches: &Matches) -> Outcome {
    let mut container = session.container(&matches.id()?)?;
    let loaded = match matches.text("resources")? {
        Some(place) => from_place(place)?,
        None => LoadedResources::from_slice(document(matches)?.to_string().as_bytes(), "the options")
            .map_err(|error| with_flag(matches, error))?,
    };
    let schema = |flag| Ok::<_, Error>(matches.text(flag)?.map(str::to_owned));
    let mut request = UpdateRequest::new(loaded.resources);
    request.l3_cache_schema = schema("l3-cache-schema")?;
    request.mem_bw_schema = schema("mem-bw-schema")?;
    let warnings = container
        .update(&request)
        .map_err(|error| with_flag(matches, error))?;
    for warning in loaded.warnings.iter().chain(&warnings) {
        session.log.warn(format_args!("{warning}"));
    }
    Ok(0)
}

/// Puts the option that was typed before an error about its field.
fn with_flag(matches: &Matches, error: Error) -> Error {
    let field = error.field().unwrap_or_default().to_owned();
    let schemata = [
        ("l3-cache-schema", "linux.intelRdt.l3CacheSchema".to_owned()),
        ("mem-bw-schema", "linux.intelRdt.memBwSchema".to_owned()),
    ];
    // Beside a file the other options do not count.
    let from_file = matches.value("resources").is_some();
    let limits = PLACES
        .iter()
        .filter(|_| !from_file)
        .map(|(flag, section, member, _)| (*flag, format!("linux.resources.{section}.{member}")));
    let flag = limits
        .chain(schemata)
        .find(|(flag, place)| *place == field && matches.value(flag).is_some());
    match flag {
        Some((flag, _)) => error.context(format!("--{flag}")),
        None => error,
    }
}

/// The document that a file or standard input holds.
fn from_place(place: &str) -> Result<LoadedResources> {
    let mut bytes = Vec::new();
    let read = match place {
        "-" => std::io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|error| Error::os(format!("read({place:?})"), error).context("--resources"))?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("--resources {place:?}: more than {MAX_BYTES} bytes");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    LoadedResources::from_slice(&bytes, place)
}

/// The document that the flags come to.
fn document(matches: &Matches) -> Result<Value> {
    let mut document = Map::new();
    for (flag, section, member, kind) in PLACES {
        let Some(text) = matches.text(flag)? else { continue };
        let value = value(*kind, text).ok_or_else(|| {
            let allowed = match kind {
                Kind::Text => "text",
                Kind::Signed => "a number",
                Kind::Unsigned => "a number that is not negative",
                Kind::Bytes => "a number of bytes, with a unit (k, m, g, t) or without, and -1",
            };
            bad_value(flag, text.as_ref(), allowed)
        })?;
        let section = document.entry(*section).or_insert_with(|| Map::new().into());
        if let Value::Object(section) = section {
            section.insert((*member).to_owned(), value);
        }
    }
    Ok(document.into())
}

fn value(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Text => Some(text.into()),
        Kind::Signed => text.parse::<i64>().ok().map(Value::from),
        Kind::Unsigned => text.parse::<u64>().ok().map(Value::from),
        Kind::Bytes if text == "-1" => Some((-1).into()),
        Kind::Bytes => amounts::bytes(text).map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_but_those_of_another_kind_has_a_place() {
        for flag in FLAGS {
            let elsewhere = ["resources", "l3-cache-schema", "mem-bw-schema"].contains(&flag.long);
            let places = PLACES.iter().filter(|(name, ..)| *name == flag.long).count();
            assert_eq!(places, usize::from(!elsewhere), "{}", flag.long);
        }
        // Each place is a field of the specification, or the reader would warn.
        for (flag, section, member, kind) in PLACES {
            let value = match kind {
                Kind::Text => Value::from("0"),
                _ => Value::from(1),
            };
            let document = serde_json::json!({*section: {*member: value}}).to_string();
            let loaded = LoadedResources::from_slice(document.as_bytes(), flag).expect("a field");
            assert!(loaded.warnings.is_empty(), "{flag}: {:?}", loaded.warnings);
        }
    }

    #[test]
    fn values_by_kind() {
        assert_eq!(value(Kind::Bytes, "-1"), Some((-1).into()));
        assert_eq!(value(Kind::Bytes, "1k"), Some(1024.into()));
        assert_eq!(value(Kind::Unsigned, "-1"), None);
        assert_eq!(value(Kind::Signed, "-1"), Some((-1).into()));
        assert_eq!(value(Kind::Signed, "1k"), None);
    }
}
