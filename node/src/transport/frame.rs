//! Frames on a stream: a length of four bytes, big-endian, then that many bytes.
//!
//! A length is believed only up to the limit, and even then memory grows with what has arrived, not with what was
//! announced. What the bytes mean is the core's business.

use std::io;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of the length prefix.
pub(super) const PREFIX_LEN: usize = 4;

/// How much is allocated before any of the body has arrived.
const FIRST_CHUNK: usize = 16 * 1024;

/// Reads a length prefix; `None` if the stream ended between frames.
///
/// # Errors
/// `UnexpectedEof` if the stream ended inside the prefix; what the stream reported otherwise.
pub(super) async fn read_length<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Option<u32>> {
    let mut prefix = [0; PREFIX_LEN];
    let mut have = 0;
    while have < PREFIX_LEN {
        match stream.read(&mut prefix[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => have += n,
        }
    }
    Ok(Some(u32::from_be_bytes(prefix)))
}

/// Reads a body of `len` bytes.
///
/// # Errors
/// `UnexpectedEof` if the stream ended first; what the stream reported otherwise.
pub(super) async fn read_body<R: AsyncRead + Unpin>(stream: &mut R, len: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < len {
        let have = body.len();
        let next = len.min(FIRST_CHUNK.max(have * 2));
        body.reserve_exact(next - have);
        body.resize(next, 0);
        stream.read_exact(&mut body[have..]).await?;
    }
    Ok(body)
}

/// Writes frames in order, gathered through `scratch` so that many small frames cost one write, and flushes.
///
/// # Errors
/// What the stream reported; how many of the frames arrived is then unknown.
pub(super) async fn write_batch<W: AsyncWrite + Unpin>(
    stream: &mut W,
    scratch: &mut Vec<u8>,
    frames: &[Vec<u8>],
) -> io::Result<()> {
    scratch.clear();
    for frame in frames {
        let len = u32::try_from(frame.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        scratch.extend_from_slice(&len.to_be_bytes());
        scratch.extend_from_slice(frame);
    }
    stream.write_all(scratch).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    #[tokio::test]
    async fn frames_read_back_as_written() {
        let frames = vec![vec![1; 3], vec![], vec![2; 100_000]];
        let mut wire = Cursor::new(Vec::new());
        write_batch(&mut wire, &mut Vec::new(), &frames).await.unwrap();
        wire.set_position(0);
        for frame in frames {
            let len = read_length(&mut wire).await.unwrap().unwrap();
            assert_eq!(read_body(&mut wire, len as usize).await.unwrap(), frame);
        }
        assert_eq!(read_length(&mut wire).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_truncated_prefix_or_body_is_an_error() {
        let mut wire = Cursor::new(vec![0, 0]);
        assert_eq!(read_length(&mut wire).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut wire = Cursor::new(vec![7; 9]);
        assert_eq!(read_body(&mut wire, 10).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
