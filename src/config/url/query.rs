//! The part of the URL after the `?`: `key=value&…`. Its options replace those of the command line.

use super::decode::{Plus, decode};
use super::{Credentials, Transport, UrlError};
use crate::config::nearest;
use secrecy::SecretString;

/// The query key of the password.
pub(super) const PASSWORD: &str = "auth-password";
const USERNAME: &str = "auth-username";
const DOMAIN: &str = "auth-domain";
const TRANSPORT: &str = "transport";
const OWN_KEYS: [&str; 4] = [USERNAME, PASSWORD, DOMAIN, TRANSPORT];

#[derive(Default)]
pub(super) struct Query {
    pub(super) credentials: Credentials,
    pub(super) transport: Option<Transport>,
    pub(super) overrides: Vec<(String, Option<String>)>,
}

/// The canonical spelling of an option's name: lower case, words joined by `-`.
pub(crate) fn option_name(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace('_', "-")
}

impl Query {
    /// Parses a query. A key with an empty value is ignored.
    pub(super) fn parse(text: &str, options: &[&str]) -> Result<Query, UrlError> {
        let mut query = Query::default();
        let mut seen: Vec<String> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = match pair.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (pair, None),
            };
            let behind_password = seen.iter().any(|key| key == PASSWORD);
            let key = decode("query", key, Plus::IsSpace).map(|key| option_name(&key)).and_then(|key| {
                let known = OWN_KEYS.contains(&key.as_str()) || options.contains(&key.as_str());
                if known { Ok(key) } else { Err(unknown(key, options)) }
            });
            let key = match key {
                // The key may be the rest of a password, so it must not be quoted.
                Err(UrlError::UnknownKey { nearest: None, .. } | UrlError::PercentEncoding { .. })
                    if behind_password =>
                {
                    return Err(UrlError::PasswordNotEncoded);
                }
                key => key?,
            };
            if seen.contains(&key) {
                return Err(UrlError::Repeated { key });
            }
            query.take(&key, value)?;
            seen.push(key);
        }
        Ok(query)
    }

    fn take(&mut self, key: &str, value: Option<&str>) -> Result<(), UrlError> {
        let part = match key {
            PASSWORD => PASSWORD,
            USERNAME => USERNAME,
            DOMAIN => DOMAIN,
            _ => "query",
        };
        let value = value.map(|value| decode(part, value, Plus::IsSpace)).transpose()?;
        let value = value.as_ref().map(|value| value.as_str());
        match (key, value) {
            (_, Some("")) => {}
            (USERNAME, value) => self.credentials.username = value.map(str::to_owned),
            (PASSWORD, value) => self.credentials.password = value.map(SecretString::from),
            (DOMAIN, value) => self.credentials.domain = value.map(str::to_owned),
            (TRANSPORT, value) => self.transport = value.map(str::parse).transpose()?,
            (key, value) => self.overrides.push((key.to_owned(), value.map(str::to_owned))),
        }
        Ok(())
    }
}

fn unknown(key: String, options: &[&str]) -> UrlError {
    let nearest = nearest(&key, OWN_KEYS.into_iter().chain(options.iter().copied())).map(str::to_owned);
    UrlError::UnknownKey { key, nearest }
}
