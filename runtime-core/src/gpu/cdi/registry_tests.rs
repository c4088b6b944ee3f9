use super::*;
use std::os::unix::fs::PermissionsExt;

/// A directory that goes away again.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cdi-registry-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        for dir in ["a", "b"] {
            std::fs::create_dir_all(path.join(dir)).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path.join(dir), mode).unwrap();
        }
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    fn load(&self) -> Registry {
        Registry::load(&[self.0.join("a"), self.0.join("missing"), self.0.join("b")])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(kind: &str, devices: &[(&str, &str)]) -> String {
    let mut text =
        format!("cdiVersion: 0.5.0\nkind: {kind}\ncontainerEdits: {{env: [ALL={kind}]}}\ndevices:\n");
    for (name, value) in devices {
        text.push_str(&format!(
            "- name: {name}\n  containerEdits: {{env: [DEVICE={value}]}}\n"
        ));
    }
    text
}

fn names(list: &[&str]) -> Vec<QualifiedName> {
    list.iter().map(|name| name.parse().unwrap()).collect()
}

fn env(resolved: &Resolved) -> Vec<String> {
    resolved
        .edits
        .iter()
        .flat_map(|(_, edits)| edits.env.clone())
        .collect()
}

#[test]
fn the_later_directory_has_priority() {
    let place = Place::new("priority");
    place.file("a/x.yaml", &text("v.com/c", &[("0", "low"), ("1", "low")]));
    place.file("b/x.yaml", &text("v.com/c", &[("0", "high")]));
    let registry = place.load();
    assert_eq!(registry.faults(), []);
    let resolved = registry
        .resolve(&names(&["v.com/c=0", "v.com/c=1", "v.com/c=0"]))
        .unwrap();
    assert_eq!(
        env(&resolved),
        [
            "ALL=v.com/c",
            "DEVICE=high",
            "ALL=v.com/c",
            "DEVICE=low",
            "DEVICE=high"
        ]
    );
    assert_eq!(resolved.edits[0].0.name, "cdi v.com/c=0");
    assert!(resolved.edits[0].0.file.as_ref().unwrap().ends_with("b/x.yaml"));
}

#[test]
fn a_device_of_two_files_of_one_directory_is_nobodys() {
    let place = Place::new("conflict");
    let first = place.file("a/x.yaml", &text("v.com/c", &[("0", "x"), ("1", "x")]));
    let second = place.file("a/x.json", &text("v.com/c", &[("0", "y"), ("2", "y")]));
    // Not even of a file with priority: so it is in Go.
    place.file("b/z.yaml", &text("v.com/c", &[("0", "z")]));
    let registry = place.load();
    let faulty: Vec<&PathBuf> = registry.faults().iter().map(|fault| &fault.path).collect();
    assert_eq!(faulty, [&first, &second]);
    assert!(registry.resolve(&names(&["v.com/c=1", "v.com/c=2"])).is_ok());
    let error = registry.resolve(&names(&["v.com/c=0", "v.com/c=9"])).unwrap_err();
    let words = error.to_string();
    assert!(
        words.starts_with("unresolvable CDI devices v.com/c=0, v.com/c=9 "),
        "{words}"
    );
    assert!(
        words.contains(first.to_str().unwrap()) && words.contains(second.to_str().unwrap()),
        "{words}"
    );
    assert_eq!(error.hint(), Some("offered are v.com/c=1, v.com/c=2"));
}

#[test]
fn a_broken_file_hinders_no_other() {
    let place = Place::new("broken");
    place.file("a/good.yaml", &text("v.com/c", &[("0", "x")]));
    let broken = place.file("a/broken.yaml", "cdiVersion: [");
    place.file("a/ignored.txt", "cdiVersion: [");
    std::fs::create_dir(place.0.join("a/directory.yaml")).unwrap();
    std::fs::create_dir(place.0.join("a/deeper")).unwrap();
    place.file("a/deeper/other.yaml", &text("v.com/c", &[("1", "x")]));
    let registry = place.load();
    assert_eq!(
        registry.devices().map(|(name, _)| name).collect::<Vec<_>>(),
        ["v.com/c=0"]
    );
    assert_eq!(registry.faults().len(), 1);
    assert_eq!(registry.faults()[0].path, broken);
}

#[test]
fn what_others_may_write_is_not_read() {
    let place = Place::new("trust");
    let open = place.file("a/open.yaml", &text("v.com/c", &[("0", "x")]));
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", place.0.join("a/zero.yaml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.0.join("a/fifo.json"),
        rustix::fs::FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .unwrap();
    place.file("b/large.yaml", &" ".repeat((1 << 20) + 1));
    let registry = place.load();
    let faults: Vec<String> = registry.faults().iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 4, "{faults:?}");
    for (fault, words) in faults
        .iter()
        .zip(["regular", "others may write", "regular", "larger"])
    {
        assert!(fault.contains(words), "{fault}");
    }
    std::fs::set_permissions(place.0.join("b"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let faults = place.load().faults().to_vec();
    assert!(
        faults[3].message.contains("others may write it (mode 0777)"),
        "{faults:?}"
    );
}

#[test]
fn there_is_a_most_of_files() {
    let place = Place::new("many");
    for number in 0..=MAX_FILES {
        place.file(
            &format!("a/{number:04}.yaml"),
            &text("v.com/c", &[(&number.to_string(), "x")]),
        );
    }
    let registry = place.load();
    assert_eq!(registry.files().len(), MAX_FILES);
    assert!(registry.faults()[0].message.contains("more than 1000"));
}

#[test]
fn a_faulty_file_concerns_its_kind_or_all() {
    let place = Place::new("concerns");
    place.file("a/x.yaml", &text("v.com/c", &[("0", "x")]));
    place.file("a/y.yaml", &text("v.com/c", &[("0", "y")]));
    let conflict = place.load();
    assert!(conflict.devices().next().is_none());
    assert!(
        conflict.has_kind("v.com/c"),
        "a conflict offers nothing, and is an answer"
    );
    assert!(conflict.fault_of("w.com/c").is_none());

    let typo = place.file(
        "b/z.yaml",
        &format!("{}extra: 1\n", text("w.com/c", &[("0", "x")])),
    );
    let registry = place.load();
    assert!(!registry.has_kind("w.com/c"));
    assert_eq!(registry.fault_of("w.com/c").map(|fault| &fault.path), Some(&typo));
    assert!(registry.fault_of("u.com/c").is_none(), "it names another kind");

    for unreadable in ["cdiVersion: [", "kind: w.com\n", "kind: [w.com/c]\n", "\u{0}"] {
        place.file("b/z.yaml", unreadable);
        let registry = place.load();
        let fault = registry.fault_of("u.com/c").map(|fault| &fault.path);
        assert_eq!(fault, Some(&typo), "{unreadable:?}");
    }
    std::fs::remove_file(&typo).unwrap();
    std::fs::set_permissions(place.0.join("b"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let registry = place.load();
    let fault = registry.fault_of("u.com/c").map(|fault| &fault.path);
    assert_eq!(fault, Some(&place.0.join("b")), "nobody knows what it would say");
}
