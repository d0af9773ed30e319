//! Signing in (MS-SMB2 3.2.4.2.3, 3.2.5.3): SESSION_SETUP, the keys, and the protection of the session.
//!
//! A connection gets a session of its own ([`sign_in`]), or is bound to the session of another connection as a further
//! channel ([`bind`]). In both cases the user signs in. A binding is signed with the session's key, so only a client
//! that has this key can bind. The bound connection then signs with a key from its own sign-in, and encrypts with the
//! session's keys. A session is never re-authenticated: an expired one ends, and `share` makes a new one.
//!
//! Invariant: a session is a guest or anonymous one only if the user asked for that (the anonymous identity, or the
//! user `guest` without a password).
//!
//! `refusal` decides which refused sign-ins concern the password, which the account, and what the user can do.

mod refusal;

use super::codec::{Fields, Put, TooLong, length16};
use super::connection::{Connection, Security};
use super::crypto::{Sealer, Signer, derive_keys};
use super::error::{ConnectError, Proof, Stage, WireError};
use super::frame::{Reply, Request};
use super::header::{Command, behind, flags};
use super::negotiate::{Negotiated, extend_hash};
use super::ntlm::Authenticator;
use super::status::NtStatus;
use crate::config::{Dialect, Identity, Protection};
use std::sync::Arc;
use std::time::Duration;

pub use refusal::{Refusal, remedy};

/// SMB2_SESSION_FLAG_BINDING (MS-SMB2 2.2.5).
const BINDING: u8 = 1;
/// SMB2_SESSION_FLAG_IS_GUEST (MS-SMB2 2.2.6): a guest session.
const SESSION_IS_GUEST: u16 = 1;
/// SMB2_SESSION_FLAG_IS_NULL: an anonymous session.
const SESSION_IS_NULL: u16 = 2;
/// SMB2_SESSION_FLAG_ENCRYPT_DATA: the server requires encryption of the session.
const SESSION_ENCRYPT_DATA: u16 = 4;
/// The most rounds of a sign-in. NTLM needs two; the limit stops a server that always asks for another round.
const MAX_ROUNDS: usize = 8;

/// The user's requirements for a session.
#[derive(Clone, Debug)]
pub struct SessionRequirements {
    /// The user who signs in, or an anonymous session.
    pub identity: Identity,
    /// Whether messages are to be signed.
    pub signing: Protection,
    /// Whether messages are to be encrypted.
    pub encryption: Protection,
}

impl SessionRequirements {
    /// Whether the client requires signing, and says so to the server. [`Protection::Auto`] requires it unless a guest
    /// or anonymous session is wanted, which has no key to sign with.
    pub fn requires_signing(&self) -> bool {
        match self.signing {
            Protection::Required => true,
            Protection::Auto => !self.identity.is_guest_or_anonymous(),
            Protection::Off => false,
        }
    }

    /// Why a session that must be encrypted has no cipher, and the remedy.
    pub fn no_cipher(&self, is_guest: bool) -> (&'static str, &'static str) {
        match (is_guest, self.encryption) {
            (true, Protection::Required) => (
                "guest and anonymous sessions have no key for it",
                "leave out --encryption required, or sign in as a user: --username NAME",
            ),
            (true, _) => ("guest and anonymous sessions have no key for it", "sign in as a user: --username NAME"),
            (false, Protection::Off) => ("it is switched off here", "leave out --encryption off"),
            (false, _) => {
                ("no cipher was agreed on", "leave out --vers and --max-dialect: encryption begins with SMB 3.0")
            }
        }
    }

    /// Fails if the session is a guest or anonymous one and the user wants neither: then the server did not accept the
    /// password and admits every user as guest (smbd: `map to guest = Bad Password`).
    fn expect_kind(&self, session_flags: u16) -> Result<(), ConnectError> {
        if self.identity.is_guest_or_anonymous() || session_flags & (SESSION_IS_GUEST | SESSION_IS_NULL) == 0 {
            return Ok(());
        }
        let kind = if session_flags & SESSION_IS_GUEST != 0 { "a guest" } else { "an anonymous user" };
        let message = format!(
            "the server did not accept the password of {} and would let it in as {kind} only: check the user name and \
             the password, or ask for a guest session with --guest",
            refusal::who(&self.identity)
        );
        Err(failed(message).with_proof(Proof::Refused(Refusal::Password)))
    }
}

/// The kind of an established session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionKind {
    /// Whether it is a guest or anonymous session.
    pub guest: bool,
    /// Whether all messages are signed. False if all messages are encrypted instead.
    pub signed: bool,
    /// Whether all messages are encrypted.
    pub sealed: bool,
}

fn failed(message: impl Into<String>) -> ConnectError {
    ConnectError::new(Stage::SignIn, message)
}

/// Establishes the session of a connection and protects the connection with its keys. Unless `previous` is 0, the
/// server first ends the session with this id of the same user, with its opens and its requests in flight (MS-SMB2
/// 3.3.5.5.3). Each round has `deadline`.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::SignIn`], whose [`Proof`] says whether the server can have counted a failed sign-in:
/// the identity cannot be put into a token, the server refuses it or does not answer, the session is a guest or
/// anonymous one that the user does not want, signing or encryption is required and impossible, a signature is wrong,
/// or a response is malformed.
pub async fn sign_in(
    connection: &Connection,
    agreed: &Negotiated,
    wish: &SessionRequirements,
    previous: u64,
    deadline: Duration,
) -> Result<SessionKind, ConnectError> {
    let signed_in = authenticate(connection, agreed, wish, Setup::New { previous }, deadline).await?;
    establish(connection, agreed, wish, &signed_in).map_err(|error| match error.proof {
        Proof::NotSent => error.with_proof(Proof::Accepted),
        _ => error,
    })
}

/// Binds a connection to the session of `first`, a connection to the same server with the same dialect (MS-SMB2
/// 3.2.5.3.3), and protects it with its own signing key and the session's cipher keys. Each round has `deadline`.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::SignIn`]: the session or the sign-in has no key, the server refuses or does not answer,
/// it binds to another session or as a guest, a signature is wrong, or a response is malformed.
pub async fn bind(
    connection: &Connection,
    agreed: &Negotiated,
    wish: &SessionRequirements,
    first: &Connection,
    deadline: Duration,
) -> Result<(), ConnectError> {
    const NO_KEY: &str = "a session without a key has no further channels";
    let session = first.security().ok_or_else(|| failed(NO_KEY))?;
    let signer = session.signer.as_ref().ok_or_else(|| failed(NO_KEY))?;
    connection.set_session_id(first.session_id());
    let signed_in = authenticate(connection, agreed, wish, Setup::Bind { signer }, deadline).await?;
    if signed_in.reply.header.session_id != first.session_id() {
        return Err(failed("the server bound the connection to another session"));
    }
    wish.expect_kind(signed_in.session_flags)?;
    let key = signed_in.authenticator.session_key().ok_or_else(|| failed(NO_KEY))?;
    let keys = derive_keys(agreed.dialect, &key, &signed_in.hash, None);
    let signer = Signer::new(agreed.signing, &keys.signing);
    if !signed_in.reply.is_signed_by(&signer) {
        return Err(failed(BAD_SIGNATURE));
    }
    let (sign_all, seal_all, sealer) = (session.sign_all, session.seal_all, session.sealer.clone());
    connection.protect(Security { signer: Some(Arc::new(signer)), sign_all, sealer, seal_all });
    Ok(())
}

/// The sentence for a wrong signature.
const BAD_SIGNATURE: &str = "the signature of the sign-in is wrong: the traffic may have been altered on its way";

/// The purpose of a sign-in.
#[derive(Clone, Copy)]
enum Setup<'a> {
    /// A session of its own; `previous` is the id of the session that it replaces, or 0.
    New { previous: u64 },
    /// A binding to an existing session, with its signing key.
    Bind { signer: &'a Arc<Signer> },
}

/// A sign-in that the server has accepted.
struct SignedIn {
    authenticator: Authenticator,
    session_flags: u16,
    /// The pre-authentication hash over all messages but the last reply (MS-SMB2 3.2.5.3.1).
    hash: [u8; 64],
    /// The last reply.
    reply: Reply,
}

/// Exchanges SESSION_SETUP messages until the server accepts or refuses.
async fn authenticate(
    connection: &Connection,
    agreed: &Negotiated,
    wish: &SessionRequirements,
    setup: Setup<'_>,
    deadline: Duration,
) -> Result<SignedIn, ConnectError> {
    let signer = match setup {
        Setup::New { .. } => None,
        Setup::Bind { signer } => Some(signer),
    };
    let mut authenticator = Authenticator::new(&wish.identity).map_err(failed)?;
    let mut hash = agreed.preauth_hash;
    let mut server_token = agreed.token.clone();
    for round in 0..MAX_ROUNDS {
        let token = authenticator.next(&server_token).map_err(failed)?;
        let body = setup_request(&token, wish.requires_signing(), setup);
        let body = body.map_err(|too_long| failed(too_long.to_string()))?;
        let request = Request::new(Command::SessionSetup, body);
        let request = request.with_response(60_000);
        let (sent, reply) =
            connection.send_recorded(request, signer, deadline).await.map_err(|error| unanswered(&error, round))?;
        connection.set_session_id(reply.header.session_id);
        hash = extend_hash(&hash, &sent);
        let answered = |status| ConnectError::refused(Stage::SignIn, refusal::sentence(&wish.identity, status), status);
        match reply.status() {
            NtStatus::MORE_PROCESSING_REQUIRED => {
                // Every reply to a binding but the last is signed with the session's key (MS-SMB2 3.2.5.1.3).
                if signer.is_some_and(|signer| !reply.is_signed_by(signer)) {
                    return Err(failed(BAD_SIGNATURE));
                }
                hash = extend_hash(&hash, &reply.as_received());
                server_token = parse_setup(&reply)?.1;
            }
            NtStatus::SUCCESS => {
                let (session_flags, token) = parse_setup(&reply)?;
                authenticator.finish(&token).map_err(failed)?;
                return Ok(SignedIn { authenticator, session_flags, hash, reply });
            }
            status => return Err(answered(status)),
        }
    }
    Err(failed("the server wants more rounds of authentication than any method has"))
}

/// The body of a SESSION_SETUP request (MS-SMB2 2.2.5).
fn setup_request(token: &[u8], require_signing: bool, setup: Setup<'_>) -> Result<Vec<u8>, TooLong> {
    const FIXED: u16 = 24;
    let length = length16(token.len(), TooLong::Other("the token of the sign-in"))?;
    let (flags, previous) = match setup {
        Setup::New { previous } => (0, previous),
        Setup::Bind { .. } => (BINDING, 0),
    };
    let mut body = Vec::with_capacity(usize::from(FIXED) + token.len());
    body.put_u16(25)
        .put_u8(flags)
        .put_u8(if require_signing { 2 } else { 1 })
        .put_u32(0)
        .put_u32(0)
        .put_u16(behind(FIXED))
        .put_u16(length)
        .put_u64(previous)
        .put_bytes(token);
    Ok(body)
}

/// SessionFlags and token of a SESSION_SETUP response (MS-SMB2 2.2.6).
fn parse_setup(reply: &Reply) -> Result<(u16, Vec<u8>), ConnectError> {
    let parse = || {
        let body = Fields(reply.body());
        body.expect_structure(9, "a SESSION_SETUP response whose StructureSize is not 9")?;
        let token = Fields(&reply.message).bytes(usize::from(body.u16(4)?), usize::from(body.u16(6)?))?;
        Ok((body.u16(2)?, token.to_vec()))
    };
    parse().map_err(|malformed: super::codec::Malformed| failed(malformed.to_string()))
}

/// The error for a SESSION_SETUP request without an answer. From the second round (`round` 1) on the request has the
/// proof of the password.
fn unanswered(error: &WireError, round: usize) -> ConnectError {
    let proof = match error {
        _ if round == 0 => Proof::NotSent,
        WireError::TimedOut => Proof::Unanswered,
        _ => Proof::Dropped,
    };
    failed(format!("the server did not answer the sign-in: {error}")).with_proof(proof)
}

/// Derives the keys of a new session, checks the last reply's signature, and protects the connection.
fn establish(
    connection: &Connection,
    agreed: &Negotiated,
    wish: &SessionRequirements,
    signed_in: &SignedIn,
) -> Result<SessionKind, ConnectError> {
    let SignedIn { authenticator, session_flags, hash, reply } = signed_in;
    wish.expect_kind(*session_flags)?;
    let guest = session_flags & (SESSION_IS_GUEST | SESSION_IS_NULL) != 0;
    let key = if guest { None } else { authenticator.session_key() };
    if guest && wish.requires_signing() {
        let error = failed("guest and anonymous sessions have no key to sign with");
        return Err(error.with_remedy("leave out --signing required, or name a user"));
    }
    let mut security = Security { signer: None, sign_all: false, sealer: None, seal_all: false };
    if let Some(key) = key {
        let keys = derive_keys(agreed.dialect, &key, hash, agreed.cipher);
        let signer = Signer::new(agreed.signing, &keys.signing);
        let must_be_signed = agreed.dialect == Dialect::Smb311 || reply.header.has(flags::SIGNED);
        if must_be_signed && !reply.is_signed_by(&signer) {
            return Err(failed(BAD_SIGNATURE));
        }
        security.sign_all = wish.signing != Protection::Off || agreed.server_requires_signing;
        security.signer = Some(Arc::new(signer));
        let (session_id, outgoing, incoming) =
            (connection.session_id(), &keys.client_to_server, &keys.server_to_client);
        security.sealer = agreed.cipher.map(|cipher| Arc::new(Sealer::new(cipher, session_id, outgoing, incoming)));
    }
    security.seal_all = session_flags & SESSION_ENCRYPT_DATA != 0 || wish.encryption == Protection::Required;
    if security.seal_all && security.sealer.is_none() {
        let who = if wish.encryption == Protection::Required {
            "encryption is required"
        } else {
            "the server wants encryption"
        };
        let (why, remedy) = wish.no_cipher(guest);
        return Err(failed(format!("{who}, and {why}")).with_remedy(remedy));
    }
    let kind = SessionKind { guest, signed: security.sign_all && !security.seal_all, sealed: security.seal_all };
    connection.protect(security);
    Ok(kind)
}

#[cfg(test)]
mod tests;
