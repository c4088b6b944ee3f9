//! What was measured: numbers in series, each of one row, one quantity, one runtime and, where a row is drawn against something,
//! one point.
//!
//! Must not live here: measuring, statistics.

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quantity {
    /// Nanoseconds.
    Time,
    /// The largest resident set of a command or of what it waited for, in KiB.
    Peak,
    /// Anonymous memory of a command at its end, in KiB.
    Anonymous,
    /// Resident memory of a process that waits, in KiB.
    Resident,
    /// The smallest limit that is enough, in KiB.
    Limit,
    /// A file's size in bytes.
    Size,
}

impl Quantity {
    /// All.
    pub(crate) const ALL: [Quantity; 6] = [
        Quantity::Time,
        Quantity::Peak,
        Quantity::Anonymous,
        Quantity::Resident,
        Quantity::Limit,
        Quantity::Size,
    ];

    /// In tables, in JSON and in budgets.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::Time => "time",
            Quantity::Peak => "peak memory",
            Quantity::Anonymous => "anonymous memory",
            Quantity::Resident => "resident memory",
            Quantity::Limit => "memory limit",
            Quantity::Size => "size",
        }
    }

    /// What a number of it is counted in.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Quantity::Time => "ns",
            Quantity::Size => "bytes",
            _ => "KiB",
        }
    }

    /// A number for people, with its unit.
    pub(crate) fn show(self, number: u64) -> String {
        let thirds = |divisor: u64, unit: &str| {
            let hundredths = (number + divisor / 200) / (divisor / 100).max(1);
            format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100)
        };
        match self {
            Quantity::Time => thirds(1_000_000, "ms"),
            Quantity::Size => thirds(1_000_000, "MB"),
            _ => format!("{number} KiB"),
        }
    }
}

/// The numbers of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) row: String,
    pub(crate) quantity: Quantity,
    /// Where on the horizontal axis, for rows that have one.
    pub(crate) at: Option<u64>,
    pub(crate) runtime: String,
    /// In the order of measuring.
    pub(crate) samples: Vec<u64>,
}

/// All that was measured, in the order in which rows came first.
#[derive(Debug, Default)]
pub(crate) struct Table {
    all: Vec<Series>,
}

impl Table {
    /// One number more.
    pub(crate) fn put(&mut self, row: &str, quantity: Quantity, at: Option<u64>, runtime: &str, number: u64) {
        let found = self
            .all
            .iter_mut()
            .find(|one| one.row == row && one.quantity == quantity && one.at == at && one.runtime == runtime);
        match found {
            Some(series) => series.samples.push(number),
            None => self.all.push(Series {
                row: row.to_owned(),
                quantity,
                at,
                runtime: runtime.to_owned(),
                samples: vec![number],
            }),
        }
    }

    /// All series.
    pub(crate) fn all(&self) -> &[Series] {
        &self.all
    }

    /// The numbers of one kind; none where it was not measured.
    pub(crate) fn samples(&self, row: &str, quantity: Quantity, at: Option<u64>, runtime: &str) -> &[u64] {
        let found = self
            .all
            .iter()
            .find(|one| one.row == row && one.quantity == quantity && one.at == at && one.runtime == runtime);
        found.map_or(&[], |series| &series.samples)
    }

    /// The rows of a quantity, each once.
    pub(crate) fn rows(&self, quantity: Quantity) -> Vec<&str> {
        let mut rows = Vec::new();
        for series in self.all.iter().filter(|series| series.quantity == quantity) {
            if !rows.contains(&series.row.as_str()) {
                rows.push(series.row.as_str());
            }
        }
        rows
    }

    /// The runtimes, each once.
    pub(crate) fn runtimes(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for series in &self.all {
            if !names.contains(&series.runtime.as_str()) {
                names.push(series.runtime.as_str());
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_one_kind_come_together() {
        let mut table = Table::default();
        for number in [3, 1, 2] {
            table.put("run", Quantity::Time, None, "a", number);
        }
        table.put("run", Quantity::Time, Some(8), "a", 9);
        table.put("run", Quantity::Peak, None, "b", 7);
        assert_eq!(table.samples("run", Quantity::Time, None, "a"), [3, 1, 2]);
        assert_eq!(table.samples("run", Quantity::Time, Some(8), "a"), [9]);
        assert!(table.samples("run", Quantity::Time, None, "b").is_empty());
        assert_eq!(table.all().len(), 3);
        assert_eq!(
            (table.rows(Quantity::Peak), table.runtimes()),
            (vec!["run"], vec!["a", "b"])
        );
    }

    #[test]
    fn numbers_are_shown_with_their_unit() {
        assert_eq!(Quantity::Time.show(1_234_567), "1.23 ms");
        assert_eq!(Quantity::Time.show(999_999), "1.00 ms");
        assert_eq!(Quantity::Size.show(6_321_944), "6.32 MB");
        assert_eq!(Quantity::Peak.show(4500), "4500 KiB");
        assert!(
            Quantity::ALL
                .iter()
                .all(|one| !one.name().is_empty() && !one.unit().is_empty())
        );
    }
}
