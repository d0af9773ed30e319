//! A plain value that sends a compound as single requests, because the server grants too few credits for all of it at
//! once.
//!
//! [`Pieces`] does what the server does with a related compound (MS-SMB2 3.3.5.2.7.2): a request that is related to an
//! open works on the file of this open. If the open fails, the request is not sent, and its reply is that of the open.

use super::super::frame::{Chain, RELATED_FILE, Reply, UNRELATED, file_id_offset};
use super::super::header::Command;
use super::super::protection::created_file;

/// A compound that is sent one request at a time.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    chain: &'a Chain,
    /// The replies so far, in the order of the requests.
    replies: Vec<Reply>,
    /// The file of the last successful open.
    file: Option<[u8; 16]>,
    /// The reply to the last open, if it failed.
    refusal: Option<Reply>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(chain: &'a Chain) -> Pieces<'a> {
        Pieces { chain, replies: Vec::with_capacity(chain.requests.len()), file: None, refusal: None }
    }

    /// The next request to send; `None` once every request has its reply.
    pub(super) fn next_piece(&mut self) -> Option<Chain> {
        loop {
            let index = self.replies.len();
            let mut request = self.chain.requests.get(index)?.clone();
            // In a compound the server would fail this request with the same status (MS-SMB2 3.3.5.2.7.2).
            if let Some(refusal) = self.refusal.as_ref().filter(|_| self.chain.is_related(index)) {
                self.replies.push(refusal.clone());
                continue;
            }
            if let (Some(file), Some(offset)) = (self.file, file_id_offset(request.command)) {
                let field = request.body.get_mut(offset..offset + 16);
                if let Some(field) = field.filter(|field| **field == RELATED_FILE) {
                    field.copy_from_slice(&file);
                }
            }
            return Some(Chain { requests: vec![request], related_from: UNRELATED, ..self.chain.clone() });
        }
    }

    /// Records the reply to the request that was sent last.
    pub(super) fn answered(&mut self, reply: Reply) {
        if self.chain.requests.get(self.replies.len()).is_some_and(|request| request.command == Command::Create) {
            let failed = reply.status().is_error();
            self.file = if failed { None } else { created_file(&reply) };
            self.refusal = failed.then(|| reply.clone());
        }
        self.replies.push(reply);
    }

    /// The replies, in the order of the requests.
    pub(super) fn replies(self) -> Vec<Reply> {
        self.replies
    }
}
