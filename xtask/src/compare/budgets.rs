//! The budgets: figures that are promised, read from SPECIFICATION.md, which is their only place.
//!
//! Lives here: reading the table and comparing it with what was measured. Must not live here: a figure.

use super::contestant::{FLOOR, OWN};
use super::figures::show_ratio;
use super::series::{Quantity, Table};
use super::statistics::{Estimate, ratio_estimate};
use serde_json::{Value, json};

/// The document.
pub(crate) const TEXT: &str = include_str!("../../../SPECIFICATION.md");
/// What the header of the table begins with.
const HEADER: &str = "| Row | Quantity | Against | At most |";
/// In the place of a row: each that has the quantity, the worst counts.
const EVERY: &str = "every command";

/// What the own figure is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Against {
    /// The same figure of this contestant.
    Other(String),
    /// Its own at another point: from the first to the second.
    Growth(u64, u64),
}

/// One promise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Budget {
    pub(crate) row: String,
    pub(crate) quantity: Quantity,
    pub(crate) against: Against,
    pub(crate) at_most: f64,
}

/// How a promise stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Standing {
    Kept(Estimate),
    Missed(Estimate),
    /// What it takes was not measured: no promise is kept by that.
    Unknown,
}

/// A promise and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) budget: Budget,
    /// The row that it was compared in.
    pub(crate) row: String,
    pub(crate) standing: Standing,
}

/// Reads the table.
///
/// # Errors
/// There is none, or a line of it is not understood.
pub(crate) fn parse(text: &str) -> Result<Vec<Budget>, String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(HEADER)).skip(2);
    let budgets = lines
        .by_ref()
        .take_while(|line| line.starts_with('|'))
        .map(|line| budget(line).ok_or_else(|| format!("SPECIFICATION.md: {line:?} is not understood")))
        .collect::<Result<Vec<_>, _>>()?;
    match budgets.is_empty() {
        true => Err(format!(
            "SPECIFICATION.md has no table that begins with {HEADER:?}"
        )),
        false => Ok(budgets),
    }
}

fn budget(line: &str) -> Option<Budget> {
    let mut cells = line.trim().trim_matches('|').split('|').map(str::trim);
    let row = cells.next()?.trim_matches('`').to_owned();
    let quantity = cells.next()?;
    let quantity = Quantity::ALL.into_iter().find(|one| one.name() == quantity)?;
    let against = against(cells.next()?)?;
    let at_most = cells.next()?.parse().ok()?;
    Some(Budget {
        row,
        quantity,
        against,
        at_most,
    })
}

/// `crun`, `floor`, or `itself, 0 to 2000`.
fn against(text: &str) -> Option<Against> {
    match text.strip_prefix("itself, ") {
        Some(points) => {
            let (from, to) = points.split_once(" to ")?;
            Some(Against::Growth(from.parse().ok()?, to.parse().ok()?))
        }
        None => (!text.is_empty() && !text.contains(' ')).then(|| Against::Other(text.to_owned())),
    }
}

impl Against {
    fn show(&self) -> String {
        match self {
            Against::Other(name) => name.clone(),
            Against::Growth(from, to) => format!("itself, {from} to {to}"),
        }
    }
}

/// Compares all.
pub(crate) fn judge(budgets: &[Budget], table: &Table) -> Vec<Verdict> {
    budgets.iter().map(|budget| one(budget, table)).collect()
}

fn one(budget: &Budget, table: &Table) -> Verdict {
    let rows = match budget.row.as_str() {
        EVERY => table.rows(budget.quantity),
        row => vec![row],
    };
    let worst = rows
        .into_iter()
        .filter_map(|row| Some((row, compare(budget, row, table)?)))
        .max_by(|left, right| left.1.value.total_cmp(&right.1.value));
    let (row, standing) = match worst {
        None => (budget.row.as_str(), Standing::Unknown),
        Some((row, ratio)) if ratio.value > budget.at_most => (row, Standing::Missed(ratio)),
        Some((row, ratio)) => (row, Standing::Kept(ratio)),
    };
    Verdict {
        budget: budget.clone(),
        row: row.to_owned(),
        standing,
    }
}

fn compare(budget: &Budget, row: &str, table: &Table) -> Option<Estimate> {
    let samples = |at, runtime| table.samples(row, budget.quantity, at, runtime);
    match &budget.against {
        Against::Other(name) => ratio_estimate(samples(None, OWN), samples(None, name)),
        Against::Growth(from, to) => ratio_estimate(samples(Some(*to), OWN), samples(Some(*from), OWN)),
    }
}

impl Verdict {
    /// Whether nothing speaks against it.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.standing, Standing::Kept(_))
    }

    /// The word, and the figure.
    pub(crate) fn words(&self) -> (&'static str, String) {
        match &self.standing {
            Standing::Kept(ratio) => ("kept", show_ratio(ratio)),
            Standing::Missed(ratio) => ("MISSED", show_ratio(ratio)),
            Standing::Unknown => ("NOT MEASURED", "-".to_owned()),
        }
    }

    /// What was promised about what.
    pub(crate) fn subject(&self) -> String {
        let row = match self.row == self.budget.row {
            true => self.row.clone(),
            false => format!("{} ({})", self.budget.row, self.row),
        };
        let to = match &self.budget.against {
            Against::Other(name) if name == FLOOR => "times the floor".to_owned(),
            Against::Other(name) => format!("to {name}"),
            growth @ Against::Growth(..) => growth.show(),
        };
        format!("{row}: {}, {to}", self.budget.quantity.name())
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let (word, _) = self.words();
        let ratio = match self.standing {
            Standing::Kept(ratio) | Standing::Missed(ratio) => {
                json!({"ratio": ratio.value, "interval": [ratio.low, ratio.high]})
            }
            Standing::Unknown => Value::Null,
        };
        json!({
            "row": self.row,
            "quantity": self.budget.quantity.name(),
            "against": self.budget.against.show(),
            "at_most": self.budget.at_most,
            "standing": word.to_lowercase(),
            "measured": ratio,
        })
    }
}

/// A line for each; whether all are kept.
pub(crate) fn print(verdicts: &[Verdict]) -> bool {
    println!("\n{:<12} {:>8}  {:<22} budget", "", "at most", "measured (95 %)");
    for verdict in verdicts {
        let (word, measured) = verdict.words();
        println!(
            "{word:<12} {:>8.2}  {measured:<22} {}",
            verdict.budget.at_most,
            verdict.subject()
        );
    }
    let missed = verdicts.iter().filter(|verdict| !verdict.is_kept()).count();
    println!("{} budgets kept, {missed} not", verdicts.len() - missed);
    missed == 0
}

#[cfg(test)]
mod tests {
    use super::super::rounds::Operation;
    use super::super::{callers, limit, live, resident, together};
    use super::*;

    const SMALL: &str = "# T\n\n| Row | Quantity | Against | At most | Today |\n|---|---|---|---|---|\n\
        | `run true` | time | crun | 0.45 | x |\n| every command | peak memory | crun | 0.6 | |\n\
        | `create` | time | itself, 0 to 2000 | 1.1 | |\n\nAfter.\n";

    #[test]
    fn the_table_is_read() {
        let budgets = parse(SMALL).unwrap();
        assert_eq!(budgets.len(), 3);
        assert_eq!(budgets[0].against, Against::Other("crun".to_owned()));
        assert_eq!(
            (budgets[1].row.as_str(), budgets[1].quantity),
            (EVERY, Quantity::Peak)
        );
        assert_eq!(budgets[2].against, Against::Growth(0, 2000));
        for wrong in [
            "",
            "no table",
            &SMALL.replace("0.45", "little"),
            &SMALL.replace("peak memory", "beauty"),
            &SMALL.replace("0 to 2000", "0 2000"),
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn promises_are_judged() {
        let budgets = parse(SMALL).unwrap();
        let mut table = Table::default();
        for (row, quantity, at, runtime, number) in [
            ("run true", Quantity::Time, None, OWN, 40),
            ("run true", Quantity::Time, None, "crun", 100),
            ("run true", Quantity::Peak, None, OWN, 50),
            ("run true", Quantity::Peak, None, "crun", 100),
            ("state", Quantity::Peak, None, OWN, 70),
            ("state", Quantity::Peak, None, "crun", 100),
            ("create", Quantity::Time, Some(2000), OWN, 100),
        ] {
            table.put(row, quantity, at, runtime, number);
        }
        let verdicts = judge(&budgets, &table);
        assert!(verdicts[0].is_kept());
        // The worst of all commands counts, and is named.
        assert!(matches!(verdicts[1].standing, Standing::Missed(ratio) if (ratio.value - 0.7).abs() < 1e-9));
        assert!(
            verdicts[1].subject().contains("state"),
            "{}",
            verdicts[1].subject()
        );
        // Nothing was measured at 0.
        assert_eq!(verdicts[2].standing, Standing::Unknown);
        assert!(!print(&verdicts) && print(&verdicts[..1]));
        table.put("create", Quantity::Time, Some(0), OWN, 95);
        assert!(judge(&budgets, &table)[2].is_kept());
    }

    /// A budget about a row that nobody measures would be unknown for ever.
    #[test]
    fn every_promise_is_about_something_that_is_measured() {
        let budgets = parse(TEXT).unwrap();
        let mut rows: Vec<&str> = Operation::ALL.iter().map(|one| one.name()).collect();
        rows.extend([
            live::LIST,
            together::MANY,
            resident::WAITING,
            resident::PROGRAM,
            limit::ROW,
            EVERY,
        ]);
        let points = |row: &str| match row {
            live::CREATE => &live::POINTS[..],
            callers::CALLER | callers::LIBRARY => &callers::MIB,
            callers::MOUNTS => &callers::COUNTS,
            together::PARALLEL => &together::POINTS,
            _ => &[],
        };
        for budget in &budgets {
            match &budget.against {
                Against::Growth(from, to) => {
                    let points = points(&budget.row);
                    assert!(points.contains(from) && points.contains(to), "{budget:?}");
                }
                Against::Other(name) => {
                    assert!(rows.contains(&budget.row.as_str()), "{budget:?}");
                    assert!(["crun", "runc", FLOOR].contains(&name.as_str()), "{budget:?}");
                }
            }
            assert!(budget.at_most > 0.0, "{budget:?}");
        }
        // What has to be promised at the least.
        for row in [
            "run true",
            "create",
            "start",
            "state",
            "exec true",
            "delete --force, running",
            EVERY,
        ] {
            assert!(budgets.iter().any(|budget| budget.row == row), "{row}");
        }
    }
}
