//! `docs/unsafe.md` names every file with unsafe code, and how often it stands there. A file or a block more is a
//! decision that somebody has to write down.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(1)
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Uses of the keyword in code: comments, attributes of the lint and texts do not count.
fn count(text: &str) -> usize {
    const FORMS: [&str; 6] = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe extern",
        "#[unsafe(",
        ", unsafe(",
    ];
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
        .map(|line| FORMS.iter().map(|form| line.matches(form).count()).sum::<usize>())
        .sum()
}

fn found(dir: &Path, below: &Path, all: &mut BTreeMap<String, usize>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if is_link || name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            found(&path, below, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let own = path
                .strip_prefix(below)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            // This file has the forms as texts.
            let times = if own.ends_with("unsafe_inventory.rs") {
                0
            } else {
                count(&text)
            };
            if times > 0 {
                all.insert(own, times);
            }
        }
    }
}

/// Rows of the form "| `file` | count | why |".
fn listed(text: &str) -> BTreeMap<String, usize> {
    text.lines()
        .filter_map(|line| {
            let mut cells = line.trim().trim_matches('|').split('|').map(str::trim);
            let file = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            let times = cells.next()?.parse().ok()?;
            let why = cells.next()?;
            assert!(why.len() > 10, "{file}: no reason is given");
            Some((file.to_owned(), times))
        })
        .collect()
}

#[test]
fn every_file_with_unsafe_code_is_listed() {
    let root = workspace();
    let mut all = BTreeMap::new();
    found(&root, &root, &mut all);
    assert!(
        !all.is_empty(),
        "no unsafe code was found, so the search is broken"
    );
    let text = std::fs::read_to_string(root.join("docs/unsafe.md")).unwrap_or_default();
    assert_eq!(listed(&text), all, "left: docs/unsafe.md, right: the code");
}

#[test]
fn comments_and_texts_do_not_count() {
    assert_eq!(count("// unsafe { }\nlet text = \"cache=unsafe\";\n"), 0);
    assert_eq!(
        count("    unsafe { call() };\nunsafe fn one() {}\n#[unsafe(no_mangle)]\n"),
        3
    );
}
