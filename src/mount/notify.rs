//! Tells systemd how far we are (sd_notify(3)).
//!
//! A service of `Type=notify` counts as started when the mount works, and `systemctl status` shows
//! the last status line. Without systemd nothing happens. The invariant: a notification never fails
//! the mount, and a status is one line.

use sd_notify::NotifyState;

/// The mount works.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// What is going on.
pub fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// The mount is being ended.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// A line feed would begin a notification of its own.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_carry_another_notification() {
        assert_eq!(one_line("no route to nas\nREADY=1"), "no route to nas READY=1");
    }
}
