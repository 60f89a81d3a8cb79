//! `keymesh-testnet`: the demo, scenarios, and a mesh to play with.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use keymesh_testnet::binaries::Binaries;
use keymesh_testnet::demo::{AGREE, CALM, SHORT, STORY, Sabotage, Scene};
use keymesh_testnet::disturb::Disturber;
use keymesh_testnet::error::TestnetError;
use keymesh_testnet::packages;
use keymesh_testnet::prepared::Prepared;
use keymesh_testnet::process;
use keymesh_testnet::report::{Observed, Runner, Step, StepFailed};
use keymesh_testnet::scenario;
use keymesh_testnet::testnet::Testnet;
use keymesh_testnet::topology::{self, THREE_CLOUDS};

const STATUSES: &str = "\
Exit status:
  0  every step held
  1  a step failed; it is named
  2  the command line is wrong
  3  a program is missing; the message names its package
  5  anything else, and a sabotage that no step noticed

Examples:
  keymesh-testnet list
  keymesh-testnet run provider-only --json provider-only.json
  keymesh-testnet demo
  keymesh-testnet demo --json demo.json --keep
  keymesh-testnet demo --break revoke
  keymesh-testnet up --dir /tmp/mesh";

/// Real keymesh processes on this machine, in three clouds that are loopback addresses.
#[derive(Debug, Parser)]
#[command(name = "keymesh-testnet", version, after_help = STATUSES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Walk through the story: a mesh that releases keys, is cut, revokes, is killed, and is audited
    Demo(Demo),
    /// Start a mesh with a tenant, keys and an enrolled agent, and leave it up until it is interrupted
    Up {
        #[command(flatten)]
        place: Place,
    },
    /// Run a scenario, told step by step as the demo is
    Run(Run),
    /// List the scenarios, one a line
    List {
        /// With the steps of each
        #[arg(long)]
        steps: bool,
    },
}

/// Which scenario, and how to show it.
#[derive(Debug, Args)]
struct Run {
    /// Its name, as `list` shows it
    #[arg(value_name = "NAME")]
    scenario: String,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    place: Place,
}

/// What is left for programs and for work by hand.
#[derive(Debug, Default, Args)]
struct Shown {
    /// Write what was observed as a JSON array, after every step
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the mesh up at the end and say how to go on by hand
    #[arg(long)]
    keep: bool,
}

/// How to show it.
#[derive(Debug, Default, Args)]
struct Demo {
    #[command(flatten)]
    shown: Shown,
    /// Do one thing wrong on purpose (revoke, audit, deny, digest): the demo must fail at the step that notices
    #[arg(long = "break", value_name = "WHAT")]
    sabotage: Option<Sabotage>,
    /// Kill a node every second or so, at moments drawn from SEED, in all steps that do not stop nodes themselves
    #[arg(long, value_name = "SEED", conflicts_with_all = ["sabotage", "keep"])]
    disturb: Option<u64>,
    /// Only the short form of the story
    #[arg(long)]
    short: bool,
    #[command(flatten)]
    place: Place,
}

/// Where things are.
#[derive(Debug, Default, Args)]
struct Place {
    /// The folder for everything; new or empty [default: a temporary one, removed after success]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Take the programs in this folder as they are, instead of building them
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// The folder to remove if somebody interrupts; none if it stays.
static REMOVE: Mutex<Option<PathBuf>> = Mutex::new(None);

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = on_interrupt() {
        eprintln!("keymesh-testnet: interrupts are not handled: {error}");
    }
    let done = match cli.command {
        Command::Demo(demo) => run_demo(&demo),
        Command::Up { place } => up(&place),
        Command::Run(run) => run_named(run),
        Command::List { steps } => {
            list(steps);
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("keymesh-testnet: {error}");
        match error {
            TestnetError::Missing { .. } => ExitCode::from(3),
            _ => ExitCode::from(5),
        }
    })
}

fn list(with_steps: bool) {
    let show = |name: &str, about: &str, steps: Vec<(&str, &str)>| {
        println!("{name:<16} {about}");
        if with_steps {
            steps.iter().for_each(|(name, title)| println!("  {name:<16} {title}"));
            println!();
        }
    };
    let of = |steps: &[Step<Scene>]| steps.iter().map(|step| (step.name, step.title)).collect();
    show("demo", "The main job: a mesh that releases keys, is cut, revokes, is killed, and is audited", of(STORY));
    show("demo --short", "The same without what takes long", of(SHORT));
    for scenario in scenario::ALL {
        show(scenario.name, scenario.about, (scenario.steps)());
    }
}

fn binaries(place: &Place) -> Result<Binaries, TestnetError> {
    match &place.binaries {
        Some(folder) => Binaries::in_folder(folder),
        None => {
            eprintln!("building keymesh and keymesh-agent (cargo's progress follows)");
            Binaries::build()
        }
    }
}

/// A mesh of which nothing was started yet, whose folder goes if somebody interrupts, unless it is to stay.
fn set_up(nodes: &[topology::Place], place: &Place, keep: bool) -> Result<Testnet, TestnetError> {
    let net = Testnet::new(binaries(place)?, nodes, place.dir.as_deref())?;
    if place.dir.is_none() && !keep {
        *REMOVE.lock().unwrap_or_else(PoisonError::into_inner) = Some(net.dir.clone());
    }
    Ok(net)
}

fn run_named(run: Run) -> Result<ExitCode, TestnetError> {
    if run.scenario == "demo" {
        return run_demo(&Demo { shown: run.shown, place: run.place, ..Demo::default() });
    }
    let scenario = match scenario::find(&run.scenario) {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("keymesh-testnet: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    for (program, package) in scenario.needs {
        packages::ensure(program, package)?;
    }
    let net = set_up(scenario.places, &run.place, run.shown.keep)?;
    println!("{}\neverything the nodes do is in {}", scenario.about, net.dir.display());
    let started = Instant::now();
    let (mut net, told) = (scenario.tell)(net, &mut Runner::new(run.shown.json));
    let steps = (scenario.steps)().len();
    say_end(&told, &mut net, steps, started);
    if run.shown.keep {
        net.keep_folder();
        println!("\n{}\n\nThe nodes run until this is interrupted (ctrl-C).", net.by_hand());
        wait_for_ever();
    }
    Ok(if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// How it went, for people. The folder of a story that failed stays.
fn say_end(told: &Result<(), StepFailed>, net: &mut Testnet, steps: usize, started: Instant) {
    let took = started.elapsed().as_secs();
    match told {
        Ok(()) => println!("\nall {steps} steps held, {took} s"),
        Err(failed) => {
            net.keep_folder();
            println!("\nFAILED at step `{}` after {took} s: {}", failed.step, failed.source);
            println!("Logs, commands and data are in {}", net.dir.display());
        }
    }
}

fn run_demo(demo: &Demo) -> Result<ExitCode, TestnetError> {
    packages::ensure("cryptsetup", "cryptsetup-bin")?;
    let net = set_up(&THREE_CLOUDS, &demo.place, demo.shown.keep)?;
    println!("five nodes in three clouds; everything they do is in {}", net.dir.display());
    let mut scene = Scene::new(net, demo.sabotage);
    let mut steps: Vec<&Step<Scene>> = if demo.short { SHORT } else { STORY }.iter().collect();
    steps.extend(demo.disturb.map(|_| &AGREE));
    let started = Instant::now();
    let mut disturber = None;
    let mut runner = Runner::new(demo.shown.json.clone());
    let result = runner.run_through(&mut scene, &steps, |step, scene, seen| {
        match &disturber {
            Some(disturber) => disturbed(disturber, step, scene, seen)?,
            None => (step.run)(scene, seen)?,
        }
        if let (Some(seed), "nodes") = (demo.disturb, step.name) {
            disturber = Some(Disturber::start(&scene.net, seed));
        }
        Ok(())
    });
    say_end(&result, &mut scene.net, steps.len(), started);
    if let (Err(failed), Some(sabotage)) = (&result, demo.sabotage) {
        let right = if failed.step == sabotage.noticed_by() { "as it should" } else { "but another step should" };
        println!("The sabotage `{sabotage:?}` was noticed by step `{}`, {right}.", failed.step);
    }
    if demo.shown.keep {
        scene.net.keep_folder();
        println!("\n{}\n\nThe nodes run until this is interrupted (ctrl-C).", scene.by_hand());
        wait_for_ever();
    }
    Ok(match (result, demo.sabotage) {
        (Err(_), _) => ExitCode::from(1),
        (Ok(()), Some(sabotage)) => {
            println!("The sabotage `{sabotage:?}` went unnoticed.");
            ExitCode::from(5)
        }
        (Ok(()), None) => ExitCode::SUCCESS,
    })
}

/// Runs a step while nodes are killed, or in peace if it is one that needs peace.
fn disturbed(
    disturber: &Disturber,
    step: &Step<Scene>,
    scene: &mut Scene,
    seen: &mut Observed,
) -> Result<(), TestnetError> {
    if !CALM.contains(&step.name) {
        disturber.resume();
        return (step.run)(scene, seen);
    }
    // Between two calm steps, too, nothing is killed: a cut, for one, lasts over several.
    if disturber.pause() {
        scene.net.wait_connected(&scene.net.all(), Duration::from_secs(30))?;
    }
    if step.name == AGREE.name {
        let killed = disturber.killed();
        seen.say(format!("{} kills so far", killed.len()));
        seen.note("killed", killed);
    }
    (step.run)(scene, seen)
}

fn up(place: &Place) -> Result<ExitCode, TestnetError> {
    let mut prepared = Prepared::start(binaries(place)?, place.dir.as_deref(), Duration::from_secs(60))?;
    prepared.net.keep_folder();
    println!("{}\n\nThe nodes run until this is interrupted (ctrl-C).", prepared.by_hand());
    wait_for_ever();
}

fn wait_for_ever() -> ! {
    loop {
        thread::park();
    }
}

/// On ctrl-C and SIGTERM: ends the children, removes the temporary folder, and goes.
fn on_interrupt() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("interrupts".into()).spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            process::kill_all();
            if let Some(folder) = REMOVE.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = std::fs::remove_dir_all(folder);
            }
            std::process::exit(130);
        });
    })?;
    Ok(())
}
