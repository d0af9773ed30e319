//! A compound that is sent in pieces, to a server that grants too few credits for all of it at once: a plain value.
//!
//! What the server would do is done here: a request that is related to an open works on the file that this has opened, and
//! fails with it.

use super::super::frame::{Chain, RELATED_FILE, Reply, UNRELATED, file_id_offset};
use super::super::header::Command;
use super::super::protection::created_file;

/// A compound in pieces.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    chain: &'a Chain,
    replies: Vec<Reply>,
    /// The file of the last open.
    file: Option<[u8; 16]>,
    /// Why the last open failed.
    refusal: Option<Reply>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(chain: &'a Chain) -> Pieces<'a> {
        Pieces { chain, replies: Vec::with_capacity(chain.requests.len()), file: None, refusal: None }
    }

    /// What is to be sent next; `None` if all has its reply.
    pub(super) fn next_piece(&mut self) -> Option<Chain> {
        loop {
            let index = self.replies.len();
            let mut request = self.chain.requests.get(index)?.clone();
            // In a compound it would have failed alike (MS-SMB2 3.3.5.2.7.2).
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

    /// The reply to what was sent last.
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
