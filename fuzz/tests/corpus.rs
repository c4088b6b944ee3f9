//! Every input of the corpora through its target, without a fuzzing engine: what was found once is looked for always.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_target_takes_its_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut inputs = 0;
    let mut with_corpus = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).expect("corpus") {
        let place = entry.expect("an entry").path();
        let name = place
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let target = fuzz::target(&name).unwrap_or_else(|| panic!("{name}: a corpus without a target"));
        for input in std::fs::read_dir(&place).expect("a folder") {
            let path = input.expect("an entry").path();
            // Shown only when the test fails.
            println!("{}", path.display());
            target(&std::fs::read(&path).expect("an input"));
            inputs += 1;
        }
        with_corpus.insert(name);
    }
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(with_corpus, targets, "each target has a corpus");
    assert!(inputs > 2 * targets.len(), "only {inputs} inputs");
}
