//! Known differences per runtime: test name to reason.
//!
//! A listed test is expected to fail. When it passes the run fails, so that the lists stay true. A reason says what the
//! runtime does instead. Lists are built in, by the name that the runtime gives with `--version`.

use std::collections::BTreeMap;
use std::path::Path;

/// Test (`chapter/name`) to reason.
pub(crate) type Known = BTreeMap<String, String>;

const BUILT_IN: [(&str, &str); 3] = [
    ("runtime-core", include_str!("../known/runtime-core.json")),
    ("runc", include_str!("../known/runc.json")),
    ("crun", include_str!("../known/crun.json")),
];

/// The list for the runtime `name`, or the one in `file`.
pub(crate) fn load(name: &str, file: Option<&Path>) -> Result<Known, String> {
    let text = match file {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| format!("--known {}: {error}", path.display()))?
        }
        None => BUILT_IN
            .iter()
            .find(|(own, _)| *own == name)
            .map_or_else(|| "{}".into(), |(_, text)| (*text).into()),
    };
    serde_json::from_str(&text).map_err(|error| format!("known differences of {name}: {error}"))
}

/// Names in the list that are no tests: a list that outlived a rename proves nothing.
pub(crate) fn unknown_names<'a>(known: &'a Known, tests: &[String]) -> Vec<&'a str> {
    known
        .keys()
        .filter(|name| !tests.contains(name))
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_lists_name_tests_and_give_reasons() {
        let tests: Vec<String> = crate::chapters::all()
            .iter()
            .map(|(chapter, test)| format!("{chapter}/{}", test.name))
            .collect();
        for (name, _) in BUILT_IN {
            let known = load(name, None).unwrap();
            assert!(
                unknown_names(&known, &tests).is_empty(),
                "{name}: {:?}",
                unknown_names(&known, &tests)
            );
            assert!(
                known.values().all(|reason| reason.len() > 10),
                "{name}: a reason is missing"
            );
        }
    }
}
