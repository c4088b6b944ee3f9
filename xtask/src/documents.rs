//! What is handed to people as text: links lead somewhere, examples can be read by who they are for.

use crate::workspace;
use std::path::{Path, PathBuf};
use std::process::Command;

fn below(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace::root().join(folder)).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => below(path.to_str().unwrap(), ending),
            false => vec![path],
        })
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

/// The targets of Markdown links in `text`, without those of the net and of the same page.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains("://") && !link.contains(char::is_whitespace))
        .collect()
}

#[test]
fn every_link_between_documents_leads_to_a_file() {
    let root = workspace::root();
    let mut pages = below("docs", ".md");
    pages.extend(below("packaging", ".md"));
    pages.extend(
        ["README.md", "CHANGELOG.md", "SPECIFICATION.md", "shim/README.md"].map(|name| root.join(name)),
    );
    let mut seen = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let target = page.parent().unwrap().join(link);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} links were found");
}

#[test]
fn examples_of_configurations_can_be_read() {
    for path in below("packaging", ".json") {
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(read.is_ok(), "{}: {read:?}", path.display());
    }
    for path in below("packaging", ".toml")
        .into_iter()
        .chain(below("packaging", ".conf"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let read: Result<serde_json::Value, _> = basic_toml::from_str(&text);
        assert!(read.is_ok(), "{}: {read:?}", path.display());
    }
    for script in [
        Path::new("packaging/debian/postrm"),
        Path::new("xtask/src/package/trial.sh"),
    ] {
        let status = Command::new("sh")
            .arg("-n")
            .arg(workspace::root().join(script))
            .status()
            .unwrap();
        assert!(status.success(), "{}", script.display());
    }
    let scripts = below("conformance/engines", ".sh");
    assert!(scripts.len() > 5, "{scripts:?}");
    for script in scripts {
        let status = Command::new("bash").arg("-n").arg(&script).status().unwrap();
        assert!(status.success(), "{}", script.display());
    }
}
