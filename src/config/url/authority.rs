//! The part of the URL between `//` and the first separator: `[[domain;]user[:password]@]host[:port]`.

use super::decode::{Plus, decode};
use super::{Credentials, UrlError};
use secrecy::SecretString;
use std::net::Ipv6Addr;

pub(super) struct Authority {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) credentials: Credentials,
}

impl Authority {
    pub(super) fn parse(text: &str) -> Result<Authority, UrlError> {
        // The last `@` counts: an earlier one belongs to the name or the password.
        let (credentials, place) = match text.rsplit_once('@') {
            Some((userinfo, place)) => (parse_userinfo(userinfo)?, place),
            None => (Credentials::default(), text),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(bracketed) => {
                let (address, port) = bracketed.split_once(']').ok_or(UrlError::Address)?;
                (parse_ipv6(address)?, port)
            }
            None => {
                let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
                if port.matches(':').count() > 1 {
                    return Err(UrlError::Address);
                }
                (parse_host(host)?, port)
            }
        };
        Ok(Authority { host, port: parse_port(port)?, credentials })
    }
}

fn parse_host(text: &str) -> Result<String, UrlError> {
    let host = decode("host", text, Plus::IsPlus)?;
    if host.is_empty() {
        return Err(UrlError::MissingHost);
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.chars().all(allowed) { Ok(host.to_string()) } else { Err(UrlError::Host) }
}

/// An IPv6 address, with a zone after `%25` (RFC 6874) or, as users write it, after `%`.
fn parse_ipv6(text: &str) -> Result<String, UrlError> {
    let text = text.replacen("%25", "%", 1);
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text.as_str(), None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Address)?;
    match zone {
        None => Ok(address.to_string()),
        // The characters of interface names in practice; Linux allows more (`dev_valid_name()`).
        Some(zone) if !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || "-._@".contains(c)) => {
            Ok(format!("{address}%{zone}"))
        }
        Some(_) => Err(UrlError::Address),
    }
}

/// Parses `:port`. A colon alone, or an empty text, means no port.
fn parse_port(text: &str) -> Result<Option<u16>, UrlError> {
    match text.strip_prefix(':') {
        None if text.is_empty() => Ok(None),
        Some("") => Ok(None),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => match digits.parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(UrlError::Port),
        },
        _ => Err(UrlError::Port),
    }
}

/// `[domain;]user[:password]`. `user:` has an empty password; `user` has none.
fn parse_userinfo(text: &str) -> Result<Credentials, UrlError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    let (domain, user) = match user.split_once(';') {
        Some((domain, user)) => (Some(domain), user),
        None => (None, user),
    };
    let text_of = |part, text: &str| -> Result<Option<String>, UrlError> {
        let decoded = decode(part, text, Plus::IsPlus)?;
        Ok((!decoded.is_empty()).then(|| decoded.to_string()))
    };
    let username = text_of("user name", user)?;
    let password = match password {
        Some(_) if username.is_none() => return Err(UrlError::NamelessPassword),
        Some(password) => Some(SecretString::from(decode("password", password, Plus::IsPlus)?.as_str())),
        None => None,
    };
    let domain = match domain {
        Some(domain) => text_of("domain", domain)?,
        None => None,
    };
    Ok(Credentials { username, password, domain })
}
