//! Scenarios: each a story of its own on real processes, told in steps as the demo is.
//!
//! A scenario is one file: a type with what its steps share, and [`Scene`] for it, which names the scenario, where its nodes
//! run, and the steps in order. A line in [`ALL`] has it listed and run. What most of them need (people, a tenant, a
//! root, keys, instances that ask for them) is in [`stage`].

pub mod custody_changes;
pub mod custody_kills;
pub mod lying_custodian;
pub mod provider_only;
pub mod restored_backup;
pub mod stage;

use crate::error::TestnetError;
use crate::report::{Runner, Step, StepFailed};
use crate::testnet::Testnet;
use crate::topology::Place;

/// What the steps of one scenario share.
pub trait Scene: Sized + 'static {
    /// By which word it is run.
    const NAME: &'static str;
    /// What it shows, in a line.
    const ABOUT: &'static str;
    /// Its nodes.
    const PLACES: &'static [Place];
    /// Programs of the system that it needs, each with Debian's package.
    const NEEDS: &'static [(&'static str, &'static str)] = &[];
    /// Its steps.
    const STEPS: &'static [Step<Self>];

    /// A scene on a mesh of which nothing was started yet.
    fn new(net: Testnet) -> Self;

    /// The mesh, as the last step left it.
    fn into_net(self) -> Testnet;
}

/// A mesh after a scenario, and how it went.
pub type Told = (Testnet, Result<(), StepFailed>);

/// A scenario, whatever its steps share.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// By which word it is run.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Its nodes.
    pub places: &'static [Place],
    /// Programs of the system that it needs, each with Debian's package.
    pub needs: &'static [(&'static str, &'static str)],
    /// The name and the title of every step.
    pub steps: fn() -> Vec<(&'static str, &'static str)>,
    /// Tells it on a mesh of which nothing was started yet. The mesh comes back with how it went, and runs still.
    pub tell: fn(Testnet, &mut Runner) -> Told,
}

impl Scenario {
    /// The scenario of a scene.
    pub const fn of<S: Scene>() -> Self {
        Self { name: S::NAME, about: S::ABOUT, places: S::PLACES, needs: S::NEEDS, steps: steps::<S>, tell: tell::<S> }
    }
}

/// All scenarios but the demo, which has options of its own.
pub const ALL: &[Scenario] = &[
    Scenario::of::<provider_only::ProviderOnly>(),
    Scenario::of::<custody_changes::CustodyChanges>(),
    Scenario::of::<custody_kills::CustodyKills>(),
    Scenario::of::<restored_backup::RestoredBackup>(),
    Scenario::of::<lying_custodian::LyingCustodian>(),
];

/// The scenario of this name.
///
/// # Errors
/// [`TestnetError::Unexpected`] with the names that there are.
pub fn find(name: &str) -> Result<&'static Scenario, TestnetError> {
    ALL.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        TestnetError::Unexpected(format!("there is no scenario `{name}`; there are: demo, {}", names.join(", ")))
    })
}

fn steps<S: Scene>() -> Vec<(&'static str, &'static str)> {
    S::STEPS.iter().map(|step| (step.name, step.title)).collect()
}

fn tell<S: Scene>(net: Testnet, runner: &mut Runner) -> Told {
    let mut scene = S::new(net);
    let told = runner.run(&mut scene, &S::STEPS.iter().collect::<Vec<_>>());
    (scene.into_net(), told)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scenarios_have_names_of_their_own_a_line_each_and_steps_that_are_told_apart() {
        let names: BTreeSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(!names.contains("demo"));
        for scenario in ALL {
            assert!(!scenario.about.is_empty() && !scenario.about.contains('\n'), "{}", scenario.name);
            let steps = (scenario.steps)();
            let apart: BTreeSet<_> = steps.iter().map(|(name, _)| name).collect();
            assert_eq!(apart.len(), steps.len(), "{}", scenario.name);
            assert_eq!(find(scenario.name).map(|found| found.name).ok(), Some(scenario.name));
        }
        assert!(find("nothing").is_err_and(|error| error.to_string().contains("provider-only")));
    }
}
