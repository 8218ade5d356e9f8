//! The program: see [`cli`].

// They panic where standard error cannot be written.
#![warn(clippy::print_stderr)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A fault has been reported, as every panic is: a runtime without memory for its threads panics.
    std::panic::catch_unwind(cli::run).unwrap_or(ExitCode::FAILURE)
}
