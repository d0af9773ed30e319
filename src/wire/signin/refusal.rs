//! The meaning of a refused sign-in: which statuses refuse the password, which the account, and which are a temporary
//! failure of the server; the sentence for the user, and the remedy. Refusals of other operations: `share::refusal`.
//!
//! A refused password must not be tried repeatedly, because servers lock accounts. A refused account stays refused
//! until an administrator changes it. A failure of the server passes, and proves nothing about password or account.

use crate::config::Identity;
use crate::wire::status::NtStatus;

/// The part of the credentials that the server refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The user name or the password. Another try can lock the account.
    Password,
    /// The account, whatever the password: the account is barred, or the server cannot decide about it (a broken domain
    /// trust), or the status is unknown.
    Account,
}

impl Refusal {
    /// The refusal that a status of a failed sign-in means; `None` for a failure of the server, which may pass by
    /// itself. An unknown status refuses the account, so that the sign-in is not tried often.
    pub fn of(status: NtStatus) -> Option<Refusal> {
        match status {
            NtStatus::LOGON_FAILURE
            | NtStatus::WRONG_PASSWORD
            | NtStatus::NO_SUCH_USER
            | NtStatus::INVALID_ACCOUNT_NAME => Some(Refusal::Password),
            NtStatus::NO_MEMORY
            | NtStatus::INSUFFICIENT_RESOURCES
            | NtStatus::INSUFF_SERVER_RESOURCES
            | NtStatus::REQUEST_NOT_ACCEPTED
            | NtStatus::TOO_MANY_SESSIONS
            | NtStatus::TOO_MANY_OPENED_FILES
            | NtStatus::NO_LOGON_SERVERS
            | NtStatus::DOMAIN_CONTROLLER_NOT_FOUND
            | NtStatus::NETLOGON_NOT_STARTED
            | NtStatus::INVALID_SERVER_STATE
            | NtStatus::TIME_DIFFERENCE_AT_DC
            | NtStatus::UNSUCCESSFUL
            | NtStatus::INTERNAL_ERROR
            | NtStatus::UNEXPECTED_NETWORK_ERROR
            | NtStatus::UNEXPECTED_IO_ERROR
            | NtStatus::NETWORK_BUSY
            | NtStatus::IO_TIMEOUT
            | NtStatus::CANCELLED
            // smbd answers with this while it cleans up after a killed process.
            | NtStatus::OBJECT_NAME_NOT_FOUND
            | NtStatus::OBJECT_PATH_NOT_FOUND
            | NtStatus::NOT_FOUND
            | NtStatus::PIPE_BUSY
            | NtStatus::PIPE_NOT_AVAILABLE
            | NtStatus::PIPE_DISCONNECTED
            | NtStatus::INSTANCE_NOT_AVAILABLE
            | NtStatus::CONNECTION_DISCONNECTED
            | NtStatus::CONNECTION_RESET
            | NtStatus::CONNECTION_REFUSED
            | NtStatus::USER_SESSION_DELETED
            | NtStatus::NETWORK_SESSION_EXPIRED => None,
            // RPC failures between the server and its domain controller (MS-ERREF 2.3: facility 2).
            NtStatus(number) if number >> 16 == 0xC002 => None,
            _ => Some(Refusal::Account),
        }
    }
}

/// The refusal of a sign-in as a sentence for the user.
pub(super) fn sentence(identity: &Identity, status: NtStatus) -> String {
    let who = who(identity);
    let why = match status {
        NtStatus::LOGON_FAILURE => ": wrong user name or password",
        NtStatus::WRONG_PASSWORD => ": wrong password",
        NtStatus::NO_SUCH_USER | NtStatus::INVALID_ACCOUNT_NAME => ": it knows no such user",
        NtStatus::ACCOUNT_LOCKED_OUT => ": the account is locked out",
        NtStatus::ACCOUNT_DISABLED => ": the account is disabled",
        NtStatus::ACCOUNT_EXPIRED => ": the account has expired",
        NtStatus::PASSWORD_EXPIRED | NtStatus::PASSWORD_MUST_CHANGE => ": the password has expired",
        NtStatus::INVALID_LOGON_HOURS => ": the account may not sign in at this hour",
        NtStatus::INVALID_WORKSTATION => ": the account may not sign in from this machine",
        _ => "",
    };
    format!("the server refused {who}{why}")
}

/// The user who signs in, as a noun phrase for messages.
pub(super) fn who(identity: &Identity) -> String {
    match identity {
        Identity::Anonymous => "an anonymous session".to_owned(),
        Identity::User { username, domain: Some(domain), .. } => format!("the user {username:?} of {domain:?}"),
        Identity::User { username, domain: None, .. } => format!("the user {username:?}"),
    }
}

/// The user's remedy for a sign-in that was refused with this status, as a clause; a general one for `None`.
pub fn remedy(status: Option<NtStatus>) -> &'static str {
    match status {
        Some(NtStatus::ACCOUNT_LOCKED_OUT) => "wait, or have the account unlocked on the server",
        Some(NtStatus::ACCOUNT_DISABLED) => "have the account enabled on the server",
        Some(NtStatus::ACCOUNT_EXPIRED) => "have the account extended on the server",
        Some(NtStatus::PASSWORD_EXPIRED | NtStatus::PASSWORD_MUST_CHANGE) => "change the password on the server",
        Some(
            NtStatus::INVALID_LOGON_HOURS
            | NtStatus::INVALID_WORKSTATION
            | NtStatus::ACCOUNT_RESTRICTION
            | NtStatus::LOGON_TYPE_NOT_GRANTED
            | NtStatus::LOGON_NOT_GRANTED
            | NtStatus::AUTHENTICATION_FIREWALL_FAILED,
        ) => "have the server's administrator allow this account to sign in over the network",
        Some(NtStatus::NTLM_BLOCKED | NtStatus::SMARTCARD_LOGON_REQUIRED) => {
            "have the server's administrator allow this account to sign in with a password (NTLM)"
        }
        Some(
            NtStatus::NO_TRUST_LSA_SECRET
            | NtStatus::NO_TRUST_SAM_ACCOUNT
            | NtStatus::TRUSTED_DOMAIN_FAILURE
            | NtStatus::TRUSTED_RELATIONSHIP_FAILURE
            | NtStatus::TRUST_FAILURE
            | NtStatus::DOMAIN_TRUST_INCONSISTENT,
        ) => "have the trust between the server and its domain repaired",
        Some(NtStatus::NO_LOGON_SERVERS | NtStatus::DOMAIN_CONTROLLER_NOT_FOUND | NtStatus::NETLOGON_NOT_STARTED) => {
            "check that the server can reach its domain controller"
        }
        _ => "check the user name, the password and the domain (auth-domain, --domain)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_password_a_barred_account_and_a_failing_server_are_distinguished() {
        let of = |numbers: &[u32]| numbers.iter().map(|number| Refusal::of(NtStatus(*number))).collect::<Vec<_>>();
        for refusal in of(&[0xC000_006D, 0xC000_006A, 0xC000_0064, 0xC000_0062]) {
            assert_eq!(refusal, Some(Refusal::Password));
        }
        let barred = [
            0xC000_006E,
            0xC000_006F,
            0xC000_0070,
            0xC000_0071,
            0xC000_0072,
            0xC000_0193,
            0xC000_0224,
            0xC000_0234,
            0xC000_015B,
            0xC000_0155,
            0xC000_018A,
            0xC000_018B,
            0xC000_018C,
            0xC000_018D,
            0xC000_0199,
            0xC000_0413,
            0xC000_0022,
            0xC0DE_0001,
        ];
        for refusal in of(&barred) {
            assert_eq!(refusal, Some(Refusal::Account));
        }
        for refusal in of(&[0xC000_005E, 0xC000_009A, 0xC000_0205, 0xC000_00CE, 0xC000_0233, 0xC002_0017]) {
            assert_eq!(refusal, None);
        }
    }
}
