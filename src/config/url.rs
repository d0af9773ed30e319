//! The URL that names a share: `cifs://[user[:password]@]host[:port]/share[/path][?key=value&…]`.
//!
//! [`ShareUrl::parse`] walks it from left to right: scheme, authority (`authority.rs`), path, query
//! (`query.rs`). Everything may be percent-encoded (`decode.rs`); in the query a `+` is a space.
//! `\` separates like `/`, and `#` is an ordinary character, since file names and passwords hold it.
//! A `%5C` separates nothing: it is part of a name, as any character is that a mount shows in one.
//!
//! The invariant: no error here quotes anything that could be a part of a password, and what a
//! [`ShareUrl`] shows, by `Display` or `Debug`, holds none.

mod authority;
mod decode;
mod error;
mod query;
#[cfg(test)]
mod tests;

use super::{Credentials, Transport};
use authority::Authority;
use decode::{Plus, decode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use query::Query;
use secrecy::SecretString;
use std::fmt;

pub use error::UrlError;
pub(crate) use query::option_name;

/// A share, a folder on it, and what else the URL said.
#[derive(Clone, Debug)]
pub struct ShareUrl {
    /// How messages travel, if the URL says.
    pub transport: Option<Transport>,
    /// A host name or an address; an IPv6 address without brackets, its zone behind a `%`.
    pub host: String,
    /// The TCP port, if the URL says.
    pub port: Option<u16>,
    /// The name of the share.
    pub share: String,
    /// The folder on the share, with `/` between its components and none at the ends; empty for the share's root. Its names
    /// are those that a mount shows: what SMB reserves has not been encoded.
    pub path: String,
    /// Who signs in: `auth-username`, or else the name before the `@`.
    pub username: Option<String>,
    /// The password: `auth-password`, or else the one before the `@`.
    pub password: Option<SecretString>,
    /// The domain: `auth-domain`, or else the one before a `;` in front of the name.
    pub domain: Option<String>,
    /// Other options in the query, by their long names, in the URL's order. They override the command
    /// line. A key that stands there without `=` has no value.
    pub overrides: Vec<(String, Option<String>)>,
}

/// What stays as it is when a host, share or path is written into a URL (RFC 3986 3.3), except `&`,
/// which shells would take.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

impl ShareUrl {
    /// Reads a URL. `options` are the long names of the options that its query may hold beside the
    /// URL's own keys.
    ///
    /// # Errors
    /// Whatever is wrong with the URL, in a sentence for the user.
    pub fn parse(text: &str, options: &[&str]) -> Result<ShareUrl, UrlError> {
        let rest = after_scheme(text)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_at(place.find(['/', '\\']).unwrap_or(place.len()));
        let authority = Authority::parse(authority).map_err(|error| match error {
            // The authority ended too early if an `@` is still to come.
            UrlError::Port | UrlError::Address if rest[authority.len()..].contains('@') => UrlError::UserinfoNotEncoded,
            error => error,
        })?;
        let (share, path) = share_and_path(path)?;
        let query = Query::parse(query, options)?;
        let Credentials { username, password, domain } = query.credentials.or(authority.credentials);
        Ok(ShareUrl {
            transport: query.transport,
            host: authority.host,
            port: authority.port,
            share,
            path,
            username,
            password,
            domain,
            overrides: query.overrides,
        })
    }

    /// What the URL says about who signs in.
    pub fn credentials(&self) -> Credentials {
        Credentials { username: self.username.clone(), password: self.password.clone(), domain: self.domain.clone() }
    }
}

/// Whether a text is a URL of ours rather than something else, judged by its scheme.
pub fn has_our_scheme(text: &str) -> bool {
    after_scheme(text).is_ok()
}

/// A sentence for the user if the text may be a URL that a shell has cut at an unquoted `&`: its query
/// holds one key and no more.
pub fn cut_hint(text: &str) -> Option<&'static str> {
    let (_, query) = text.split_once('?')?;
    (!query.is_empty() && !query.contains('&')).then_some(
        "The URL looks cut: a shell ends a command at an & that is not quoted. Put the URL in 'single quotes'.",
    )
}

fn after_scheme(text: &str) -> Result<&str, UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::NotAUrl)?;
    match scheme.to_ascii_lowercase().as_str() {
        "cifs" | "smb" => Ok(rest),
        _ => Err(UrlError::Scheme),
    }
}

/// The first component names the share, the rest is the path on it.
fn share_and_path(text: &str) -> Result<(String, String), UrlError> {
    // Separated first and decoded then, so that a name may hold a `\`. None holds a `/`, however that is written.
    let parts =
        text.split(['/', '\\']).map(|part| decode("path", part, Plus::IsPlus)).collect::<Result<Vec<_>, _>>()?;
    let mut components =
        parts.iter().flat_map(|part| part.split('/')).filter(|component| !matches!(*component, "" | "."));
    let share = components.next().ok_or(UrlError::MissingShare)?.to_owned();
    let path: Vec<&str> = components.collect();
    if share == ".." || path.contains(&"..") {
        return Err(UrlError::ParentInPath);
    }
    if share.contains(char::is_control) {
        return Err(UrlError::ControlCharacter { part: "share" });
    }
    if path.iter().any(|name| name.contains('\0')) {
        return Err(UrlError::ControlCharacter { part: "path" });
    }
    Ok((share, path.join("/")))
}

/// `cifs://host[:port]/share[/path]`, percent-encoded, and nothing about who signs in.
impl fmt::Display for ShareUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cifs://")?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host.replace('%', "%25"))?;
        } else {
            write!(f, "{}", utf8_percent_encode(&self.host, ENCODED))?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", utf8_percent_encode(&self.share, ENCODED))?;
        for component in self.path.split('/').filter(|component| !component.is_empty()) {
            write!(f, "/{}", utf8_percent_encode(component, ENCODED))?;
        }
        Ok(())
    }
}
