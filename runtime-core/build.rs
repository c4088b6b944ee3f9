//! Builds init, the freestanding program of `init/`, and refuses one that is not what the design asks for.
//!
//! init has no manifest of its own: a second package below this one would be left out of what `cargo package` puts
//! into the crate. So rustc is called directly, twice: for the byte format (the same sources as the dependency of that
//! name, without std and writer) and for init itself. The result is embedded by `src/init_image.rs`.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// The most that init may weigh, in bytes; every container's start copies and seals it.
const MAX_INIT: usize = 128 * 1024;

/// The lints of the workspace, which does not reach code outside cargo's packages.
const LINTS: &[&str] = &[
    "-Wclippy::all",
    "-Wclippy::undocumented_unsafe_blocks",
    "-Wclippy::cast_possible_truncation",
    "-Wclippy::cast_sign_loss",
    "-Wclippy::cast_possible_wrap",
    "-Wclippy::cast_lossless",
    "-Wclippy::allow_attributes_without_reason",
    "-Wclippy::unwrap_used",
    "-Wclippy::expect_used",
    "-Wclippy::panic",
    "-Wclippy::indexing_slicing",
    "-Wclippy::mem_forget",
    "-Wclippy::todo",
    "-Wunsafe_op_in_unsafe_fn",
    "-Wunreachable_pub",
    "-Dwarnings",
];

fn main() -> Outcome {
    let init = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("init");
    let source = init.join("src/main.rs");
    let format = PathBuf::from(variable("DEP_RUNTIME_CORE_PROGRAM_SRC")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", init.display());
    let format_dir = format.parent().ok_or("the format's source has no folder")?;
    println!("cargo::rerun-if-changed={}", format_dir.display());
    println!("cargo::rerun-if-env-changed=RUSTC_WORKSPACE_WRAPPER");

    let library = out.join("libruntime_core_program.rlib");
    let image = out.join("init");
    let rustc = variable("RUSTC")?;
    run(compile(&rustc, "runtime_core_program", &format)?
        .args(["--crate-type=rlib", "--cap-lints=allow", "-o"])
        .arg(&library))?;
    let with_format = || -> Outcome<OsString> {
        let mut name = OsString::from("runtime_core_program=");
        name.push(&library);
        Ok(name)
    };
    if let Some(clippy) = env::var_os("RUSTC_WORKSPACE_WRAPPER").filter(|path| is_clippy(path.as_ref())) {
        let mut lint = Command::new(clippy);
        lint.arg(&rustc);
        configure(&mut lint, "init", &source)?;
        run(lint
            .args(LINTS)
            .args(["--crate-type=bin", "--emit=metadata", "--extern"])
            .arg(with_format()?)
            .arg("-o")
            .arg(out.join("init.rmeta")))?;
    }
    let mut build = compile(&rustc, "init", &source)?;
    build.args(["--crate-type=bin", "--extern"]).arg(with_format()?);
    build
        .args(["-Clto=fat", "-Cstrip=symbols", "-Crelocation-model=static", "-o"])
        .arg(&image);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut option = OsString::from("-Clinker=");
        option.push(linker);
        build.arg(option);
    }
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,noexecstack",
    ] {
        build.arg(format!("-Clink-arg={argument}"));
    }
    run(&mut build)?;
    check(&std::fs::read(&image)?)?;
    println!("cargo::rustc-env=RUNTIME_CORE_INIT={}", image.display());
    Ok(())
}

fn variable(name: &str) -> Outcome<OsString> {
    env::var_os(name).ok_or_else(|| format!("cargo did not set {name}").into())
}

fn is_clippy(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name == "clippy-driver")
}

fn compile(rustc: &OsString, name: &str, source: &Path) -> Outcome<Command> {
    let mut command = Command::new(rustc);
    configure(&mut command, name, source)?;
    Ok(command)
}

/// The options that both crates and the lint share. Overflow checks stay on: a wrong sum must end init, not go on.
fn configure(command: &mut Command, name: &str, source: &Path) -> Outcome {
    command.args(["--edition=2024", "--crate-name", name]).arg(source);
    command.arg("--target").arg(variable("TARGET")?);
    command.args([
        "-Cpanic=abort",
        "-Copt-level=s",
        "-Ccodegen-units=1",
        "-Coverflow-checks=on",
    ]);
    command.args(["-Cforce-unwind-tables=no", "-Cdebuginfo=0"]);
    // The wrapper and flags of cargo's own crates have no say here: init is built the same way for every profile.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ok(())
}

fn run(command: &mut Command) -> Outcome {
    let status = command
        .status()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}").into())
    }
}

/// Checks that the image is small, static, not executable where it is writable, and needs no loader or relocation.
fn check(image: &[u8]) -> Outcome {
    if image.len() > MAX_INIT {
        return Err(format!("init has {} bytes, more than {MAX_INIT}", image.len()).into());
    }
    if image.get(..6) != Some(b"\x7fELF\x02\x01") || number(image, 16, 2)? != 2 {
        return Err("init is not a little-endian 64-bit ELF of fixed address (ET_EXEC)".into());
    }
    let (table, size, count) = (
        number(image, 32, 8)?,
        number(image, 54, 2)?,
        number(image, 56, 2)?,
    );
    let mut stack = false;
    for header in (0..count).map(|at| table + at * size) {
        let (kind, flags) = (number(image, header, 4)?, number(image, header + 4, 4)?);
        match kind {
            2 => return Err("init has a dynamic section, that is relocations or libraries".into()),
            3 => return Err("init asks for an interpreter".into()),
            0x6474_e551 => stack = true,
            _ => {}
        }
        if flags & 3 == 3 {
            return Err("init has a segment (or stack) that is writable and executable".into());
        }
    }
    if !stack {
        return Err("init does not say that its stack is not executable".into());
    }
    let (table, size, count) = (
        number(image, 40, 8)?,
        number(image, 58, 2)?,
        number(image, 60, 2)?,
    );
    for header in (0..count).map(|at| table + at * size) {
        if matches!(number(image, header + 4, 4)?, 4 | 9) {
            return Err("init has relocations that nobody would process".into());
        }
    }
    Ok(())
}

fn number(image: &[u8], at: usize, bytes: usize) -> Outcome<usize> {
    let slice = image
        .get(at..at + bytes)
        .ok_or("init's ELF header points outside the file")?;
    Ok(slice
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | usize::from(byte)))
}
