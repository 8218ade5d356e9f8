//! The program: see [`cli`].

// They panic where standard error cannot be written.
#![warn(clippy::print_stderr)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
