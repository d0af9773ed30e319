//! What can be wrong with a URL, as messages for the user.

/// Why a text is not the URL of a share. No variant contains text that could be part of a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// The text has no `://`.
    #[error("this is not a URL; expected {FORM}")]
    NotAUrl,
    /// The scheme is neither `cifs` nor `smb`.
    #[error("the URL must begin with cifs:// or smb://; expected {FORM}")]
    Scheme,
    /// The host before the first `/` is empty.
    #[error("the URL names no host; expected {FORM}")]
    MissingHost,
    /// There is no share after the host.
    #[error("the URL names no share; expected {FORM}")]
    MissingShare,
    /// The host contains a character that no host name has.
    #[error("the URL's host is not a host name or address; expected {FORM}")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the URL's port is not a number from 1 to 65535; expected {FORM}")]
    Port,
    /// Brackets without an IPv6 address in them, or an IPv6 address without brackets.
    #[error("an IPv6 address in the URL must be in brackets: cifs://[fd00::1]/share")]
    Address,
    /// A `/`, `?` or `\` in the user name or password ended the authority.
    #[error(
        "a user name or password in front of the @ must be percent-encoded: / is %2F, ? is %3F, \\ is %5C, @ is %40"
    )]
    UserinfoNotEncoded,
    /// There is a password without a user name before it.
    #[error("the URL has a password in front of the @, but no user name")]
    NamelessPassword,
    /// A `%` without two hexadecimal digits after it.
    #[error("in the URL's {part}, a % is not followed by two hexadecimal digits; a % itself is written %25")]
    PercentEncoding {
        /// The part of the URL.
        part: &'static str,
    },
    /// The decoded bytes are not UTF-8.
    #[error("the URL's {part} is not UTF-8 text once its percent-encoding is undone")]
    NotText {
        /// The part of the URL.
        part: &'static str,
    },
    /// A control character that no name contains; in a path only NUL is refused.
    #[error("the URL's {part} holds a control character")]
    ControlCharacter {
        /// The part of the URL.
        part: &'static str,
    },
    /// A component of the path is `..`.
    #[error("the URL's path must not hold '..'")]
    ParentInPath,
    /// The transport is an unknown word.
    #[error("{0}")]
    Transport(#[from] crate::config::connection::NotOneOf),
    /// A key is given twice.
    #[error("the URL's query holds '{key}' twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A key is unknown.
    #[error("the URL's query holds the unknown option '{key}'{}", did_you_mean(.nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key it resembles most.
        nearest: Option<String>,
    },
    /// A key is unknown and may be what follows an unencoded `&` in a password.
    #[error(
        "the URL's query holds an unknown option after auth-password; an & that belongs to the password is written %26"
    )]
    PasswordNotEncoded,
}

/// The form of a URL, as the messages show it.
const FORM: &str = "cifs://host[:port]/share[/path][?auth-username=user&transport=directtcp]";

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|nearest| format!("; did you mean '{nearest}'?")).unwrap_or_default()
}
