//! Percent-decoding (RFC 3986 2.1) that leaves no copy of a secret in memory.

use super::UrlError;
use zeroize::Zeroizing;

/// What a `+` means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself: in a path, a host and before the `@`.
    IsPlus,
    /// A space: in the query.
    IsSpace,
}

/// Decodes `text`; `part` names its place in the URL for errors.
pub(super) fn decode(part: &'static str, text: &str, plus: Plus) -> Result<Zeroizing<String>, UrlError> {
    // The buffer has its full size from the start: growing would leave a copy of the beginning in freed memory.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(UrlError::PercentEncoding { part }),
                }
            }
            b'+' if plus == Plus::IsSpace => b' ',
            other => other,
        });
    }
    let decoded = std::str::from_utf8(&decoded).map_err(|_| UrlError::NotText { part })?;
    Ok(Zeroizing::new(decoded.to_owned()))
}
