//! Columns that line up, for people.

/// The heads and rows with each column as wide as its widest cell, two spaces between them, and an empty line after.
/// `""` when there are no rows.
pub(super) fn render<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads = heads.map(str::to_owned);
    let lines: Vec<&[String; N]> = std::iter::once(&heads).chain(rows).collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line.iter()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_without_trailing_spaces() {
        let rows = [["a".to_owned(), "long".to_owned()], ["longer".to_owned(), "é".to_owned()]];
        assert_eq!(render(["X", "Y"], &rows), "X       Y\na       long\nlonger  é\n\n");
        assert_eq!(render(["X"], &[]), "");
    }
}
