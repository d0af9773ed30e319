//! Log lines about replies that come too late.
//!
//! When a mount ends, by an unmount or by an abort, the kernel drops the requests in flight. Most of these are
//! RELEASEs, for which no program waits. Writing their replies fails with ENOENT (`fuse_dev_do_write`), which fuser
//! logs as an error. This is normal, so the log omits these lines.

/// The log target of fuser's line about a reply that was not sent.
const TARGET: &str = "fuser::reply";
const ENOENT: &str = "(os error 2)";

/// Whether a log line only says that a reply came after its request was gone.
pub fn is_late_reply(target: &str, message: &str) -> bool {
    target == TARGET && message.ends_with(ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_whose_request_is_gone_is_omitted() {
        let error = |number| format!("Failed to send FUSE reply: {}", std::io::Error::from_raw_os_error(number));
        assert!(is_late_reply("fuser::reply", &error(libc::ENOENT)));
        assert!(!is_late_reply("fuser::reply", &error(libc::EINVAL)));
        assert!(!is_late_reply("fuser::session", &error(libc::ENOENT)));
    }
}
