//! `keymesh-agent`: the instance's command line. What the commands do is in the library; see [`cli`] for their words.

mod cli;
mod commands;

use std::process::ExitCode;

fn main() -> ExitCode {
    let hardening = keymesh_wire::hardening::harden();
    if !hardening.is_complete() {
        eprintln!("warning: this process is not fully protected: {hardening}");
    }
    cli::run()
}
