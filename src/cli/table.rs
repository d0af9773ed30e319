//! The table of options in docs/options.md, made from their definition.

use super::args::{is_switch, mount_options};
use clap::Arg;

/// The mount options as a table in Markdown, in the order and under the headings of the help.
pub fn options_table() -> String {
    let mut table = String::from("| option | default | meaning |\n|---|---|---|\n");
    let mount_options = mount_options();
    let mut heading = None;
    for arg in &mount_options {
        if arg.get_help_heading() != heading {
            heading = arg.get_help_heading();
            table += &format!("| **{}** | | |\n", heading.unwrap_or_default());
        }
        table += &row(arg);
    }
    table
}

fn row(arg: &Arg) -> String {
    let name = arg.get_long().unwrap_or_default();
    let value = match arg.get_value_names() {
        Some([value, ..]) if !is_switch(arg) => format!(" {value}"),
        _ => String::new(),
    };
    let default = match arg.get_default_values() {
        [default, ..] if !is_switch(arg) => format!("`{}`", default.to_string_lossy()),
        _ => String::new(),
    };
    let meaning = arg.get_help().map(|help| help.to_string().replace('|', "\\|")).unwrap_or_default();
    format!("| `--{name}{value}` | {default} | {meaning} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_row_with_its_default_and_its_meaning() {
        let table = options_table();
        for arg in mount_options() {
            let begins = format!("| `--{}", arg.get_long().unwrap());
            let rows = table.lines().filter_map(|line| line.strip_prefix(&begins));
            assert_eq!(rows.filter(|rest| rest.starts_with([' ', '`'])).count(), 1, "{}", arg.get_id());
        }
        assert!(table.contains("| **Signing in** | | |"));
        assert!(table.contains("| `--ro` |  | Mount read-only; -r is the same, -w the opposite |"));
        assert!(table.contains("| `--chown ACTION` | `store` | What chown and chgrp do, in the same words |"));
        assert!(table.lines().all(|line| line.starts_with('|') && line.ends_with('|')));
    }

    #[test]
    fn the_page_of_options_holds_this_table() {
        let page = include_str!("../../docs/options.md");
        let (_, rest) =
            page.split_once("<!-- options: begin -->\n").expect("docs/options.md must mark the beginning of the table");
        let (table, _) =
            rest.split_once("<!-- options: end -->").expect("docs/options.md must mark the end of the table");
        assert_eq!(table, options_table(), "replace the table by the output of cifs-fuse --print-options-table");
    }
}
