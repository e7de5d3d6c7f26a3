//! The table.

use std::time::Instant;

/// What is owed.
pub(crate) enum Budget {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

/// One line: a figure beside its floor, and their ratio beside the budget.
pub(crate) struct Row {
    /// What is measured.
    pub(crate) name: &'static str,
    /// The figure, with its unit.
    pub(crate) measured: String,
    /// What it is compared with.
    pub(crate) floor: String,
    /// What the budget is about: a ratio, or the figure itself.
    pub(crate) judged: f64,
    /// What is owed.
    pub(crate) budget: Budget,
}

/// A table under way.
pub(crate) struct Report {
    began: Instant,
    over: usize,
}

impl Report {
    /// Prints the head.
    pub(crate) fn begin() -> Self {
        println!("{:<44} {:>14} {:>14} {:>8}  {:<10} verdict", "row", "measured", "floor", "ratio", "budget");
        Self { began: Instant::now(), over: 0 }
    }

    /// Prints a row as soon as it is known.
    pub(crate) fn row(&mut self, row: Row) {
        let Row { name, measured, floor, judged, budget } = row;
        let (owed, met) = match budget {
            Budget::AtMost(limit) => (format!("<= {limit}"), judged <= limit),
            Budget::AtLeast(limit) => (format!(">= {limit}"), judged >= limit),
        };
        let ratio = if floor.is_empty() { String::new() } else { format!("{judged:.2}") };
        self.over += usize::from(!met);
        let verdict = if met { "ok" } else { "over budget" };
        println!("{name:<44} {measured:>14} {floor:>14} {ratio:>8}  {owed:<10} {verdict}");
    }

    /// Prints something that a row does not say.
    #[expect(clippy::unused_self, reason = "a note stands in a report")]
    pub(crate) fn note(&self, text: &str) {
        println!("  {text}");
    }

    /// Prints the end.
    pub(crate) fn end(self) {
        let seconds = self.began.elapsed().as_secs();
        match self.over {
            0 => println!("every budget is met; {seconds} s"),
            over => println!("over budget in {over} rows; {seconds} s"),
        }
    }
}
