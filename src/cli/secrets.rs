//! Finds the passwords in an argument.

use crate::config::url::option_name;
use percent_encoding::percent_decode_str;
use std::ops::Range;

/// The names of the password option, in a URL's query and in `-o`.
pub(super) const PASSWORD_NAMES: [&str; 3] = ["auth-password", "password", "pass"];

/// The ranges of the passwords in an argument, in bytes: in a URL and in a list of `-o` options. In a malformed
/// argument more is treated as a password rather than less.
pub(super) fn secret_ranges(argument: &str) -> Vec<Range<usize>> {
    match argument.split_once("://") {
        Some((scheme, _)) if !scheme.contains(['=', ',']) => in_url(argument, scheme.len() + "://".len()),
        _ if argument.contains('?') => in_query(argument),
        _ => in_options(argument),
    }
}

/// The argument with its passwords replaced by `***`.
pub(super) fn redacted(argument: &str) -> String {
    let mut shown = argument.to_owned();
    for range in secret_ranges(argument).into_iter().rev() {
        shown.replace_range(range, "***");
    }
    shown
}

fn in_url(url: &str, start: usize) -> Vec<Range<usize>> {
    let userinfo = in_userinfo(url, start);
    let end = userinfo.as_ref().map_or(0, |range| range.end);
    let query = in_query(url).into_iter().filter(|range| range.start >= end);
    userinfo.into_iter().chain(query).collect()
}

/// The range between the first `:` and the last `@` of the authority. If the authority has neither an `@` nor a port, a
/// separator in the password has ended it too early, and the last `@` of the whole text counts.
fn in_userinfo(url: &str, start: usize) -> Option<Range<usize>> {
    let end = url[start..].find(['/', '\\', '?']).map_or(url.len(), |length| start + length);
    let authority = &url[start..end];
    let colon = start + authority.find(':')? + 1;
    let at = match authority.rfind('@') {
        Some(at) => start + at,
        None if url[colon..end].bytes().all(|byte| byte.is_ascii_digit()) || authority.starts_with('[') => return None,
        None => url.rfind('@')?,
    };
    (colon < at).then_some(colon..at)
}

fn in_query(url: &str) -> Vec<Range<usize>> {
    let Some(mark) = url.find('?') else { return Vec::new() };
    let mut at = mark + 1;
    let mut ranges = Vec::new();
    for pair in url[at..].split('&') {
        if let Some((key, value)) = pair.split_once('=')
            && !value.is_empty()
            && PASSWORD_NAMES.contains(&&*option_name(&percent_decode_str(key).decode_utf8_lossy()))
        {
            ranges.push(at + pair.len() - value.len()..at + pair.len());
        }
        at += pair.len() + 1;
    }
    ranges
}

/// `-o a,password=b,c`, `-opassword=b`, `--password=b`.
fn in_options(argument: &str) -> Vec<Range<usize>> {
    let start = argument.len() - argument.trim_start_matches('-').len();
    let start = if argument.starts_with("-o") { 2 } else { start };
    let mut ranges = Vec::new();
    for item in super::mount_options::items(&argument[start..]) {
        let text = &argument[start..][item.clone()];
        if let Some((key, value)) = text.split_once('=')
            && !value.is_empty()
            && PASSWORD_NAMES.contains(&&*option_name(key))
        {
            ranges.push(start + item.end - value.len()..start + item.end);
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_in_every_form_of_argument() {
        for (argument, shown) in [
            ("cifs://nas/m", "cifs://nas/m"),
            ("cifs://nas:445/m/x@y", "cifs://nas:445/m/x@y"),
            ("cifs://[::1]:445/m/x@y", "cifs://[::1]:445/m/x@y"),
            ("cifs://ann@nas/m", "cifs://ann@nas/m"),
            ("cifs://ann:pw@nas/m", "cifs://ann:***@nas/m"),
            ("cifs://ann:p@w:x@nas:445/m?a=b", "cifs://ann:***@nas:445/m?a=b"),
            ("cifs://ann:p/w@nas/m", "cifs://ann:***@nas/m"),
            ("cifs://ann:p?w@nas/m", "cifs://ann:***@nas/m"),
            ("cifs://nas/m?auth-username=ann&auth-password=pw", "cifs://nas/m?auth-username=ann&auth-password=***"),
            ("cifs://nas/m?AUTH_PASSWORD=p=w&ro", "cifs://nas/m?AUTH_PASSWORD=***&ro"),
            ("cifs://nas/m?auth%2Dpassword=pw", "cifs://nas/m?auth%2Dpassword=***"),
            ("cifs://a:pw@nas/m?auth-password=pw", "cifs://a:***@nas/m?auth-password=***"),
            ("cifs://nas/m?auth-password=", "cifs://nas/m?auth-password="),
            ("nas/m?auth-password=pw", "nas/m?auth-password=***"),
            ("ro,password=p=w,uid=5", "ro,password=***,uid=5"),
            ("ro,pass=\"a,b\",uid=5", "ro,pass=***,uid=5"),
            ("password=a\\,b", "password=***"),
            ("-oro,pass=pw", "-oro,pass=***"),
            ("--password=pw", "--password=***"),
            ("-o", "-o"),
            ("comment=cifs://x,password=pw", "comment=cifs://x,password=***"),
            ("password-fd=3", "password-fd=3"),
        ] {
            assert_eq!(redacted(argument), shown);
        }
    }
}
