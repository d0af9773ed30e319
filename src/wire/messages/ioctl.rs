//! IOCTL (MS-SMB2 2.2.31, 2.2.32), and the control codes for a copy at the server.
//!
//! A copy by chunks needs two requests. The first asks the source's open for a resume key, which names this open on the
//! same session; the source must be open with the right to read data. The second sends the chunks to the target's open.
//! FSCTL_SRV_COPYCHUNK would also need the right to read the target, so FSCTL_SRV_COPYCHUNK_WRITE is used, which needs
//! only the right to write (MS-SMB2 3.3.5.15.6).
//!
//! FSCTL_DUPLICATE_EXTENTS_TO_FILE (MS-FSCC 2.3.8) lets two files share blocks on the server's disk instead. It needs
//! the same rights, and names the source by its FileId.

use super::FileId;
use crate::wire::codec::{Fields, Malformed, Put, TooLong, length32};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::{Command, behind};
use crate::wire::structures::{decode, encode};
use bytes::Bytes;
use smb_msg::{FsctlCodes, SrvCopychunkCopy, SrvCopychunkItem, SrvCopychunkResponse};

/// `FSCTL_DUPLICATE_EXTENTS_TO_FILE` (MS-FSCC 2.3.8)
const DUPLICATE_EXTENTS_TO_FILE: u32 = 0x0009_8344;
/// The size of the output of FSCTL_SRV_COPYCHUNK_WRITE, in bytes.
const COPIED_SIZE: u32 = 12;

/// The resume key of an open (MS-SMB2 2.2.32.3): 24 bytes, valid as long as the open.
pub type ResumeKey = [u8; 24];

/// An IOCTL with `input`, whose response has up to `output` bytes of output (MS-SMB2 2.2.31).
pub(in crate::wire) fn ioctl(code: u32, file: FileId, input: Result<Vec<u8>, TooLong>, output: u32) -> Request {
    const FIXED: u16 = 56;
    const IS_FSCTL: u32 = 1;
    let measured = input.and_then(|input| Ok((length32(input.len(), TooLong::Other("the input of an IOCTL"))?, input)));
    let (length, input) = match measured {
        Ok(measured) => measured,
        Err(too_long) => return Request::checked(Command::Ioctl, Err(too_long)),
    };
    let input_offset = if input.is_empty() { 0 } else { behind(FIXED) };
    let mut body = Vec::with_capacity(usize::from(FIXED) + 1);
    body.put_u16(57)
        .put_u16(0)
        .put_u32(code)
        .put_bytes(&file)
        .put_u32(u32::from(input_offset))
        .put_u32(length)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0)
        .put_u32(output)
        .put_u32(IS_FSCTL)
        .put_u32(0);
    if input.is_empty() {
        // The StructureSize includes one byte of the buffer.
        body.put_u8(0);
    }
    let input = Bytes::from(input);
    let request = Request::new(Command::Ioctl, body).with_payload(input);
    // The longer one of input and output counts (MS-SMB2 3.2.4.1.5).
    let charge = request.charge;
    let mut request = request.with_response(output);
    request.charge = request.charge.max(charge);
    request
}

/// The output of an IOCTL response (MS-SMB2 2.2.32).
pub(in crate::wire) fn output(reply: &Reply) -> Result<&[u8], Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(49, "an IOCTL response whose StructureSize is not 49")?;
    Fields(&reply.message).buffer(body.u32(32)? as usize, body.u32(36)? as usize)
}

/// Checks that a response is that of an IOCTL and contains the output that it claims.
pub(super) fn check(reply: &Reply) -> Result<(), Malformed> {
    output(reply).map(drop)
}

/// A request for the resume key of an open.
pub fn request_resume_key(file: FileId) -> Request {
    // The key, the length of a context and, in the structure of Windows, space for the context.
    const OUTPUT: u32 = 32;
    ioctl(FsctlCodes::SrvRequestResumeKey as u32, file, Ok(Vec::new()), OUTPUT)
}

/// The resume key in a response (MS-SMB2 2.2.32.3). The parser of `smb-msg` allocates what the response claims.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of an IOCTL, or its output has less than 24 bytes.
pub fn parse_resume_key(reply: &Reply) -> Result<ResumeKey, Malformed> {
    let mut key = ResumeKey::default();
    key.copy_from_slice(Fields(output(reply)?).bytes(0, 24)?);
    Ok(key)
}

/// A range that the server is to copy from one file to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRange {
    /// Its offset in the source, in bytes.
    pub from: u64,
    /// Its offset in the target, in bytes.
    pub to: u64,
    /// Its length, in bytes.
    pub length: u32,
}

/// A request to copy a range to `target` at the server, in chunks of `chunk` bytes (MS-SMB2 2.2.31.1). The caller keeps
/// to the server's limits ([`Chunks`]).
pub fn copy_chunks(target: FileId, source: &ResumeKey, range: CopyRange, chunk: u32) -> Request {
    let chunk = chunk.max(1);
    let item = |start| SrvCopychunkItem {
        source_offset: range.from.saturating_add(u64::from(start)),
        target_offset: range.to.saturating_add(u64::from(start)),
        length: chunk.min(range.length - start),
    };
    let chunks = (0..range.length).step_by(chunk as usize).map(item).collect();
    let input = encode(&SrvCopychunkCopy { source_key: *source, chunks });
    ioctl(FsctlCodes::SrvCopychunkWrite as u32, target, input, COPIED_SIZE)
}

/// SRV_COPYCHUNK_RESPONSE (MS-SMB2 2.2.32.1): the progress of a copy or, with STATUS_INVALID_PARAMETER, the limits of
/// one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// Progress: chunks that were copied completely. Limit: the most chunks of one request.
    pub count: u32,
    /// Progress: bytes that were copied of the next chunk. Limit: the most bytes of one chunk.
    pub bytes: u32,
    /// Progress: all bytes that were copied. Limit: the most bytes of one request.
    pub total: u32,
}

/// The SRV_COPYCHUNK_RESPONSE of a response with any status; `None` if the response is an error without one.
///
/// # Errors
///
/// [`Malformed`] if the response is a success and has no SRV_COPYCHUNK_RESPONSE.
pub fn parse_chunks(reply: &Reply) -> Result<Option<Chunks>, Malformed> {
    let decoded = output(reply).and_then(|output| decode(output, "a SRV_COPYCHUNK_RESPONSE of less than 12 bytes"));
    let chunks = decoded.map(|response: SrvCopychunkResponse| Chunks {
        count: response.chunks_written,
        bytes: response.chunk_bytes_written,
        total: response.total_bytes_written,
    });
    if reply.status().is_error() { Ok(chunks.ok()) } else { chunks.map(Some) }
}

/// The number of bytes, from the start of `range`, that a request for `range` in chunks of `chunk` bytes has copied.
///
/// # Errors
///
/// [`Malformed`] if the server claims more than the range, or if its chunks and its total contradict each other.
pub fn copied(range: CopyRange, chunk: u32, chunks: Chunks) -> Result<u32, Malformed> {
    if chunks.total > range.length {
        return Err(Malformed("a copy of more bytes than were asked for"));
    }
    // Of an incomplete copy only the bytes from the start of the range on count as progress.
    let claimed = u64::from(chunks.count) * u64::from(chunk) + u64::from(chunks.bytes);
    if chunks.total < range.length && claimed != u64::from(chunks.total) {
        return Err(Malformed("a copy whose chunks are not what it copied in all"));
    }
    Ok(chunks.total)
}

/// A request to let `target` share the blocks of `range` of `source` (MS-FSCC 2.3.8).
pub fn duplicate_extents(target: FileId, source: FileId, range: CopyRange) -> Request {
    let mut input = Vec::with_capacity(40);
    input.put_bytes(&source).put_u64(range.from).put_u64(range.to).put_u64(u64::from(range.length));
    ioctl(DUPLICATE_EXTENTS_TO_FILE, target, Ok(input), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::{Header, flags};
    use crate::wire::status::NtStatus;

    const FILE: FileId = [0xAB; 16];
    const RANGE: CopyRange = CopyRange { from: 0x1_0000_0000, to: 0x20, length: 25 };

    fn reply(status: NtStatus, body: Vec<u8>) -> Reply {
        let header = Header {
            credit_charge: 1,
            status,
            credits: 1,
            flags: flags::RESPONSE,
            message_id: 1,
            ..Header::blank(Command::Ioctl)
        };
        let mut message = Vec::new();
        header.put(&mut message);
        message.extend(body);
        Reply { header, message: message.into(), signature: Default::default(), sealed: false }
    }

    /// An IOCTL response that claims an output of `claimed` bytes.
    fn response(status: NtStatus, output: &[u8], claimed: u32) -> Reply {
        let mut body = Vec::new();
        body.put_u16(49).put_u16(0).put_u32(0).put_bytes(&FILE);
        body.put_u32(0).put_u32(0).put_u32(64 + 48).put_u32(claimed).put_u32(0).put_u32(0).put_bytes(output);
        reply(status, body)
    }

    fn chunk_response(status: NtStatus, fields: [u32; 3]) -> Reply {
        response(status, &fields.map(u32::to_le_bytes).concat(), 12)
    }

    #[test]
    fn a_resume_key_is_requested_and_parsed() {
        let request = request_resume_key(FILE);
        let expected = [
            &[57, 0, 0, 0, 0x78, 0, 0x14, 0][..],
            &FILE,
            &[0; 20],
            &[32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0], // The byte of the buffer that the StructureSize counts.
        ];
        assert_eq!(request.body, expected.concat());
        assert_eq!(request.charge, 1);

        let output: Vec<u8> = (0..28).collect();
        assert_eq!(parse_resume_key(&response(NtStatus::SUCCESS, &output, 28)).unwrap()[..], output[..24]);
        assert!(parse_resume_key(&response(NtStatus::SUCCESS, &output, 23)).is_err(), "too short");
        assert!(parse_resume_key(&response(NtStatus::SUCCESS, &output, 29)).is_err(), "less than it claims");
        assert!(parse_resume_key(&reply(NtStatus::SUCCESS, vec![9, 0, 0, 0])).is_err());
    }

    #[test]
    fn the_longer_one_of_input_and_output_is_charged() {
        let charge = |input: usize, output| ioctl(0, FILE, Ok(vec![0; input]), output).charge;
        assert_eq!((charge(0, 65_536), charge(0, 65_537), charge(0, 262_144)), (1, 2, 4));
        assert_eq!((charge(65_537, 0), charge(200_000, 65_537)), (2, 4));
    }

    #[test]
    fn a_range_is_cut_into_chunks() {
        let request = copy_chunks(FILE, &[7; 24], RANGE, 10);
        let mut body = Vec::new();
        body.put_u16(57).put_u16(0).put_u32(0x0014_80F2).put_bytes(&FILE);
        body.put_u32(120).put_u32(32 + 3 * 24).put_u32(0).put_u32(0).put_u32(0).put_u32(12).put_u32(1).put_u32(0);
        assert_eq!(request.body, body);
        let mut chunks = Vec::new();
        chunks.put_bytes(&[7; 24]).put_u32(3).put_u32(0);
        chunks.put_u64(0x1_0000_0000).put_u64(0x20).put_u32(10).put_u32(0);
        chunks.put_u64(0x1_0000_000A).put_u64(0x2A).put_u32(10).put_u32(0);
        chunks.put_u64(0x1_0000_0014).put_u64(0x34).put_u32(5).put_u32(0);
        assert_eq!(request.payload, chunks);
    }

    #[test]
    fn the_progress_of_a_copy_is_counted_and_contradictions_are_refused() {
        let copied_by = |fields| {
            let chunks = parse_chunks(&chunk_response(NtStatus::SUCCESS, fields)).unwrap().unwrap();
            copied(RANGE, 10, chunks)
        };
        assert_eq!(copied_by([3, 0, 25]), Ok(25));
        assert_eq!(copied_by([1, 4, 14]), Ok(14));
        assert_eq!(copied_by([0, 0, 0]), Ok(0));
        for wrong in [[3, 0, 26], [3, 1, 26], [1, 0, 24], [u32::MAX, u32::MAX, 24], [0, 0, u32::MAX]] {
            assert!(copied_by(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse_chunks(&response(NtStatus::SUCCESS, &[0; 11], 11)).is_err());
        assert!(parse_chunks(&reply(NtStatus::SUCCESS, vec![9, 0, 0, 0, 0, 0, 0, 0])).is_err());
    }

    #[test]
    fn a_refused_copy_reports_the_limits_or_nothing() {
        let limits = chunk_response(NtStatus::INVALID_PARAMETER, [16, 4096, 65536]);
        assert_eq!(parse_chunks(&limits).unwrap(), Some(Chunks { count: 16, bytes: 4096, total: 65536 }));
        let bare = reply(NtStatus::INVALID_PARAMETER, vec![9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse_chunks(&bare).unwrap(), None);
    }

    #[test]
    fn extents_are_shared_by_file_id() {
        let request = duplicate_extents(FILE, [0xCD; 16], RANGE);
        assert_eq!(request.body[4..8], 0x0009_8344u32.to_le_bytes());
        assert_eq!(request.body[8..24], FILE);
        let mut input = Vec::new();
        input.put_bytes(&[0xCD; 16]).put_u64(0x1_0000_0000).put_u64(0x20).put_u64(25);
        assert_eq!(request.payload, input);
    }
}
