//! Schemata of resctrl, as text: one line for each resource, `L3:0=7f0;1=1f` (Documentation/filesystems/resctrl.rst).
//!
//! Pure. A group that somebody else made must have what a configuration asks for; the kernel shows its values with blanks
//! and zeros in front, and for all domains.

/// The lines that are asked for and that the `schemata` file does not have.
pub(crate) fn missing<'a>(asked: &'a [String], file: &str) -> Vec<&'a str> {
    let has = |line: &str| file.lines().any(|found| covers(found, line));
    asked
        .iter()
        .map(String::as_str)
        .filter(|line| !has(line))
        .collect()
}

/// The file's lines about the resources that the lines name.
pub(crate) fn same_resources(lines: &[String], file: &str) -> Vec<String> {
    let named = |found: &str| {
        let name = split(found).map(|(name, _)| name);
        name.is_some() && lines.iter().any(|line| split(line).map(|(name, _)| name) == name)
    };
    file.lines()
        .map(str::trim)
        .filter(|line| named(line))
        .map(str::to_owned)
        .collect()
}

/// Whether the file's line says the same about every domain that the asked line names.
fn covers(found: &str, asked: &str) -> bool {
    let (Some((name, found)), Some((wanted, asked))) = (split(found), split(asked)) else {
        return false;
    };
    name == wanted
        && asked
            .split(';')
            .filter_map(domain)
            .all(|pair| found.split(';').filter_map(domain).any(|known| known == pair))
        && asked
            .split(';')
            .all(|part| part.trim().is_empty() || domain(part).is_some())
}

/// The resource's name and what is said about it.
fn split(line: &str) -> Option<(&str, &str)> {
    let (name, values) = line.split_once(':')?;
    Some((name.trim(), values))
}

/// A domain's number and its value, without zeros in front.
fn domain(part: &str) -> Option<(u64, String)> {
    let (number, value) = part.split_once('=')?;
    let value = value.trim().to_ascii_lowercase();
    let value = value.strip_prefix("0x").unwrap_or(&value);
    let bare = value.trim_start_matches('0');
    Some((
        number.trim().parse().ok()?,
        if bare.is_empty() { "0" } else { bare }.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::missing;

    const FILE: &str = "    MB:0=100;1= 20\n    L3:0=007f0;1=0001f\nL2:0=ff\n";

    fn found(asked: &[&str]) -> usize {
        let asked: Vec<String> = asked.iter().map(|line| (*line).to_owned()).collect();
        missing(&asked, FILE).len()
    }

    #[test]
    fn equal_values_are_found_however_they_are_written() {
        assert_eq!(
            found(&[
                "L3:0=7f0;1=1f",
                "MB:1=20",
                "L3:1=0x1F",
                "L3:1=1f;0=7f0;",
                "L2:0=ff"
            ]),
            0
        );
        assert_eq!(found(&[]), 0);
    }

    #[test]
    fn what_a_change_replaces_is_found() {
        let asked = ["L3:0=1".to_owned()];
        assert_eq!(super::same_resources(&asked, FILE), ["L3:0=007f0;1=0001f"]);
        assert!(super::same_resources(&["nonsense".to_owned()], FILE).is_empty());
    }

    #[test]
    fn other_values_are_not() {
        for line in [
            "L3:0=7f",
            "L3:2=1f",
            "L3CODE:0=7f0",
            "MB:0=10",
            "nonsense",
            "L3:0",
            "L3:x=7f0",
            "",
        ] {
            assert_eq!(found(&[line]), 1, "{line}");
        }
    }
}
