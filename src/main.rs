//! The program `micro`.

use std::process::ExitCode;

fn main() -> ExitCode {
    micro::main()
}
