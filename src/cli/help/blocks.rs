//! The parts of a text of the help: for a terminal of any width, and for the manual.
//!
//! A text is written as it is shown, with lines that fit 80 columns. Lines of one sentence are joined here, and wrapped
//! again for the terminal.

use crate::cli::text::wrapped;

/// The indentation of all parts on a terminal.
const INDENT: usize = 2;

/// A part of a text, with its lines joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Block<'a> {
    /// A name and its meaning, with two spaces or more between them.
    Item(&'a str, String),
    /// A number and what it is for.
    Numbered(&'a str, String),
    /// A command, a URL or a line of a file.
    Literal(&'a str),
    /// Sentences.
    Paragraph(String),
}

/// The parts of a text, whose lines are without the indentation that all of them have.
pub(super) fn blocks<'a>(lines: &[&'a str]) -> Vec<Block<'a>> {
    let is_number = |text: &str| text.len() < 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_literal = |line: &str| ["cifs", "AUTH_", "fusermount3"].iter().any(|start| line.starts_with(start));
    let mut blocks = Vec::new();
    let mut ends = true;
    for line in lines {
        let text = line.trim();
        match blocks.last_mut() {
            Some(Block::Item(_, before) | Block::Numbered(_, before)) if line.starts_with(' ') => join(before, text),
            Some(Block::Paragraph(before)) if !ends && !text.is_empty() && !is_literal(text) => join(before, text),
            _ if text.is_empty() => {}
            _ if is_literal(text) => blocks.push(Block::Literal(text)),
            _ => blocks.push(match (text.split_once("  "), text.split_once(". ")) {
                (Some((name, meaning)), _) => Block::Item(name, meaning.trim().to_owned()),
                (None, Some((number, meaning))) if is_number(number) => Block::Numbered(number, meaning.to_owned()),
                _ => Block::Paragraph(text.to_owned()),
            }),
        }
        ends = text.is_empty();
    }
    blocks
}

fn join(before: &mut String, text: &str) {
    before.push(' ');
    before.push_str(text);
}

/// The text of these parts for a terminal of `width` columns.
pub(super) fn on_terminal(blocks: &[Block<'_>], width: usize) -> String {
    let names = blocks.iter().filter_map(|block| match block {
        Block::Item(name, _) => Some(name.len()),
        _ => None,
    });
    let column = names.max().unwrap_or(0) + 2;
    let mut shown = String::new();
    let mut previous: Option<&Block<'_>> = None;
    for block in blocks {
        let (head, text) = match block {
            Block::Item(name, text) => (format!("{name:column$}"), text.as_str()),
            Block::Numbered(number, text) => (format!("{number}. "), text.as_str()),
            Block::Literal(line) => (String::new(), *line),
            Block::Paragraph(text) => (String::new(), text.as_str()),
        };
        if matches!((previous, block), (Some(Block::Literal(_) | Block::Paragraph(_)), Block::Paragraph(_))) {
            shown.push('\n');
        }
        let lines = match block {
            Block::Literal(line) => vec![(*line).to_owned()],
            _ => wrapped(text, width.saturating_sub(INDENT + head.len())),
        };
        for (number, line) in lines.iter().enumerate() {
            let start = if number == 0 { head.clone() } else { " ".repeat(head.len()) };
            shown += &format!("{:INDENT$}{start}{line}\n", "");
        }
        previous = Some(block);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 12] = [
        "cifs://nas/share",
        "",
        "One",
        "sentence.",
        "",
        "1. the URL;",
        "   its query",
        "2. -o",
        "Next.",
        "",
        "SIGHUP  read",
        "        again",
    ];

    #[test]
    fn lines_of_one_sentence_are_joined() {
        let text = |text: &str| text.to_owned();
        let expected = [
            Block::Literal("cifs://nas/share"),
            Block::Paragraph(text("One sentence.")),
            Block::Numbered("1", text("the URL; its query")),
            Block::Numbered("2", text("-o")),
            Block::Paragraph(text("Next.")),
            Block::Item("SIGHUP", text("read again")),
        ];
        assert_eq!(blocks(&LINES), expected);
    }

    #[test]
    fn a_text_is_wrapped_to_the_terminal() {
        let narrow = "  cifs://nas/share\n\n  One\n  sentence.\n  1. the URL;\n     its query\n  2. -o\n  Next.\n  SIGHUP  read\n          again\n";
        assert_eq!(on_terminal(&blocks(&LINES), 14), narrow);
        let wide =
            "  cifs://nas/share\n\n  One sentence.\n  1. the URL; its query\n  2. -o\n  Next.\n  SIGHUP  read again\n";
        assert_eq!(on_terminal(&blocks(&LINES), 60), wide);
    }
}
