//! On a tree of plain files: what the kernel would fill a new directory with, the tests put there.

use super::*;

/// A false resctrl filesystem; goes with the test.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("resctrl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("info")).unwrap();
        Self(root)
    }

    /// What the kernel does after mkdir.
    fn fill(&self, group: &Path) {
        std::fs::write(group.join("tasks"), "").unwrap();
        std::fs::write(
            group.join("schemata"),
            "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n",
        )
        .unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn a_group_is_made_written_entered_and_removed() {
    let tree = Tree::new("made");
    let group = tree.0.join("c1");
    assert!(!exists(&group));
    assert!(make(&tree.0, &group).unwrap());
    assert!(!make(&tree.0, &group).unwrap(), "there already, and not an error");
    tree.fill(&group);
    write_schemata(&tree.0, &group, &lines(&["L3:0=7f0;1=1f", "MB:0=20;1=70"])).unwrap();
    let written = std::fs::read_to_string(group.join("schemata")).unwrap();
    assert!(
        written.starts_with("L3:0=7f0;1=1f\nMB:0=20;1=70\n"),
        "the cache comes first: {written}"
    );
    let mut tasks = std::fs::File::from(tasks(&group).unwrap());
    tasks.write_all(b"0").unwrap();
    assert_eq!(std::fs::read(group.join("tasks")).unwrap(), b"0");

    for file in ["tasks", "schemata"] {
        std::fs::remove_file(group.join(file)).unwrap();
    }
    let monitor = group.join("mon_groups").join("c1");
    std::fs::create_dir_all(&monitor).unwrap();
    let mut record = RdtRecord {
        group: group.clone(),
        own: true,
        made: false,
        monitor: Some(monitor.clone()),
    };
    remove(&record).unwrap();
    assert!(
        !monitor.exists() && group.exists(),
        "a group of others stays, with none of ours in it"
    );
    std::fs::remove_dir(group.join("mon_groups")).unwrap();
    record.made = true;
    remove(&record).unwrap();
    assert!(!group.exists());
    remove(&record).unwrap();
}

#[test]
fn a_group_of_others_must_have_what_is_asked_for() {
    let tree = Tree::new("others");
    let group = tree.0.join("guaranteed");
    make(&tree.0, &group).unwrap();
    tree.fill(&group);
    compare_schemata(&group, &lines(&["L3:1=0fffff", "MB:0=100;1=100"])).unwrap();
    let error = compare_schemata(&group, &lines(&["L3:0=fffff", "MB:0=50"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSpec);
    let text = error.to_string();
    assert!(
        text.contains("guaranteed is there already and has L3:0=fffff;1=fffff")
            && text.ends_with("not \"MB:0=50\""),
        "{text}"
    );
}

#[test]
fn what_the_kernel_says_about_a_refusal_is_the_hint() {
    let tree = Tree::new("refused");
    std::fs::write(tree.0.join("info/last_cmd_status"), "out of CLOSIDs\n").unwrap();
    let error = make(&tree.0, &tree.0.join("no/such/parent")).unwrap_err();
    assert_eq!(error.hint(), Some("resctrl says: out of CLOSIDs"));
    let error = write_schemata(&tree.0, &tree.0.join("nobody"), &lines(&["L3:0=f"])).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENOENT), "{error}");
}

#[test]
fn changed_schemata_come_back() {
    let tree = Tree::new("changed");
    let group = tree.0.join("c1");
    make(&tree.0, &group).unwrap();
    tree.fill(&group);
    let change = SchemataChange::write(&group, lines(&["L3:0=f;1=f"])).unwrap();
    let read = || std::fs::read_to_string(group.join("schemata")).unwrap();
    assert!(read().starts_with("L3:0=f;1=f\n"));
    let error = change.undo_for(Error::new(ErrorKind::System, "later"));
    assert_eq!(error.to_string(), "later");
    assert!(read().starts_with("L3:0=fffff;1=fffff\n"));
}
