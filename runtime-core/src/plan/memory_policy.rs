//! The NUMA memory policy of all programs of a container (config-linux.md, Memory policy): set_mempolicy(2).
//!
//! The values were judged with the rest of the configuration; whether this machine has the nodes only its kernel knows.

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use super::schedule::{Schedule, Step};
use crate::error::{Error, Result};
use crate::spec::check::MEMORY_NODES;
use crate::spec::numbers;

/// The modes of linux/mempolicy.h.
const MODES: [(Mode, u32); 7] = [
    (Mode::MpolDefault, 0),
    (Mode::MpolPreferred, 1),
    (Mode::MpolBind, 2),
    (Mode::MpolInterleave, 3),
    (Mode::MpolLocal, 4),
    (Mode::MpolPreferredMany, 5),
    (Mode::MpolWeightedInterleave, 6),
];

/// The mode flags of linux/mempolicy.h.
const FLAGS: [(Flag, u32); 3] = [
    (Flag::MpolFNumaBalancing, 1 << 13),
    (Flag::MpolFRelativeNodes, 1 << 14),
    (Flag::MpolFStaticNodes, 1 << 15),
];

/// Every value that `linux.memoryPolicy.mode` may have, sorted.
pub fn memory_policy_modes() -> Vec<String> {
    sorted(MODES.iter().map(|(mode, _)| mode.to_string()))
}

/// Every value that `linux.memoryPolicy.flags` may have, sorted.
pub fn memory_policy_flags() -> Vec<String> {
    sorted(FLAGS.iter().map(|(flag, _)| flag.to_string()))
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The policy, where one is asked for.
pub(super) fn set(schedule: &mut Schedule, policy: Option<&LinuxMemoryPolicy>) -> Result<()> {
    let Some(policy) = policy else {
        return Ok(());
    };
    let mode = number(&MODES, &policy.mode());
    let flags = policy.flags().iter().flatten();
    let list = policy.nodes().as_deref().unwrap_or_default();
    let nodes = numbers::parse(list, MEMORY_NODES)
        .ok_or_else(|| Error::spec("linux.memoryPolicy.nodes", format!("found {list:?}")))?;
    schedule.init(
        Step::MemoryPolicy {
            mode: flags.fold(mode, |mode, flag| mode | number(&FLAGS, flag)),
            nodes: mask(&nodes),
        },
        "linux.memoryPolicy",
    );
    Ok(())
}

fn number<T: PartialEq>(table: &[(T, u32)], wanted: &T) -> u32 {
    let found = table.iter().find(|(known, _)| known == wanted);
    found.map_or(u32::MAX, |(_, number)| *number)
}

/// The nodes as a bit mask in whole words of the kernel; without nodes no word.
fn mask(nodes: &[u32]) -> Vec<u8> {
    let words = nodes.last().map_or(0, |last| last / u64::BITS + 1);
    let word = |at: u32| {
        let own = nodes.iter().filter(|node| **node / u64::BITS == at);
        own.fold(0u64, |word, node| word | 1 << (node % u64::BITS))
    };
    (0..words).flat_map(|at| word(at).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(policy: &str) -> Step {
        let policy: LinuxMemoryPolicy = serde_json::from_str(policy).unwrap();
        let mut schedule = Schedule::default();
        set(&mut schedule, Some(&policy)).unwrap();
        match schedule.lines.pop().unwrap().action {
            crate::plan::Action::Init(step) => step,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn modes_flags_and_nodes_become_the_kernels_numbers() {
        let found = step(r#"{"mode": "MPOL_BIND", "nodes": "0,3", "flags": ["MPOL_F_STATIC_NODES"]}"#);
        let nodes = vec![0b1001, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            found,
            Step::MemoryPolicy {
                mode: 2 | 1 << 15,
                nodes
            }
        );
        let found = step(
            r#"{"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "64", "flags": ["MPOL_F_RELATIVE_NODES"]}"#,
        );
        let nodes = vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            found,
            Step::MemoryPolicy {
                mode: 6 | 1 << 14,
                nodes
            }
        );
        let found = step(r#"{"mode": "MPOL_PREFERRED"}"#);
        assert_eq!(
            found,
            Step::MemoryPolicy {
                mode: 1,
                nodes: Vec::new()
            }
        );
    }

    #[test]
    fn the_known_names_are_those_of_the_specification() {
        assert_eq!(memory_policy_modes().len(), 7);
        assert_eq!(
            memory_policy_flags(),
            [
                "MPOL_F_NUMA_BALANCING",
                "MPOL_F_RELATIVE_NODES",
                "MPOL_F_STATIC_NODES"
            ]
        );
    }
}
