//! The short form of the demo on real processes, and a sabotage that it has to notice.

use keymesh_testnet::binaries::Binaries;
use keymesh_testnet::demo::{SHORT, Sabotage, Scene};
use keymesh_testnet::packages;
use keymesh_testnet::report::{Runner, Step, StepFailed};
use keymesh_testnet::testnet::Testnet;
use keymesh_testnet::topology::THREE_CLOUDS;

/// The steps that this machine can show: without cryptsetup, and without the right to install it, no volumes.
fn steps() -> Vec<&'static Step<Scene>> {
    let volumes = packages::ensure("cryptsetup", "cryptsetup-bin").is_ok();
    SHORT.iter().filter(|step| volumes || !["volume", "blind-release"].contains(&step.name)).collect()
}

fn tell(binaries: Binaries, sabotage: Option<Sabotage>) -> Result<(), StepFailed> {
    let net = Testnet::new(binaries, &THREE_CLOUDS, None).expect("a folder");
    let mut scene = Scene::new(net, sabotage);
    let told = Runner::new(None).quiet().run(&mut scene, &steps());
    if told.is_err() && sabotage.is_none() {
        scene.net.keep_folder();
        eprintln!("logs, commands and data are in {}", scene.net.dir.display());
    }
    told
}

#[test]
fn the_short_story_holds_and_a_forgotten_zone_in_the_policy_is_noticed() {
    // One after the other: ten nodes at once on a small machine are slow, and slow is not what is tested.
    let binaries = Binaries::build().expect("the programs");
    if let Err(failed) = tell(binaries.clone(), None) {
        panic!("{failed}");
    }
    let noticed = tell(binaries, Some(Sabotage::Deny)).expect_err("a policy without the zone");
    assert_eq!(noticed.step, Sabotage::Deny.noticed_by(), "{noticed}");
}
