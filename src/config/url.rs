//! The URL that names a share: `cifs://[user[:password]@]host[:port]/share[/path][?key=value&…]`.
//!
//! [`ShareUrl::parse`] reads it from left to right: scheme, authority (`authority.rs`), path, query (`query.rs`). Every
//! part may be percent-encoded (`decode.rs`); in the query a `+` is a space. `\` separates like `/`, and `#` is an
//! ordinary character, since file names and passwords contain it. `%5C` is not a separator but part of a name, like
//! every character that a mount can show in one.
//!
//! The invariant: no error here quotes text that could be part of a password, and neither `Display` nor `Debug` of a
//! [`ShareUrl`] shows a password.

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

/// A share, a folder on it, and the options of the URL.
#[derive(Clone, Debug)]
pub struct ShareUrl {
    /// The transport, if the URL has one.
    pub transport: Option<Transport>,
    /// A host name or an address; an IPv6 address is without brackets, and its zone follows a `%`.
    pub host: String,
    /// The TCP port, if the URL has one.
    pub port: Option<u16>,
    /// The name of the share.
    pub share: String,
    /// The folder on the share, with `/` between its components and none at the ends; empty for the share's root. The
    /// names are those that a mount shows: characters that SMB reserves are not mapped yet.
    pub path: String,
    /// The user name: `auth-username`, or else the name before the `@`.
    pub username: Option<String>,
    /// The password: `auth-password`, or else the one before the `@`.
    pub password: Option<SecretString>,
    /// The domain: `auth-domain`, or else the one before a `;` in front of the user name.
    pub domain: Option<String>,
    /// The other options in the query, by their long names, in the order of the URL. They replace those of the command
    /// line. A key without `=` has no value.
    pub overrides: Vec<(String, Option<String>)>,
}

/// The characters that are percent-encoded when a host, share or path is written into a URL: all but letters, digits
/// and the other characters of a path segment (RFC 3986 3.3). Of those, `&`, at which a shell ends an unquoted command,
/// and `'` are encoded as well.
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
    /// Parses a URL. `options` are the long names of the options that its query may contain in addition to the URL's
    /// own keys.
    ///
    /// # Errors
    /// The first problem with the URL, as a message for the user.
    pub fn parse(text: &str, options: &[&str]) -> Result<ShareUrl, UrlError> {
        let rest = after_scheme(text)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_at(place.find(['/', '\\']).unwrap_or(place.len()));
        let authority = Authority::parse(authority).map_err(|error| match error {
            // The authority ended too early if an `@` follows later.
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

    /// The URL of the server: `cifs://host[:port]`, percent-encoded, without credentials.
    pub fn server(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host.replace('%', "%25")),
            false => utf8_percent_encode(&self.host, ENCODED).to_string(),
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("cifs://{host}{port}")
    }

    /// The credentials in the URL.
    pub fn credentials(&self) -> Credentials {
        Credentials { username: self.username.clone(), password: self.password.clone(), domain: self.domain.clone() }
    }
}

/// Whether a text is a URL of this program, by its scheme.
pub fn has_known_scheme(text: &str) -> bool {
    after_scheme(text).is_ok()
}

/// The URL of a share that is written as `//host/share/path`, as for mount.cifs, or as `\\\\host\\share\\path`, as on
/// Windows; `None` for any other text. Each part is percent-encoded where a URL needs that.
pub fn url_of_unc(text: &str) -> Option<String> {
    let rest = text.strip_prefix("//").or_else(|| text.strip_prefix(r"\\"))?;
    let mut parts = rest.split(['/', '\\']).filter(|part| !part.is_empty());
    // A host may have a port, or be an IPv6 address in brackets.
    let host = parts.next()?;
    let path: String = parts.map(|part| format!("/{}", utf8_percent_encode(part, ENCODED))).collect();
    (!path.is_empty()).then(|| format!("cifs://{host}{path}"))
}

/// A hint for the user if the text may be a URL that a shell has cut at an unquoted `&`: its query has exactly one key.
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

/// The first component is the share, the rest is the path on it.
fn share_and_path(text: &str) -> Result<(String, String), UrlError> {
    // The path is split before it is decoded, so that a name can contain a `\`. No name contains a `/`, encoded or not.
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

/// `cifs://host[:port]/share[/path]`, percent-encoded, without credentials.
impl fmt::Display for ShareUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server(), utf8_percent_encode(&self.share, ENCODED))?;
        for component in self.path.split('/').filter(|component| !component.is_empty()) {
            write!(f, "/{}", utf8_percent_encode(component, ENCODED))?;
        }
        Ok(())
    }
}
