//! NVIDIA_REQUIRE_*: what an image says it needs of the driver.
//!
//! A value is alternatives divided by blanks, each of which is conditions divided by commas, all of which must hold:
//! `cuda>=12.6 brand=tesla,driver>=470`. What the host does not tell cannot be judged and counts as fulfilled.

use crate::error::{Error, ErrorKind, Result};

/// What is known about the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// The driver's version.
    pub driver: Option<String>,
    /// The CUDA version that it supports.
    pub cuda: Option<String>,
    /// The GPU's compute capability, as `9.0`.
    pub arch: Option<String>,
    /// The GPU's brand, in lower case.
    pub brand: Option<String>,
}

/// The first CUDA version of each driver branch, newest first (NVIDIA's CUDA release notes, table 3).
const BRANCHES: [(u64, &str); 22] = [
    (590, "13.1"),
    (580, "13.0"),
    (575, "12.9"),
    (570, "12.8"),
    (565, "12.7"),
    (560, "12.6"),
    (555, "12.5"),
    (550, "12.4"),
    (545, "12.3"),
    (535, "12.2"),
    (530, "12.1"),
    (525, "12.0"),
    (520, "11.8"),
    (515, "11.7"),
    (510, "11.6"),
    (495, "11.5"),
    (470, "11.4"),
    (465, "11.3"),
    (460, "11.2"),
    (455, "11.1"),
    (450, "11.0"),
    (440, "10.2"),
];

impl Versions {
    /// What a driver's version tells; nothing about CUDA where the branch is not known.
    pub fn of_driver(version: &str) -> Self {
        let branch: Option<u64> = version.split('.').next().and_then(|branch| branch.parse().ok());
        let known = branch.and_then(|branch| BRANCHES.iter().find(|(known, _)| *known == branch));
        Self {
            driver: Some(version.to_owned()),
            cuda: known.map(|(_, cuda)| (*cuda).to_owned()),
            ..Self::default()
        }
    }

    fn of(&self, subject: &str) -> Option<Option<&str>> {
        Some(match subject {
            "driver" => self.driver.as_deref(),
            "cuda" => self.cuda.as_deref(),
            "arch" => self.arch.as_deref(),
            "brand" => self.brand.as_deref(),
            _ => return None,
        })
    }
}

/// The requirements of an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements(Vec<(String, String)>);

impl Requirements {
    /// The NVIDIA_REQUIRE_* variables of an environment (`NAME=VALUE`); none where NVIDIA_DISABLE_REQUIRE says so.
    pub fn of_env(env: &[String]) -> Self {
        let value = |name: &str| {
            let own = env.iter().rev().filter_map(|entry| entry.split_once('='));
            own.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
        };
        if matches!(
            value("NVIDIA_DISABLE_REQUIRE"),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True")
        ) {
            return Self::default();
        }
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, text) in env.iter().filter_map(|entry| entry.split_once('=')) {
            // Its value is a list of mounts for Tegra, not a condition.
            if !name.starts_with("NVIDIA_REQUIRE_") || name == "NVIDIA_REQUIRE_JETPACK" {
                continue;
            }
            found.retain(|(known, _)| known != name);
            found.push((name.to_owned(), text.to_owned()));
        }
        Self(found)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Judges all of them.
    ///
    /// # Errors
    /// InvalidArgument with the variable and the condition that does not hold, and what the host has; or with the word
    /// that is no condition.
    pub fn check(&self, host: &Versions) -> Result<()> {
        self.0.iter().try_for_each(|(name, text)| judge(name, text, host))
    }
}

fn judge(name: &str, text: &str, host: &Versions) -> Result<()> {
    let mut failed = Vec::new();
    for alternative in text.split_ascii_whitespace() {
        let mut broken = None;
        for condition in alternative.split(',').filter(|condition| !condition.is_empty()) {
            if let Some(found) = fails(name, condition, host)? {
                broken.get_or_insert(format!("{condition} (this host has {found})"));
            }
        }
        match broken {
            None => return Ok(()),
            Some(why) => failed.push(why),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("unsatisfied condition of {name}: {}", failed.join("; ")),
    )
    .with_hint("NVIDIA_DISABLE_REQUIRE=1 in the environment makes no condition count"))
}

/// What the host has instead; None where the condition holds or cannot be judged.
fn fails(name: &str, condition: &str, host: &Versions) -> Result<Option<String>> {
    let wrong = || {
        let text = format!(
            "{name}: {condition:?} is no condition: cuda, driver, arch or brand, then =, !=, <, <=, > or >=, then a value"
        );
        Error::new(ErrorKind::InvalidArgument, text)
    };
    let at = condition.find(['=', '!', '<', '>']).ok_or_else(wrong)?;
    let (subject, rest) = condition.split_at(at);
    let end = rest
        .find(|c| !matches!(c, '=' | '!' | '<' | '>'))
        .ok_or_else(wrong)?;
    let (operator, wanted) = rest.split_at(end);
    let holds: fn(std::cmp::Ordering) -> bool = match operator {
        "=" | "==" => std::cmp::Ordering::is_eq,
        "!=" => std::cmp::Ordering::is_ne,
        "<" => std::cmp::Ordering::is_lt,
        "<=" => std::cmp::Ordering::is_le,
        ">" => std::cmp::Ordering::is_gt,
        ">=" => std::cmp::Ordering::is_ge,
        _ => return Err(wrong()),
    };
    let Some(found) = host.of(subject).ok_or_else(wrong)? else {
        return Ok(None);
    };
    let order = if subject == "brand" {
        if !matches!(operator, "=" | "==" | "!=") {
            return Err(wrong());
        }
        found.to_ascii_lowercase().cmp(&wanted.to_ascii_lowercase())
    } else {
        let numbers =
            |text: &str| -> Option<Vec<u64>> { text.split('.').map(|part| part.parse().ok()).collect() };
        compare(
            &numbers(found).ok_or_else(wrong)?,
            &numbers(wanted).ok_or_else(wrong)?,
        )
    };
    Ok((!holds(order)).then(|| format!("{subject} {found}")))
}

/// Missing numbers count as zero.
fn compare(left: &[u64], right: &[u64]) -> std::cmp::Ordering {
    let length = left.len().max(right.len());
    let at = |numbers: &[u64], place: usize| numbers.get(place).copied().unwrap_or(0);
    (0..length)
        .map(|place| at(left, place).cmp(&at(right, place)))
        .find(|order| order.is_ne())
        .unwrap_or(std::cmp::Ordering::Equal)
}
