//! Reports the state of the mount to systemd (sd_notify(3)).
//!
//! A service of `Type=notify` counts as started when the mount works, and `systemctl status` shows the last status
//! line. Without systemd nothing happens. The invariant: a failed notification never fails the mount, and a status is
//! one line.

use sd_notify::NotifyState;

/// Reports that the mount works.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// Reports the present state.
pub fn status(status: &str) {
    send(&[NotifyState::Status(&one_line(status))]);
}

/// Reports that the mount is being ended.
pub fn stopping(status: &str) {
    send(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// Replaces control characters: after a line feed a new notification would begin.
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
