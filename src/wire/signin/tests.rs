//! Sessions and bindings: against a scripted server, and against published messages and keys.

use super::super::crypto::SigningAlgorithm;
use super::super::crypto::signing::Nonce;
use super::super::frame::split;
use super::super::header::{HEADER_SIZE, SIGNATURE};
use super::super::negotiate::tests_agreed;
use super::super::scripted::{Scripted, Seen, pair, response};
use super::*;
use bytes::BytesMut;

const PATIENCE: Duration = Duration::from_secs(20);
const SESSION: u64 = 0x77;
const SESSION_KEY: [u8; 16] = [5; 16];

fn wish() -> SessionRequirements {
    SessionRequirements { identity: Identity::Anonymous, signing: Protection::Off, encryption: Protection::Off }
}

/// The body of a SESSION_SETUP response without a token.
fn setup_response(session_flags: u8) -> [u8; 9] {
    [9, 0, session_flags, 0, 72, 0, 0, 0, 0]
}

fn cmac(key: &[u8; 16], message: &[u8]) -> [u8; 16] {
    let mut message = message.to_vec();
    message[SIGNATURE].fill(0);
    Signer::new(SigningAlgorithm::AesCmac, key)
        .sign(&message[..], Nonce { message_id: 0, from_server: false, cancel: false })
}

/// The first connection of a session, with its server, which the test keeps alive and does not use.
async fn first() -> (Connection, Scripted) {
    let (first, server) = pair().await;
    first.set_session_id(SESSION);
    let signer = Some(Arc::new(Signer::new(SigningAlgorithm::AesCmac, &SESSION_KEY)));
    first.protect(Security { signer, sign_all: true, sealer: None, seal_all: false });
    (first, server)
}

/// Asserts that a request asks to bind to the session and is signed with the session's key.
fn assert_binds(seen: &Seen) {
    assert_eq!(seen.header.command, Command::SessionSetup as u16);
    assert_eq!(seen.header.session_id, SESSION);
    assert_eq!(seen.body[2], BINDING);
    assert_eq!(seen.body[16..24], [0; 8], "PreviousSessionId");
    assert!(seen.header.has(flags::SIGNED));
    let mut message = Vec::new();
    seen.header.put(&mut message);
    message.extend_from_slice(&seen.body);
    assert_eq!(cmac(&SESSION_KEY, &message), seen.signature);
}

#[tokio::test]
async fn a_new_session_names_the_previous_session() {
    for previous in [0, 0x1234_5678_9abc] {
        let (client, mut server) = pair().await;
        let (agreed, wish) = (tests_agreed(Dialect::Smb311), wish());
        let serve = async {
            let seen = server.receive_one().await;
            assert_eq!(seen.body[2], 0, "no binding");
            assert_eq!(seen.body[16..24], u64::to_le_bytes(previous));
            assert_eq!(seen.header.session_id, 0);
            server.answer(&seen.header, NtStatus::SUCCESS, 1, &setup_response(SESSION_IS_NULL as u8)).await;
        };
        let (kind, ()) = tokio::join!(sign_in(&client, &agreed, &wish, previous, PATIENCE), serve);
        assert!(kind.unwrap().guest);
    }
}

#[tokio::test]
async fn a_binding_is_signed_with_the_session_key_and_its_refusal_is_reported() {
    let (first, _server) = first().await;
    let (second, mut server) = pair().await;
    let (agreed, wish) = (tests_agreed(Dialect::Smb311), wish());
    let serve = async {
        let seen = server.receive_one().await;
        assert_binds(&seen);
        server.answer(&seen.header, NtStatus::ACCESS_DENIED, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0]).await;
    };
    let (bound, ()) = tokio::join!(bind(&second, &agreed, &wish, &first, PATIENCE), serve);
    assert_eq!(bound.unwrap_err().status, Some(NtStatus::ACCESS_DENIED));
    assert!(second.security().is_none());
}

#[tokio::test]
async fn an_answer_to_a_binding_must_be_signed_with_the_session_key() {
    for (key, signed) in [(SESSION_KEY, true), ([6; 16], false)] {
        let (first, _server) = first().await;
        let (second, mut server) = pair().await;
        let (agreed, wish) = (tests_agreed(Dialect::Smb311), wish());
        let serve = async {
            let seen = server.receive_one().await;
            let (status, body) = (NtStatus::MORE_PROCESSING_REQUIRED, setup_response(0));
            let mut interim = response(&seen.header, status, 1, flags::SIGNED, &body);
            let signature = cmac(&key, &interim);
            interim[SIGNATURE].copy_from_slice(&signature);
            server.send(&interim).await;
            if signed {
                let seen = server.receive_one().await;
                assert_binds(&seen);
                server.answer(&seen.header, NtStatus::SUCCESS, 1, &setup_response(0)).await;
            }
        };
        let (bound, ()) = tokio::join!(bind(&second, &agreed, &wish, &first, PATIENCE), serve);
        // This sign-in is anonymous, so at its end there is no key for the channel.
        let expected = if signed { "without a key" } else { "signature" };
        let error = bound.unwrap_err();
        assert!(error.message.contains(expected), "{error}");
        assert!(second.security().is_none());
    }
}

#[tokio::test]
async fn a_session_without_a_key_is_not_bound_to() {
    let (first, _one) = pair().await;
    let (second, _other) = pair().await;
    first.protect(Security { signer: None, sign_all: false, sealer: None, seal_all: false });
    let error = bind(&second, &tests_agreed(Dialect::Smb311), &wish(), &first, PATIENCE).await.unwrap_err();
    assert!(error.message.contains("without a key"), "{error}");
}

fn user(name: &str, password: &str, signing: Protection) -> SessionRequirements {
    let identity = Identity::User { username: name.into(), domain: None, password: password.to_owned().into() };
    SessionRequirements { identity, signing, encryption: Protection::Off }
}

/// Signs in at a server that accepts every user in the first round, with these session flags.
async fn let_in(
    agreed: &Negotiated,
    wish: &SessionRequirements,
    session_flags: u16,
) -> Result<SessionKind, ConnectError> {
    let (client, mut server) = pair().await;
    let serve = async {
        let seen = server.receive_one().await;
        server.answer(&seen.header, NtStatus::SUCCESS, 1, &setup_response(session_flags as u8)).await;
    };
    let (kind, ()) = tokio::join!(sign_in(&client, agreed, wish, 0, PATIENCE), serve);
    assert!(kind.is_ok() || client.security().is_none());
    kind
}

#[tokio::test]
async fn a_user_with_a_name_never_gets_a_guest_session() {
    for dialect in Dialect::ALL {
        for signing in [Protection::Off, Protection::Auto, Protection::Required] {
            for password in ["secret", ""] {
                for session_flags in [SESSION_IS_GUEST, SESSION_IS_NULL, SESSION_IS_GUEST | SESSION_IS_NULL] {
                    let wish = user("ann", password, signing);
                    let error = let_in(&tests_agreed(dialect), &wish, session_flags).await.unwrap_err();
                    assert_eq!((error.stage, error.refusal()), (Stage::SignIn, Some(Refusal::Password)));
                    assert!(error.message.contains("--guest") && error.message.contains("ann"), "{error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_user_who_asks_for_a_guest_session_gets_it() {
    for session_flags in [SESSION_IS_GUEST, SESSION_IS_NULL] {
        for wish in [user("guest", "", Protection::Auto), SessionRequirements { signing: Protection::Auto, ..wish() }] {
            assert!(let_in(&tests_agreed(Dialect::Smb311), &wish, session_flags).await.unwrap().guest);
        }
    }
    // A password for the account "guest" is a password.
    let wish = user("guest", "secret", Protection::Off);
    assert!(let_in(&tests_agreed(Dialect::Smb311), &wish, SESSION_IS_GUEST).await.is_err());
}

#[tokio::test]
async fn a_further_connection_is_never_a_guest_session() {
    for session_flags in [SESSION_IS_GUEST, SESSION_IS_NULL] {
        let (first, _server) = first().await;
        let (second, mut server) = pair().await;
        let (agreed, wish) = (tests_agreed(Dialect::Smb311), user("ann", "secret", Protection::Auto));
        let serve = async {
            let seen = server.receive_one().await;
            server.answer(&seen.header, NtStatus::SUCCESS, 1, &setup_response(session_flags as u8)).await;
        };
        let (bound, ()) = tokio::join!(bind(&second, &agreed, &wish, &first, PATIENCE), serve);
        assert_eq!(bound.unwrap_err().refusal(), Some(Refusal::Password));
        assert!(second.security().is_none());
    }
}

/// The server can have counted a failed sign-in only if the proof of the password was sent.
#[tokio::test(start_paused = true)]
async fn a_sign_in_without_an_answer_says_whether_the_proof_was_sent() {
    for (rounds, closes, proof) in
        [(0, false, Proof::NotSent), (1, false, Proof::Unanswered), (1, true, Proof::Dropped)]
    {
        let (client, mut server) = pair().await;
        let (agreed, wish) = (tests_agreed(Dialect::Smb311), wish());
        let serve = async {
            for _ in 0..rounds {
                let seen = server.receive_one().await;
                server.answer(&seen.header, NtStatus::MORE_PROCESSING_REQUIRED, 1, &setup_response(0)).await;
            }
            server.receive_one().await;
            if closes { None } else { Some(server) }
        };
        let (kind, _server) = tokio::join!(sign_in(&client, &agreed, &wish, 7, PATIENCE), serve);
        assert_eq!(kind.unwrap_err().proof, proof, "{rounds} rounds, closes: {closes}");
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

/// The second channel in Microsoft's "SMB 2 and SMB 3 security in Windows 10: the anatomy of signing and cryptographic
/// keys": which key signs which message, and how the channel's key is derived.
#[test]
fn the_published_binding_has_the_published_keys_and_signatures() {
    let session_key = array("73FE7A9A77BEF0BDE49C650D8CCB5F76");
    let request = bytes(
        "FE534D4240000100000000000100800008000000000000000200000000000000FFFE000000000000
         190000000010000068BD0C58F613CE1334B1EB51C68D39EA19000101010000000000000058004A00
         0000000000000000604806062B0601050502A03E303CA00E300C060A2B06010401823702020AA22A
         04284E544C4D5353500001000000978208E200000000000000000000000000000000060380250000
         000F",
    );
    assert_eq!(request[HEADER_SIZE + 2], BINDING);
    assert_eq!(cmac(&session_key, &request), request[SIGNATURE]);
    let before = array(
        "E267AB1AA0403082AA2A9FEB0224AF3EA92E53CAA50A893A9635F0659F93591F81391737E68DB0C9
         AD878C56449C36A6895EBCF435A7D97072C7B596B8AF3817",
    );
    let after = array(
        "8346469934A59E951A3F2DA7FA4C2C29F0F6B13A6B0951D4CD5279F8D40FD84FF98157937613C6BE
         9514582E44344B1710DD5BFCE3BB023D28C6EA512E0ADEBD",
    );
    assert_eq!(extend_hash(&before, &request), after);

    let hash = array(
        "EA3BF912B11CBFEC5B1889E8209614218687F82FA5294521AD3063425E49E88A10BD022124CE2512
         3BC9111F52D9566BA88BF46344E6063DC5E3FF0389026F6C",
    );
    let keys = derive_keys(Dialect::Smb311, &bytes("84B9DBB730116A8FA6E9889555C265F9"), &hash, None);
    assert_eq!(*keys.signing, array("C962BCA1A9DD1697B030644199705431"));
    let last = bytes(
        "FE534D4240000100000000000100800009000000000000000300000000000000FFFE000000000000
         19000000001000008D604217FFBACF40635BF9D8729921500900000048001D00A11B3019A0030A01
         00A312041001000000CFB046FC5D368E2200000000",
    );
    let reply = split(BytesMut::from(&last[..]), false).next().unwrap().unwrap();
    assert!(reply.is_signed_by(&Signer::new(SigningAlgorithm::AesCmac, &keys.signing)));
    assert!(!reply.is_signed_by(&Signer::new(SigningAlgorithm::AesCmac, &session_key)));
}
