//! One read as the READs that the server needs for it.
//!
//! A READ may carry less than a read asks for, and a server may return less than it could. Only an answer without a
//! byte means that the file has ended (MS-SMB2 3.3.5.12: STATUS_END_OF_FILE).

use super::Result;
use bytes::{Bytes, BytesMut};

/// Reads `length` bytes, or up to the end of the file, in READs of at most `piece` bytes. `read` gets the number of
/// bytes read so far and the number that it may return.
///
/// # Errors
/// The first error of `read`.
pub(super) async fn gather<R>(length: u32, piece: u32, read: impl Fn(u32, u32) -> R) -> Result<Bytes>
where
    R: Future<Output = Result<Bytes>>,
{
    let first = read(0, length.min(piece)).await?;
    // The usual case: nothing is copied.
    if first.is_empty() || first.len() >= length as usize {
        return Ok(first);
    }
    let mut data = BytesMut::with_capacity(length as usize);
    data.extend_from_slice(&first);
    while data.len() < length as usize {
        let there = data.len() as u32;
        let part = read(there, piece.min(length - there)).await?;
        if part.is_empty() {
            break;
        }
        data.extend_from_slice(&part);
    }
    Ok(data.freeze())
}

#[cfg(test)]
mod tests {
    use super::super::RemotePath;
    use super::super::error::{Cause, ShareError};
    use super::*;
    use parking_lot::Mutex;

    const FILE: &[u8] = b"0123456789";

    /// Reads from a server that returns at most `most` bytes per READ. Returns the data and the READs.
    async fn read(length: u32, piece: u32, most: usize) -> (Bytes, Vec<(u32, u32)>) {
        let asked = Mutex::default();
        let answer = |there: u32, wanted: u32| {
            Vec::push(&mut asked.lock(), (there, wanted));
            let rest = FILE.get(there as usize..).unwrap_or_default();
            let part = &rest[..rest.len().min(wanted as usize).min(most)];
            std::future::ready(Ok(Bytes::from_static(part)))
        };
        let data = gather(length, piece, answer).await.unwrap();
        (data, asked.into_inner())
    }

    #[tokio::test]
    async fn a_full_answer_needs_no_second_read() {
        assert_eq!(read(8, 100, 100).await, (Bytes::from("01234567"), vec![(0, 8)]));
    }

    #[tokio::test]
    async fn large_reads_are_cut_into_pieces() {
        assert_eq!(read(8, 3, 100).await, (Bytes::from("01234567"), vec![(0, 3), (3, 3), (6, 2)]));
    }

    #[tokio::test]
    async fn a_server_that_returns_less_is_asked_for_the_rest() {
        assert_eq!(read(8, 100, 5).await, (Bytes::from("01234567"), vec![(0, 8), (5, 3)]));
    }

    #[tokio::test]
    async fn an_answer_without_a_byte_is_the_end_of_the_file() {
        assert_eq!(read(20, 100, 100).await, (Bytes::from("0123456789"), vec![(0, 20), (10, 10)]));
        assert_eq!(read(20, 100, 0).await, (Bytes::new(), vec![(0, 20)]));
    }

    #[tokio::test]
    async fn an_error_in_the_middle_is_an_error() {
        let broken = || ShareError { operation: "READ", path: RemotePath::root(), cause: Cause::TimedOut };
        let answer = |there: u32, _: u32| {
            std::future::ready(if there == 0 { Ok(Bytes::from_static(b"0")) } else { Err(broken()) })
        };
        assert!(gather(5, 100, answer).await.is_err());
    }
}
