//! Every scenario on real processes.

use keymesh_testnet::binaries::Binaries;
use keymesh_testnet::packages;
use keymesh_testnet::report::Runner;
use keymesh_testnet::scenario;
use keymesh_testnet::testnet::{Extent, Testnet};

#[test]
fn every_scenario_holds() {
    let binaries = Binaries::build().expect("the programs");
    // One after the other: many nodes at once on a small machine are slow, and slow is not what is tested.
    for scenario in scenario::ALL {
        for (program, package) in scenario.needs {
            packages::ensure(program, package).expect("it is here or can be installed");
        }
        let mut net = Testnet::new(binaries.clone(), scenario.places, None).expect("a folder");
        // `keymesh-testnet run` tells the whole.
        net.extent = Extent::Sample;
        let (mut net, told) = (scenario.tell)(net, &mut Runner::new(None).quiet());
        if let Err(failed) = told {
            net.keep_folder();
            panic!("{}: {failed}; logs, commands and data are in {}", scenario.name, net.dir.display());
        }
    }
}
