//! Text for a screen: names that others chose, and lines of at most 80 columns.

/// The width of a screen, in columns.
pub(super) const WIDTH: usize = 80;

/// Whether a character controls a terminal or the direction of text.
pub(super) fn is_control(c: char) -> bool {
    let is_direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A text that a server, another machine or another process chose, with its control characters escaped.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The lines of a text, broken between words so that none is longer than `width` columns. A longer word has a line of
/// its own.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let last = lines.last_mut().expect("there is a first line");
        let length = last.chars().count();
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if length > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible a b", 4), ["incomprehensible", "a b"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn a_name_cannot_control_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\nb\u{202e}c\u{61c}"), "a\\u{1b}[2J\\nb\\u{202e}c\\u{61c}");
    }
}
