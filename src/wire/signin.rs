//! Signing in (MS-SMB2 3.2.4.2.3, 3.2.5.3): SESSION_SETUP, keys, and how the session is protected.

use super::codec::{Fields, Put};
use super::connection::{Connection, Security};
use super::crypto::{Sealer, Signer, derive_keys};
use super::error::{ConnectError, Stage};
use super::frame::{Reply, Request};
use super::header::{Command, HEADER_SIZE, flags};
use super::negotiate::{Negotiated, extend_hash};
use super::ntlm::Authenticator;
use super::status::NtStatus;
use crate::config::{Dialect, Identity, Protection};
use std::time::Duration;

const SESSION_IS_GUEST: u16 = 1;
const SESSION_IS_NULL: u16 = 2;
const SESSION_ENCRYPT_DATA: u16 = 4;
/// NTLM needs two rounds and Kerberos one or two; more is a server that plays games.
const MAX_ROUNDS: usize = 8;

/// What the user wants of a session.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who signs in.
    pub identity: Identity,
    /// Whether messages are signed.
    pub signing: Protection,
    /// Whether messages are encrypted.
    pub encryption: Protection,
}

impl Wish {
    /// Whether everything will be signed, so that the server may insist on it too. Anonymous and guest
    /// sessions have no key to sign with.
    pub fn requires_signing(&self) -> bool {
        match self.signing {
            Protection::Required => true,
            Protection::Auto => matches!(&self.identity, Identity::User { .. }) && !self.is_guest(),
            Protection::Off => false,
        }
    }

    fn is_guest(&self) -> bool {
        use secrecy::ExposeSecret;
        match &self.identity {
            Identity::Anonymous => false,
            Identity::User { username, password, .. } => {
                username.eq_ignore_ascii_case("guest") && password.expose_secret().is_empty()
            }
        }
    }
}

/// How a session came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionKind {
    /// Signed in as nobody in particular.
    pub guest: bool,
    /// All messages are signed.
    pub signed: bool,
    /// All messages are encrypted.
    pub sealed: bool,
}

fn failed(message: impl Into<String>) -> ConnectError {
    ConnectError::new(Stage::SignIn, message)
}

/// Establishes the session of a connection.
pub async fn sign_in(
    connection: &Connection,
    agreed: &Negotiated,
    wish: &Wish,
    deadline: Duration,
) -> Result<SessionKind, ConnectError> {
    let mut authenticator = Authenticator::new(&wish.identity).map_err(failed)?;
    let mut hash = agreed.preauth_hash;
    let mut server_token = agreed.token.clone();
    for _ in 0..MAX_ROUNDS {
        let token = authenticator.next(&server_token).map_err(failed)?;
        let request = Request::new(Command::SessionSetup, setup_request(&token, wish.requires_signing()));
        let request = request.with_response(60_000);
        let (sent, reply) = connection
            .send_recorded(request, deadline)
            .await
            .map_err(|error| failed(format!("the server did not answer the sign-in: {error}")))?;
        connection.set_session_id(reply.header.session_id);
        hash = extend_hash(&hash, &sent);
        let answered = |status| ConnectError::refused(Stage::SignIn, refusal(&wish.identity, status), status);
        match reply.status() {
            NtStatus::MORE_PROCESSING_REQUIRED => {
                hash = extend_hash(&hash, &reply.as_received());
                server_token = parse_setup(&reply)?.1;
            }
            NtStatus::SUCCESS => {
                let (session_flags, token) = parse_setup(&reply)?;
                authenticator.finish(&token).map_err(failed)?;
                return establish(connection, agreed, wish, &authenticator, session_flags, &hash, &reply);
            }
            status => return Err(answered(status)),
        }
    }
    Err(failed("the server wants more rounds of authentication than any method has"))
}

fn setup_request(token: &[u8], require_signing: bool) -> Vec<u8> {
    const FIXED: usize = 24;
    let mut body = Vec::with_capacity(FIXED + token.len());
    body.put_u16(25)
        .put_u8(0)
        .put_u8(if require_signing { 2 } else { 1 })
        .put_u32(0)
        .put_u32(0)
        .put_u16((HEADER_SIZE + FIXED) as u16)
        .put_u16(token.len() as u16)
        .put_u64(0)
        .put_bytes(token);
    body
}

/// SessionFlags and token (MS-SMB2 2.2.6).
fn parse_setup(reply: &Reply) -> Result<(u16, Vec<u8>), ConnectError> {
    let parse = || {
        let body = Fields(reply.body());
        body.expect_structure(9, "a SESSION_SETUP response whose StructureSize is not 9")?;
        let token = Fields(&reply.message).bytes(usize::from(body.u16(4)?), usize::from(body.u16(6)?))?;
        Ok((body.u16(2)?, token.to_vec()))
    };
    parse().map_err(|malformed: super::codec::Malformed| failed(malformed.to_string()))
}

fn refusal(identity: &Identity, status: NtStatus) -> String {
    let who = match identity {
        Identity::Anonymous => "an anonymous session".to_owned(),
        Identity::User { username, domain: Some(domain), .. } => format!("the user {username:?} of {domain:?}"),
        Identity::User { username, domain: None, .. } => format!("the user {username:?}"),
    };
    match status {
        NtStatus::LOGON_FAILURE => format!("the server refused {who}: wrong user name or password"),
        NtStatus::ACCOUNT_LOCKED_OUT => format!("the server refused {who}: the account is locked out"),
        NtStatus::ACCOUNT_DISABLED => format!("the server refused {who}: the account is disabled"),
        NtStatus::PASSWORD_EXPIRED | NtStatus::PASSWORD_MUST_CHANGE => {
            format!("the server refused {who}: the password has expired")
        }
        _ => format!("the server refused {who}"),
    }
}

fn establish(
    connection: &Connection,
    agreed: &Negotiated,
    wish: &Wish,
    authenticator: &Authenticator,
    session_flags: u16,
    hash: &[u8; 64],
    last_reply: &Reply,
) -> Result<SessionKind, ConnectError> {
    let guest = session_flags & (SESSION_IS_GUEST | SESSION_IS_NULL) != 0;
    let key = if guest { None } else { authenticator.session_key() };
    if guest && wish.requires_signing() {
        let message = "the server let this user in as a guest only, so nothing could be signed: check the user name, or \
                       ask for a guest session";
        return Err(failed(message));
    }
    let mut security = Security { signer: None, sign_all: false, sealer: None, seal_all: false };
    if let Some(key) = key {
        let keys = derive_keys(agreed.dialect, &key, hash, agreed.cipher);
        let signer = Signer::new(agreed.signing, &keys.signing);
        let must_be_signed = agreed.dialect == Dialect::Smb311 || last_reply.header.has(flags::SIGNED);
        if must_be_signed && !last_reply.is_signed_by(&signer) {
            return Err(failed("the signature of the sign-in is wrong: someone may be altering traffic"));
        }
        security.sign_all = wish.signing != Protection::Off || agreed.server_requires_signing;
        security.signer = Some(signer);
        security.sealer = agreed
            .cipher
            .map(|cipher| Sealer::new(cipher, connection.session_id(), &keys.client_to_server, &keys.server_to_client));
    }
    security.seal_all = session_flags & SESSION_ENCRYPT_DATA != 0 || wish.encryption == Protection::Required;
    if security.seal_all && security.sealer.is_none() {
        let who = if wish.encryption == Protection::Required {
            "encryption is required"
        } else {
            "the server wants encryption"
        };
        let why = match () {
            () if guest => "guest and anonymous sessions have no key for it",
            () if wish.encryption == Protection::Off => "it is switched off here",
            () => "no cipher was agreed on",
        };
        return Err(failed(format!("{who}, and {why}")));
    }
    let kind = SessionKind { guest, signed: security.sign_all && !security.seal_all, sealed: security.seal_all };
    connection.protect(security);
    Ok(kind)
}
