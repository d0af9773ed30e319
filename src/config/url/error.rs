//! What can be wrong with a URL, in sentences for the user.

/// Why a text is not a URL that names a share. No variant holds what could be a part of a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// There is no `://`.
    #[error("this is not a URL; expected {FORM}")]
    NotAUrl,
    /// The scheme is another one.
    #[error("the URL must begin with cifs:// or smb://; expected {FORM}")]
    Scheme,
    /// Nothing stands before the first `/`.
    #[error("the URL names no host; expected {FORM}")]
    MissingHost,
    /// Nothing stands behind the host.
    #[error("the URL names no share; expected {FORM}")]
    MissingShare,
    /// The host holds a character that no host has.
    #[error("the URL's host is not a host name or address; expected {FORM}")]
    Host,
    /// The port is not one.
    #[error("the URL's port is not a number from 1 to 65535; expected {FORM}")]
    Port,
    /// Brackets without an IPv6 address in them, or such an address without brackets.
    #[error("an IPv6 address in the URL stands in brackets: cifs://[fd00::1]/share")]
    Address,
    /// A `/`, `?` or `\` ended what was meant as the user's name or password.
    #[error(
        "a user name or password in front of the @ must be percent-encoded: / is %2F, ? is %3F, \\ is %5C, @ is %40"
    )]
    UserinfoNotEncoded,
    /// A password without a name in front of it.
    #[error("the URL has a password in front of the @, but no user name")]
    NamelessPassword,
    /// A `%` that begins no percent-encoded character.
    #[error("in the URL's {part}, a % is not followed by two hexadecimal digits; a % itself is written %25")]
    PercentEncoding {
        /// Where in the URL.
        part: &'static str,
    },
    /// The percent-encoded bytes are not UTF-8.
    #[error("the URL's {part} is not UTF-8 text once its percent-encoding is undone")]
    NotText {
        /// Where in the URL.
        part: &'static str,
    },
    /// A control character that no name has: in a path that is the one with the number 0.
    #[error("the URL's {part} holds a control character")]
    ControlCharacter {
        /// Where in the URL.
        part: &'static str,
    },
    /// A `..` as a component.
    #[error("the URL's path must not hold '..'")]
    ParentInPath,
    /// The transport is another word.
    #[error("{0}")]
    Transport(#[from] crate::config::connection::NotOneOf),
    /// The same key twice.
    #[error("the URL's query holds '{key}' twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A key that is none of ours.
    #[error("the URL's query holds the unknown option '{key}'{}", did_you_mean(.nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key it resembles most.
        nearest: Option<String>,
    },
    /// A key that is none of ours and may be what follows an unencoded `&` in a password.
    #[error(
        "the URL's query holds an unknown option behind auth-password; an & that belongs to the password is written %26"
    )]
    PasswordNotEncoded,
}

/// The form that messages show.
const FORM: &str = "cifs://host[:port]/share[/path][?auth-username=user&transport=directtcp]";

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|nearest| format!("; did you mean '{nearest}'?")).unwrap_or_default()
}
