//! The tokens of a sign-in: NTLM within SPNEGO, by the `sspi` crate, and the anonymous NTLM exchange without SPNEGO,
//! which `sspi` does not have (MS-NLMP 3.2.5.1.2). Kerberos and PKU2U are switched off in `sspi`.
//!
//! [`Authenticator`] turns each token of the server into the client's next one. It knows no SMB message; its errors are
//! sentences for the user.

use super::codec::Put;
use super::crypto::Secret;
use crate::config::Identity;
use secrecy::ExposeSecret;
use sspi::ntlm::NtlmConfig;
use sspi::{
    AuthIdentity, BufferType, ClientRequestFlags, CredentialUse, CredentialsBuffers, DataRepresentation, Negotiate,
    NegotiateConfig, SecurityBuffer, SecurityStatus, Sspi, SspiImpl, Username,
};

/// An NTLM exchange: makes the client's tokens from the server's.
pub enum Authenticator {
    /// The exchange of a user with a password.
    Ntlm(Box<Ntlm>),
    /// The anonymous exchange, with the number of tokens made so far.
    Anonymous(usize),
}

/// The state of the exchange of a user with a password.
pub struct Ntlm {
    ssp: Negotiate,
    credentials: Option<CredentialsBuffers>,
    /// Whether `sspi` reports the exchange as complete: then no token of the server is left to check.
    complete: bool,
}

impl Authenticator {
    /// The exchange of an identity.
    ///
    /// # Errors
    ///
    /// A sentence for the user: the user name or domain is too long or not valid, or `sspi` fails.
    pub fn new(identity: &Identity) -> Result<Authenticator, String> {
        let Identity::User { username, domain, password } = identity else { return Ok(Authenticator::Anonymous(0)) };
        check_length("user name", username)?;
        check_length("domain", domain.as_deref().unwrap_or_default())?;
        let username = Username::new(username, domain.as_deref())
            .map_err(|_| format!("{username:?} can't be a user name on a server"))?;
        let identity = AuthIdentity { username, password: password.expose_secret().to_owned().into() };
        let failed = |error: sspi::Error| format!("the sign-in could not be prepared: {error}");
        let packages = Some("ntlm,!kerberos,!pku2u".to_owned());
        let config = NegotiateConfig::new(Box::new(NtlmConfig::default()), packages, "cifs-fuse".to_owned());
        let mut ssp = Negotiate::new_client(config).map_err(failed)?;
        let credentials = ssp
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Outbound)
            .with_auth_data(&sspi::Credentials::AuthIdentity(identity))
            .execute(&mut ssp)
            .map_err(failed)?
            .credentials_handle;
        Ok(Authenticator::Ntlm(Box::new(Ntlm { ssp, credentials, complete: false })))
    }

    /// The client's next token, in answer to the server's token.
    ///
    /// # Errors
    ///
    /// A sentence for the user: the server's token is not acceptable.
    pub fn next(&mut self, server_token: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Authenticator::Ntlm(ntlm) => ntlm.step(server_token),
            Authenticator::Anonymous(round) => {
                *round += 1;
                Ok(if *round == 1 { anonymous_negotiate() } else { anonymous_authenticate() })
            }
        }
    }

    /// Checks the server's last token, if there is one: the token proves that the list of authentication methods was
    /// not altered (RFC 4178, mechListMIC). The anonymous exchange has no such token.
    ///
    /// # Errors
    ///
    /// A sentence for the user: the server's token is not acceptable.
    pub fn finish(&mut self, server_token: &[u8]) -> Result<(), String> {
        match self {
            Authenticator::Ntlm(ntlm) if !ntlm.complete && !server_token.is_empty() => {
                ntlm.step(server_token).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// The session key; `None` for an anonymous exchange, or if the exchange has not produced one.
    pub fn session_key(&self) -> Option<Secret> {
        let Authenticator::Ntlm(ntlm) = self else { return None };
        let key = ntlm.ssp.query_context_session_key().ok()?;
        Some(Secret::new(key.session_key.as_ref().to_vec()))
    }
}

/// The longest user name or domain, in UTF-16 units: the limit of a user principal name. A field of an NTLM message has
/// room for 32,767 units (MS-NLMP 2.2.1.3); the length of a longer name would wrap.
const LONGEST_NAME: usize = 1024;

/// Fails with a sentence if a name has more than [`LONGEST_NAME`] units.
fn check_length(what: &str, name: &str) -> Result<(), String> {
    let length = name.encode_utf16().count();
    if length <= LONGEST_NAME {
        return Ok(());
    }
    Err(format!("the {what} has {length} characters, more than the {LONGEST_NAME} that a server accepts"))
}

impl Ntlm {
    /// One step of the exchange: the server's token in, the client's out.
    fn step(&mut self, server_token: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |error: sspi::Error| format!("the server's sign-in token is not acceptable: {error}");
        let mut input = [SecurityBuffer::new(server_token.to_vec(), BufferType::Token)];
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let wanted = ClientRequestFlags::MUTUAL_AUTH
            | ClientRequestFlags::INTEGRITY
            | ClientRequestFlags::FRAGMENT_TO_FIT
            | ClientRequestFlags::USE_SESSION_KEY;
        let mut builder = self
            .ssp
            .initialize_security_context()
            .with_credentials_handle(&mut self.credentials)
            .with_context_requirements(wanted)
            .with_target_data_representation(DataRepresentation::Native)
            .with_input(&mut input)
            .with_output(&mut output);
        let result = self
            .ssp
            .initialize_security_context_impl(&mut builder)
            .map_err(failed)?
            .resolve_to_result()
            .map_err(failed)?;
        self.complete = result.status == SecurityStatus::Ok;
        Ok(output.pop().map(|buffer| buffer.buffer).unwrap_or_default())
    }
}

/// The Signature field of every NTLM message (MS-NLMP 2.2.1).
const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// NegotiateFlags of the anonymous exchange: Unicode, request target, NTLM, extended session security, 128 and 56 bits
/// (MS-NLMP 2.2.2.5).
const ANONYMOUS_FLAGS: u32 = 0x0000_0001 | 0x4 | 0x200 | 0x8_0000 | 0x2000_0000 | 0x8000_0000;
/// NTLMSSP_NEGOTIATE_ANONYMOUS (MS-NLMP 2.2.2.5).
const FLAG_ANONYMOUS: u32 = 0x800;

/// NEGOTIATE_MESSAGE without names (MS-NLMP 2.2.1.1).
fn anonymous_negotiate() -> Vec<u8> {
    let mut token = SIGNATURE.to_vec();
    token.put_u32(1).put_u32(ANONYMOUS_FLAGS).put_u64(0).put_u64(0);
    token
}

/// Anonymous AUTHENTICATE_MESSAGE: a one-byte LM response and no other field (MS-NLMP 2.2.1.3, 3.2.5.1.2).
fn anonymous_authenticate() -> Vec<u8> {
    const PAYLOAD: u32 = 64;
    let mut token = SIGNATURE.to_vec();
    token.put_u32(3).put_u16(1).put_u16(1).put_u32(PAYLOAD);
    for _empty in ["NtChallengeResponse", "DomainName", "UserName", "Workstation", "EncryptedRandomSessionKey"] {
        token.put_u32(0).put_u32(PAYLOAD + 1);
    }
    token.put_u32(ANONYMOUS_FLAGS | FLAG_ANONYMOUS).put_u8(0);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anonymous_tokens_have_the_lengths_of_the_specification() {
        assert_eq!(anonymous_negotiate().len(), 32);
        assert_eq!(anonymous_authenticate().len(), 65);
    }

    #[test]
    fn a_too_long_user_name_or_domain_is_refused_with_a_sentence() {
        let refusal = |username: &str, domain: Option<&str>| {
            let (username, domain) = (username.to_owned(), domain.map(str::to_owned));
            Authenticator::new(&Identity::User { username, domain, password: "".to_owned().into() }).err()
        };
        let (fits, long) = ("a".repeat(LONGEST_NAME), "a".repeat(LONGEST_NAME + 1));
        assert_eq!(refusal(&fits, Some(&fits)), None);
        assert!(refusal(&long, None).is_some_and(|message| message.contains("user name")));
        assert!(refusal("ann", Some(&long)).is_some_and(|message| message.contains("domain")));
    }

    #[test]
    fn a_user_name_with_two_backslashes_is_refused_with_a_sentence() {
        let identity = Identity::User { username: "a\\b\\c".into(), domain: None, password: "".to_owned().into() };
        assert!(Authenticator::new(&identity).is_err_and(|message| message.contains("user name")));
    }
}
