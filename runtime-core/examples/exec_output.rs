//! Runs a program in a running container and keeps what it writes: `exec_output STATE_DIR ID PROGRAM [ARGUMENT...]`.
//!
//! Both pipes are read at the same time: a program that fills one while its reader waits for the other would never end.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows its result"
)]

use std::io::Read;
use std::process::ExitCode;

use runtime_core::spec::LoadedProcess;
use runtime_core::{Container, ExecRequest, Exit, Runtime, Stdio};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What a program wrote and how it ended.
struct Output {
    exit: Exit,
    output: Vec<u8>,
    error: Vec<u8>,
}

fn main() -> Outcome<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, id, program @ ..] = words.as_slice() else {
        return Err("usage: exec_output STATE_DIR ID PROGRAM [ARGUMENT...]".into());
    };
    let container = Runtime::new(root).container(&id.parse()?)?;
    let result = output(&container, program)?;
    println!("{:?}", result.exit);
    println!("standard output, {} bytes:", result.output.len());
    print!("{}", String::from_utf8_lossy(&result.output));
    println!("standard error, {} bytes:", result.error.len());
    print!("{}", String::from_utf8_lossy(&result.error));
    Ok(match result.exit {
        Exit::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        _ => ExitCode::FAILURE,
    })
}

/// As `std::process::Command::output`, in a container. What the description leaves out, such as capabilities and limits,
/// the program has from the container.
fn output(container: &Container, program: &[String]) -> Outcome<Output> {
    let description = json!({
        "args": program,
        "cwd": "/",
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
    });
    let process = LoadedProcess::from_slice(description.to_string().as_bytes(), "program")?.process;
    let (mut from_output, output) = std::io::pipe()?;
    let (mut from_error, error) = std::io::pipe()?;
    let mut request = ExecRequest::new(process);
    request.stdio = Stdio {
        input: Some(std::fs::File::open("/dev/null")?.into()),
        output: Some(output.into()),
        error: Some(error.into()),
    };
    // The request owns our ends for writing and is gone when exec returns: the readers see the end of file.
    let running = container.exec(request)?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from_error.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut bytes = Vec::new();
    from_output.read_to_end(&mut bytes)?;
    Ok(Output {
        exit: running.wait()?,
        output: bytes,
        error: reader
            .join()
            .map_err(|_| "the reader of standard error panicked")??,
    })
}
