//! The program `containerd-shim-runtime-core-v2`, see the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    shim::main()
}
