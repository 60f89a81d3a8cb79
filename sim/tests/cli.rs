//! The command line: what it refuses, and with which exit codes.

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keymesh-sim")).args(arguments).output().expect("the program runs")
}

fn refused(arguments: &[&str], says: &str) {
    let output = sim(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert!(errors.contains(says), "{arguments:?}: {errors}");
}

#[test]
fn ranges_that_are_empty_or_no_ranges_are_refused() {
    refused(&["sweep", "--seeds", "5..5"], "larger");
    refused(&["sweep", "--seeds", "5"], "A..B");
    refused(&["sweep"], "--seeds");
}

#[test]
fn unknown_mutants_are_refused_with_the_names_of_those_there_are() {
    refused(&["sweep", "--mutant", "no-such"], "ack-before-fsync");
    refused(&["sweep", "--mutant", "all", "--nodes", "5"], "cannot be used with");
}

#[cfg(not(feature = "mutants"))]
#[test]
fn a_build_without_mutants_says_how_to_build_one_with_them() {
    refused(&["sweep", "--mutant", "all"], "--features mutants");
}

#[test]
fn files_that_are_missing_or_no_traces_are_refused_by_name() {
    let foreign = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for command in ["replay", "explain", "shrink"] {
        refused(&[command, "no-such-file"], "no-such-file");
        refused(&[command, foreign], "line 1: no keymesh trace");
    }
}
