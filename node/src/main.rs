//! Entry point.

use std::process::ExitCode;

fn main() -> ExitCode {
    keymesh::cli::main()
}
