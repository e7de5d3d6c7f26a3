//! Tables for people.

/// A table: columns as wide as they must be, two spaces between them. What others have chosen is made harmless first.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|row| row.map(|cell| plain(&cell))).collect();
    let mut widths = headings.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().fold(line(headings), |text, row| text + &line(row.each_ref().map(String::as_str)))
}

/// Names and what they stand for, one below the other; those without a value are left out.
pub(super) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let facts: Vec<_> = facts.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    facts.iter().fold(String::new(), |text, (name, value)| text + &format!("{name:<width$}  {}\n", plain(value)))
}

/// Text without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_others_have_chosen() {
        let shown = table(["CLIENT", "NAME"], [["web".to_owned(), "\u{1b}[2JGood".to_owned()]]);
        assert_eq!(shown, "CLIENT  NAME\nweb     \u{fffd}[2JGood\n");
        assert_eq!(
            facts([("a", "1".to_owned()), ("none", String::new()), ("long", "2".to_owned())]),
            "a     1\nlong  2\n"
        );
    }
}
