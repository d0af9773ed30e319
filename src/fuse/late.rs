//! Replies that come too late.
//!
//! When a mount ends, by an unmount as well as by an abort, the kernel drops the requests that still run; most often these are
//! RELEASEs, which no program waits for. Their replies are answered with ENOENT (`fuse_dev_do_write`), which fuser logs as
//! an error. Nothing is wrong then, so the log leaves such lines out.

/// Where fuser logs that a reply was not sent.
const TARGET: &str = "fuser::reply";
const ENOENT: &str = "(os error 2)";

/// Whether a line in the log says only that a reply came after its request was gone.
pub fn is_late_reply(target: &str, message: &str) -> bool {
    target == TARGET && message.ends_with(ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reply_whose_request_is_gone_is_left_out() {
        let error = |number| format!("Failed to send FUSE reply: {}", std::io::Error::from_raw_os_error(number));
        assert!(is_late_reply("fuser::reply", &error(libc::ENOENT)));
        assert!(!is_late_reply("fuser::reply", &error(libc::EINVAL)));
        assert!(!is_late_reply("fuser::session", &error(libc::ENOENT)));
    }
}
