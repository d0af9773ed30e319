//! The negotiation of dialect, protection and limits (MS-SMB2 2.2.3, 2.2.4, 3.2.4.2.2, 3.2.5.2).
//!
//! The client sends an [`Offer`], the server chooses, and [`negotiate`] returns the result as [`Negotiated`]. SMB 3.1.1
//! protects both messages by the pre-authentication hash. Below it, [`validate`] asks the server again on a signed
//! session.
//!
//! Not offered: compression, RDMA, persistent handles, the server's name (SMB2_NETNAME_NEGOTIATE_CONTEXT_ID), and an
//! SMB1 NEGOTIATE before the one of SMB2.
//!
//! Invariant: the dialect, the cipher and the signing algorithm are among those that were offered.

use super::codec::{Fields, Malformed, Put, TooLong};
use super::connection::Connection;
use super::credits::CREDIT_PAYLOAD;
use super::crypto::{Cipher, SigningAlgorithm, random_bytes};
use super::error::{ConnectError, Stage, WireError};
use super::frame::{Chain, Reply, Request};
use super::header::{Command, behind};
use super::messages::{FileId, ioctl};
use super::status::NtStatus;
use super::structures::{decode, encode};
use crate::config::{Dialect, DialectRange, Protection};
use sha2::{Digest, Sha512};
use smb_dtyp::Guid;
use smb_msg::{
    EncryptionCapabilities, EncryptionCipher, FsctlCodes, HashAlgorithm, NegotiateContext, NegotiateContextValue,
    NegotiateSecurityMode, PreauthIntegrityCapabilities, SigningAlgorithmId, SigningCapabilities,
    ValidateNegotiateInfoRequest, ValidateNegotiateInfoResponse,
};
use std::time::Duration;

/// The bits of the Capabilities field (MS-SMB2 2.2.3, 2.2.4).
pub mod capabilities {
    /// `SMB2_GLOBAL_CAP_LEASING`: leases besides oplocks; SMB 2.1 and newer.
    pub const LEASING: u32 = 0x02;
    /// `SMB2_GLOBAL_CAP_LARGE_MTU`: requests of more than one credit; SMB 2.1 and newer.
    pub const LARGE_MTU: u32 = 0x04;
    /// `SMB2_GLOBAL_CAP_MULTI_CHANNEL`: several connections of one session; SMB 3.
    pub const MULTI_CHANNEL: u32 = 0x08;
    /// `SMB2_GLOBAL_CAP_DIRECTORY_LEASING`: leases on directories; SMB 3.
    pub const DIRECTORY_LEASING: u32 = 0x20;
    /// `SMB2_GLOBAL_CAP_ENCRYPTION`: encryption in SMB 3.0 and 3.0.2; SMB 3.1.1 negotiates it by a context.
    pub const ENCRYPTION: u32 = 0x40;
}

/// The bits of SecurityMode (MS-SMB2 2.2.3): `SMB2_NEGOTIATE_SIGNING_ENABLED`.
const SIGNING_ENABLED: u16 = 1;
/// `SMB2_NEGOTIATE_SIGNING_REQUIRED`
const SIGNING_REQUIRED: u16 = 2;
/// The types of negotiate contexts (MS-SMB2 2.2.3.1): `SMB2_PREAUTH_INTEGRITY_CAPABILITIES`.
const CONTEXT_PREAUTH: u16 = 1;
/// `SMB2_ENCRYPTION_CAPABILITIES`
const CONTEXT_ENCRYPTION: u16 = 2;
/// `SMB2_SIGNING_CAPABILITIES`
const CONTEXT_SIGNING: u16 = 8;
/// The number of SHA-512 among the hash algorithms (MS-SMB2 2.2.3.1.1); there is no other.
const SHA_512: u16 = 1;

/// The FileId of an IOCTL that is about no file (MS-SMB2 2.2.31).
const NO_FILE: FileId = [0xff; 16];
/// The size of the VALIDATE_NEGOTIATE_INFO response, in bytes (MS-SMB2 2.2.32.6).
const VALIDATION_SIZE: u32 = 24;

/// The client's offer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The dialects that are offered, from the oldest to the newest.
    pub dialects: DialectRange,
    /// Whether the client requires signing, and says so to the server.
    pub require_signing: bool,
    /// Whether ciphers are offered ([`Protection::Off`]: none), and whether the server must choose one
    /// ([`Protection::Required`]).
    pub encryption: Protection,
    /// Whether the session may get further connections.
    pub multi_channel: bool,
    /// The ClientGuid: all connections of a session carry the same one (MS-SMB2 2.2.3).
    client_guid: [u8; 16],
}

impl Offer {
    /// An offer with a new random ClientGuid.
    pub fn new(dialects: DialectRange, require_signing: bool, encryption: Protection, multi_channel: bool) -> Offer {
        Offer { dialects, require_signing, encryption, multi_channel, client_guid: random_bytes() }
    }

    /// The SecurityMode field of the client (MS-SMB2 2.2.3).
    pub fn security_mode(&self) -> u16 {
        SIGNING_ENABLED | if self.require_signing { SIGNING_REQUIRED } else { 0 }
    }

    /// The Capabilities field of the client; 0 if no SMB 3 dialect is offered (MS-SMB2 3.2.4.2.2.2).
    fn capabilities(&self) -> u32 {
        if self.dialects.highest < Dialect::Smb300 {
            return 0;
        }
        let encryption = if self.encryption == Protection::Off { 0 } else { capabilities::ENCRYPTION };
        let multi_channel = if self.multi_channel { capabilities::MULTI_CHANNEL } else { 0 };
        capabilities::LEASING | capabilities::LARGE_MTU | capabilities::DIRECTORY_LEASING | multi_channel | encryption
    }

    /// The body of the NEGOTIATE request (MS-SMB2 2.2.3).
    fn request(&self) -> Result<Vec<u8>, TooLong> {
        let dialects: Vec<Dialect> = self.dialects.dialects().collect();
        let with_contexts = self.dialects.highest == Dialect::Smb311;
        let mut body = Vec::with_capacity(256);
        body.put_u16(36)
            .put_count(dialects.len())
            .put_u16(self.security_mode())
            .put_u16(0)
            .put_u32(self.capabilities())
            .put_bytes(&self.client_guid);
        // NegotiateContextOffset counts from the start of the header, whose size is a multiple of 8 bytes. It has 32
        // bits.
        let contexts_at = usize::from(behind(36)) + 2 * dialects.len();
        let contexts_at = contexts_at.next_multiple_of(8);
        let contexts = if with_contexts { self.contexts() } else { Vec::new() };
        match with_contexts {
            true => body.put_count(contexts_at).put_u16(0).put_count(contexts.len()).put_u16(0),
            false => body.put_u64(0),
        };
        for dialect in &dialects {
            body.put_u16(dialect.revision());
        }
        for data in contexts {
            let context = NegotiateContext { context_type: data.get_matching_type(), data };
            body.align(8).put_bytes(&encode(&context)?);
        }
        Ok(body)
    }

    /// The negotiate contexts of SMB 3.1.1 (MS-SMB2 2.2.3.1).
    fn contexts(&self) -> Vec<NegotiateContextValue> {
        let salt: [u8; 32] = random_bytes();
        let preauth = PreauthIntegrityCapabilities { hash_algorithms: vec![HashAlgorithm::Sha512], salt: salt.into() };
        let mut contexts = vec![NegotiateContextValue::PreauthIntegrityCapabilities(preauth)];
        if self.encryption != Protection::Off {
            let ciphers = Cipher::OFFERED.map(EncryptionCipher::from).into();
            contexts.push(NegotiateContextValue::EncryptionCapabilities(EncryptionCapabilities { ciphers }));
        }
        let signing_algorithms = SigningAlgorithm::OFFERED.map(SigningAlgorithmId::from).into();
        contexts.push(NegotiateContextValue::SigningCapabilities(SigningCapabilities { signing_algorithms }));
        contexts
    }
}

/// A dialect as `smb-msg` calls it.
fn numbered(dialect: Dialect) -> smb_msg::Dialect {
    match dialect {
        Dialect::Smb202 => smb_msg::Dialect::Smb0202,
        Dialect::Smb210 => smb_msg::Dialect::Smb021,
        Dialect::Smb300 => smb_msg::Dialect::Smb030,
        Dialect::Smb302 => smb_msg::Dialect::Smb0302,
        Dialect::Smb311 => smb_msg::Dialect::Smb0311,
    }
}

/// The result of the negotiation.
#[derive(Clone, Debug)]
pub struct Negotiated {
    /// The dialect that the server chose.
    pub dialect: Dialect,
    /// Whether the server requires signing.
    pub server_requires_signing: bool,
    /// The signing algorithm of sessions.
    pub signing: SigningAlgorithm,
    /// The cipher of sessions; `None` if the server chose none.
    pub cipher: Option<Cipher>,
    /// Whether requests may cost more than one credit.
    pub large_mtu: bool,
    /// Whether the session may get further connections: both sides offer multichannel.
    pub multi_channel: bool,
    /// Whether the server grants leases.
    pub leasing: bool,
    /// Whether the server grants leases on directories.
    pub directory_leasing: bool,
    /// The largest READ that the server accepts, in bytes; at most 8 MiB.
    pub max_read: u32,
    /// The largest WRITE that the server accepts, in bytes; at most 8 MiB.
    pub max_write: u32,
    /// The largest buffer of QUERY_INFO, QUERY_DIRECTORY, SET_INFO and CHANGE_NOTIFY, in bytes; at most 8 MiB.
    pub max_transact: u32,
    /// The server's clock when it answered, a FILETIME (MS-DTYP 2.3.3); 0 if it sent no time.
    pub system_time: u64,
    /// The server's first SPNEGO token; may be empty.
    pub token: Vec<u8>,
    /// The pre-authentication hash over the NEGOTIATE request and response (MS-SMB2 3.2.5.2); all zeros below SMB
    /// 3.1.1.
    pub preauth_hash: [u8; 64],
    server: ServerHello,
}

impl Negotiated {
    /// The Capabilities field of the server, see [`capabilities`].
    pub fn server_capabilities(&self) -> u32 {
        self.server.capabilities
    }

    /// Fails if the client requires encryption and the server chose no cipher.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] at [`Stage::Dialect`].
    pub fn check_encryption(&self, encryption: Protection) -> Result<(), ConnectError> {
        if encryption != Protection::Required || self.cipher.is_some() {
            return Ok(());
        }
        let message = format!("encryption is required, and the server offers none with SMB {}", self.dialect);
        let remedy = "leave out --encryption required, or enable SMB 3 encryption on the server";
        Err(ConnectError::new(Stage::Dialect, message).with_remedy(remedy))
    }

    /// Whether the same server chose the same terms, so that both connections can belong to one session
    /// (MS-SMB2 3.3.5.5).
    pub fn fits(&self, other: &Negotiated) -> bool {
        self.server == other.server && self.cipher == other.cipher && self.signing == other.signing
    }
}

/// The fields of the server's NEGOTIATE response that FSCTL_VALIDATE_NEGOTIATE_INFO must confirm (MS-SMB2 2.2.32.6).
#[derive(Clone, Debug, PartialEq, Eq)]
struct ServerHello {
    capabilities: u32,
    guid: [u8; 16],
    security_mode: u16,
    dialect: u16,
}

/// Negotiates with the server. Enables multi-credit requests on the connection if the server offers them.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::Dialect`]: the server does not answer within `deadline`, closes the connection, speaks
/// none of the offered dialects or only SMB1, chooses what was not offered, offers no cipher though encryption is
/// required, or its response is malformed.
pub async fn negotiate(connection: &Connection, offer: &Offer, deadline: Duration) -> Result<Negotiated, ConnectError> {
    let request = Request::checked(Command::Negotiate, offer.request()).with_response(CREDIT_PAYLOAD - 4096);
    let (sent, reply) = connection.send_recorded(request, None, deadline).await.map_err(|error| no_answer(&error))?;
    if reply.status().is_error() {
        let message = format!(
            "the server speaks none of the offered dialects (SMB {} to {})",
            offer.dialects.lowest, offer.dialects.highest
        );
        let remedy = "leave out --vers, --min-dialect and --max-dialect, or enable a newer SMB on the server";
        return Err(ConnectError::refused(Stage::Dialect, message, reply.status()).with_remedy(remedy));
    }
    let mut agreed = parse(&reply, offer).map_err(|error| ConnectError::new(Stage::Dialect, error))?;
    if agreed.dialect == Dialect::Smb311 {
        agreed.preauth_hash = extend_hash(&extend_hash(&[0; 64], &sent), &reply.as_received());
    }
    if agreed.large_mtu {
        connection.enable_multi_credit();
    }
    agreed.check_encryption(offer.encryption)?;
    Ok(agreed)
}

/// What a user can do about a host that does not answer as an SMB server does.
const WRONG_PORT: &str =
    "check the host and the port in the URL: SMB servers listen on 445, or on 139 with transport=netbios";

/// What a user can do about a host that ends the connection.
const CLOSED: &str = "if it is the right host and port, enable SMB2 or SMB3 on the server; SMB servers listen on 445, or on 139 \
                      with transport=netbios";

/// The error for a NEGOTIATE without an answer.
fn no_answer(error: &WireError) -> ConnectError {
    let failed = |message: &str| ConnectError::new(Stage::Dialect, message);
    match error {
        WireError::TimedOut => failed("the server accepted the connection and then never answered").with_remedy(WRONG_PORT),
        WireError::Closed(reason) if reason.contains("SMB1") => {
            failed("the server speaks only SMB1, which is obsolete and unsafe").with_remedy("enable SMB2 or SMB3 on it")
        }
        WireError::Closed(reason) if reason.contains("the server closed it") => failed(
            "the server closed the connection when asked for SMB2 or SMB3: it may speak only SMB1, or not be an SMB server",
        )
        .with_remedy(CLOSED),
        WireError::Closed(reason) if reason.contains("the server sent") => {
            let message = format!("what answers on this port is not an SMB server ({reason})");
            failed(&message).with_remedy(WRONG_PORT)
        }
        error => failed(&format!("the server could not be asked for its dialect: {error}")),
    }
}

/// The next value of a pre-authentication hash (MS-SMB2 3.2.5.2).
pub fn extend_hash(hash: &[u8; 64], message: &[u8]) -> [u8; 64] {
    let mut sha = Sha512::new();
    sha.update(hash);
    sha.update(message);
    sha.finalize().into()
}

/// The result of a NEGOTIATE response, or the reason why it is not acceptable.
fn parse(reply: &Reply, offer: &Offer) -> Result<Negotiated, String> {
    let answer = parse_answer(reply, offer);
    let agreed = answer.map_err(|malformed| format!("the server's answer is malformed: {malformed}"))?;
    let Some(agreed) = agreed else { return Err("the server chose a dialect that does not exist".into()) };
    if !offer.dialects.dialects().any(|dialect| dialect == agreed.dialect) {
        return Err(format!("the server chose SMB {}, which was not offered", agreed.dialect));
    }
    Ok(agreed)
}

/// The fields of a NEGOTIATE response (MS-SMB2 2.2.4); `None` if its dialect does not exist.
fn parse_answer(reply: &Reply, offer: &Offer) -> Result<Option<Negotiated>, Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(65, "a NEGOTIATE response whose StructureSize is not 65")?;
    let server = ServerHello {
        security_mode: body.u16(2)?,
        dialect: body.u16(4)?,
        guid: body.block(8)?,
        capabilities: body.u32(24)?,
    };
    let Some(dialect) = Dialect::from_revision(server.dialect) else { return Ok(None) };
    let message = Fields(&reply.message);
    let token = message.bytes(usize::from(body.u16(56)?), usize::from(body.u16(58)?))?.to_vec();
    let large_mtu = dialect >= Dialect::Smb210 && server.capabilities & capabilities::LARGE_MTU != 0;
    // Without multi-credit requests the limit is the payload of one credit (MS-SMB2 3.2.4.1.5).
    let limit = |claimed: u32| if large_mtu { claimed } else { claimed.min(CREDIT_PAYLOAD) }.min(MAX_IO);
    let mut agreed = Negotiated {
        dialect,
        server_requires_signing: server.security_mode & SIGNING_REQUIRED != 0,
        signing: if dialect < Dialect::Smb300 { SigningAlgorithm::HmacSha256 } else { SigningAlgorithm::AesCmac },
        cipher: None,
        large_mtu,
        multi_channel: offer.multi_channel
            && dialect >= Dialect::Smb300
            && server.capabilities & capabilities::MULTI_CHANNEL != 0,
        leasing: dialect >= Dialect::Smb210 && server.capabilities & capabilities::LEASING != 0,
        directory_leasing: dialect >= Dialect::Smb300
            && server.capabilities & capabilities::LEASING != 0
            && server.capabilities & capabilities::DIRECTORY_LEASING != 0,
        max_read: limit(body.u32(32)?),
        max_write: limit(body.u32(36)?),
        max_transact: limit(body.u32(28)?),
        system_time: body.u64(40)?,
        token,
        preauth_hash: [0; 64],
        server,
    };
    if agreed.max_read < MIN_IO || agreed.max_write < MIN_IO || agreed.max_transact < MIN_IO {
        return Err(Malformed("maximum sizes below 4096 bytes"));
    }
    match dialect {
        Dialect::Smb311 => apply_contexts(&mut agreed, offer, body, message)?,
        Dialect::Smb300 | Dialect::Smb302
            if offer.encryption != Protection::Off && agreed.server.capabilities & capabilities::ENCRYPTION != 0 =>
        {
            agreed.cipher = Some(Cipher::Aes128Ccm);
        }
        _ => {}
    }
    Ok(Some(agreed))
}

/// The largest size that the client uses, in bytes: 8 MiB, which fit into a frame, whose length has 24 bits.
const MAX_IO: u32 = 8 << 20;
/// The smallest maximum size that the client accepts, in bytes; a smaller one makes the share unusable. MS-SMB2 3.3.5.4
/// recommends at least 65,536.
const MIN_IO: u32 = 4096;

/// Applies the negotiate contexts of SMB 3.1.1 (MS-SMB2 2.2.4.1). An unknown context is ignored, which the parser of
/// `smb-msg` does not do.
fn apply_contexts(
    agreed: &mut Negotiated,
    offer: &Offer,
    body: Fields<'_>,
    message: Fields<'_>,
) -> Result<(), Malformed> {
    let count = body.u16(6)?;
    let mut at = body.u32(60)? as usize;
    let mut preauth = false;
    for _ in 0..count {
        let (kind, length) = (message.u16(at)?, usize::from(message.u16(at.saturating_add(2))?));
        let data = Fields(message.bytes(at.saturating_add(8), length)?);
        match kind {
            CONTEXT_PREAUTH => {
                if data.u16(4)? != SHA_512 {
                    return Err(Malformed("a pre-authentication hash that was not offered"));
                }
                preauth = true;
            }
            CONTEXT_ENCRYPTION => {
                // 0 means that the server supports none of the offered ciphers (MS-SMB2 2.2.4.1.2).
                let chosen = data.u16(2)?;
                agreed.cipher = Cipher::from_id(chosen).filter(|_| offer.encryption != Protection::Off);
                if agreed.cipher.is_none() && chosen != 0 {
                    return Err(Malformed("a cipher that was not offered"));
                }
            }
            CONTEXT_SIGNING => {
                let chosen = SigningAlgorithm::from_id(data.u16(2)?);
                agreed.signing = chosen.ok_or(Malformed("a signing algorithm that was not offered"))?;
            }
            _ => {}
        }
        at = at.saturating_add(8 + length).next_multiple_of(8);
    }
    if preauth { Ok(()) } else { Err(Malformed("SMB 3.1.1 without a pre-authentication hash")) }
}

/// Asks the server again, in a signed request, what was negotiated (MS-SMB2 3.2.5.5, 2.2.31.4, 2.2.32.6). Below 3.1.1
/// the NEGOTIATE messages are not protected, so a difference means that they were altered on their way, to force a
/// weaker dialect.
///
/// Nothing is sent with SMB 3.1.1, if no SMB 3 dialect was offered, or if the session has no signing key.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::Dialect`]: the server does not answer within `deadline`, its reply is not signed or is
/// malformed, it refuses with STATUS_ACCESS_DENIED, or its answer differs from what was negotiated. Another error
/// status is no failure.
pub async fn validate(
    connection: &Connection,
    offer: &Offer,
    agreed: &Negotiated,
    (tree_id, seal): (u32, bool),
    deadline: Duration,
) -> Result<(), ConnectError> {
    let offered_more = offer.dialects.highest >= Dialect::Smb300;
    let can_sign = connection.security().is_some_and(|security| security.signer.is_some());
    if agreed.dialect == Dialect::Smb311 || !offered_more || !can_sign {
        return Ok(());
    }
    let input = encode(&ValidateNegotiateInfoRequest {
        capabilities: offer.capabilities(),
        guid: Guid::from(offer.client_guid),
        security_mode: NegotiateSecurityMode::from_bytes(offer.security_mode().to_le_bytes()),
        dialects: offer.dialects.dialects().map(numbered).collect(),
    });
    let request = ioctl::ioctl(FsctlCodes::ValidateNegotiateInfo as u32, NO_FILE, input, VALIDATION_SIZE);
    let mut chain = Chain::single(request);
    (chain.tree_id, chain.seal, chain.force_signature) = (tree_id, seal, true);
    let failed = |message: String| ConnectError::new(Stage::Dialect, message);
    let replies = connection.send(&chain, deadline).await.map_err(|error| {
        failed(format!("the server did not confirm what was negotiated ({error}): the traffic may have been altered"))
    })?;
    let reply = replies.first().ok_or_else(|| failed("no reply".into()))?;
    if reply.status().is_error() {
        // A server that does not know the request answers with an error, signed: the traffic was not altered.
        return if matches!(reply.status(), NtStatus::ACCESS_DENIED) {
            Err(ConnectError::refused(
                Stage::Dialect,
                "the server would not confirm what was negotiated",
                reply.status(),
            ))
        } else {
            Ok(())
        };
    }
    let said = parse_validation(reply).map_err(|malformed| failed(malformed.to_string()))?;
    if said == agreed.server {
        return Ok(());
    }
    Err(failed("the server reports other terms than were negotiated: the traffic was altered on its way".into()))
}

/// The VALIDATE_NEGOTIATE_INFO response (MS-SMB2 2.2.32.6).
fn parse_validation(reply: &Reply) -> Result<ServerHello, Malformed> {
    let response: ValidateNegotiateInfoResponse =
        decode(ioctl::output(reply)?, "a VALIDATE_NEGOTIATE_INFO response that is cut short or of no dialect")?;
    Ok(ServerHello {
        capabilities: response.capabilities,
        guid: response.guid.into(),
        security_mode: u16::from_le_bytes(response.security_mode.into_bytes()),
        dialect: response.dialect as u16,
    })
}

/// A result of the negotiation with a server that offers everything.
#[cfg(test)]
pub(super) fn tests_agreed(dialect: Dialect) -> Negotiated {
    let server = ServerHello { capabilities: 0x7f, guid: [3; 16], security_mode: 1, dialect: dialect.revision() };
    Negotiated {
        dialect,
        server_requires_signing: false,
        signing: SigningAlgorithm::AesCmac,
        cipher: None,
        large_mtu: true,
        leasing: true,
        directory_leasing: true,
        multi_channel: true,
        max_read: MAX_IO,
        max_write: MAX_IO,
        max_transact: MAX_IO,
        system_time: 0,
        token: Vec::new(),
        preauth_hash: [0; 64],
        server,
    }
}

/// Runs the parsers of this file, for a property test.
#[cfg(test)]
pub(super) fn tests_parse(reply: &Reply) {
    let _ = parse_answer(reply, &Offer::new(DialectRange::default(), true, Protection::Auto, true));
    let _ = parse_validation(reply);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::{Header, flags};

    /// A NEGOTIATE response of SMB 3.1.1 that chooses this cipher.
    fn response(cipher: u16) -> Reply {
        let header = Header { flags: flags::RESPONSE, ..Header::blank(Command::Negotiate) };
        let mut message = Vec::new();
        header.put(&mut message);
        message.put_u16(65).put_u16(1).put_u16(Dialect::Smb311.revision()).put_u16(2).put_bytes(&[7; 16]).put_u32(0x04);
        message.put_u32(1 << 20).put_u32(1 << 20).put_u32(1 << 20).put_u64(1).put_u64(1);
        message.put_u16(128).put_u16(0).put_u32(128);
        assert_eq!(message.len(), 128);
        for (kind, data) in [(CONTEXT_PREAUTH, vec![1, 0, 0, 0, 1, 0]), (0x0100, vec![9; 3])] {
            message.align(8).put_u16(kind).put_count(data.len()).put_u32(0).put_bytes(&data);
        }
        message.align(8).put_u16(CONTEXT_ENCRYPTION).put_u16(4).put_u32(0).put_u16(1).put_u16(cipher);
        // Three contexts, of which the count above names two.
        message[64 + 6] = 3;
        Reply { header, message: message.into(), signature: Default::default(), sealed: false }
    }

    #[test]
    fn the_server_can_choose_only_a_cipher_that_was_offered() {
        let chosen = |encryption, cipher| {
            let offer = Offer::new(DialectRange::default(), true, encryption, true);
            parse_answer(&response(cipher), &offer).map(|agreed| agreed.unwrap().cipher)
        };
        assert_eq!(chosen(Protection::Auto, Cipher::Aes256Gcm as u16), Ok(Some(Cipher::Aes256Gcm)));
        assert_eq!(chosen(Protection::Auto, 0), Ok(None));
        assert_eq!(chosen(Protection::Off, 0), Ok(None));
        assert!(chosen(Protection::Auto, 5).is_err());
        assert!(chosen(Protection::Off, Cipher::Aes128Gcm as u16).is_err());
    }
}
