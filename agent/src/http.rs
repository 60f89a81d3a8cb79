//! HTTP/1.1 (RFC 9112) as far as an agent needs it: one request, one answer with a `Content-Length`, in order.
//!
//! Guarantees: never more than [`HEAD_BYTES`] of header and the caller's limit of body are held, whatever the other end
//! announces; an answer that is cut short, chunked, doubly measured or followed by more bytes is refused, so that no two
//! readers could take it for different answers. Memory grows with what arrives, not with what is announced.
//!
//! Leaves to others: timeouts (of the stream), TLS, and what a status means.

use std::io::{self, Read, Write};

/// The largest header of an answer, in bytes.
pub const HEAD_BYTES: usize = 16 * 1024;

/// The most header fields of an answer.
const FIELDS: usize = 64;

/// How much memory is taken ahead of what has arrived.
const STEP: usize = 64 * 1024;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, `PUT`.
    pub method: &'a str,
    /// The path, with its query.
    pub path: &'a str,
    /// What goes into the `Host` field.
    pub host: &'a str,
    /// Further fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body; absent for none.
    pub body: Option<&'a [u8]>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, 200 to 599.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the other end keeps the connection.
    pub keeps: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The stream failed, a timeout included.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The connection was closed before the first byte of an answer.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// The connection was closed within an answer.
    #[error("the answer was cut short")]
    Truncated,
    /// The header is over [`HEAD_BYTES`].
    #[error("the answer's header is over {HEAD_BYTES} bytes")]
    HeadTooLarge,
    /// The body is over the caller's limit.
    #[error("the answer's body of {announced} bytes is over the limit of {limit}")]
    BodyTooLarge {
        /// What the header announces.
        announced: u64,
        /// What the caller takes.
        limit: usize,
    },
    /// Not an answer this client takes.
    #[error("not an HTTP answer keymesh takes: {0}")]
    Malformed(&'static str),
    /// The caller's own request cannot be written as HTTP.
    #[error("not a request that can be sent: {0}")]
    Request(&'static str),
}

/// Sends `request` and reads its answer, with at most `limit` bytes of body. After an error the stream is of no more use.
pub fn exchange(stream: &mut (impl Read + Write), request: &Request<'_>, limit: usize) -> Result<Answer, HttpError> {
    send(stream, request)?;
    receive(stream, limit)
}

fn send(stream: &mut impl Write, request: &Request<'_>) -> Result<(), HttpError> {
    let plain = |text: &str| text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if !request.path.starts_with('/') || !plain(request.path) || !plain(request.method) || !plain(request.host) {
        return Err(HttpError::Request("method, path or host holds a character that needs escaping"));
    }
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.path, request.host);
    for (name, value) in request.fields {
        if !plain(name) || !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err(HttpError::Request("a header field holds a control character"));
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = request.body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    // In one write: a header alone in its packet waits for the other end's delayed acknowledgement.
    let message = [head.as_bytes(), request.body.unwrap_or_default()].concat();
    stream.write_all(&message)?;
    stream.flush()?;
    Ok(())
}

/// What a header says about the body that follows.
struct Head {
    bytes: usize,
    status: u16,
    length: u64,
    keeps: bool,
}

fn receive(stream: &mut impl Read, limit: usize) -> Result<Answer, HttpError> {
    let mut arrived = Vec::with_capacity(4096);
    let head = loop {
        if arrived.len() >= HEAD_BYTES {
            return Err(HttpError::HeadTooLarge);
        }
        let room = 4096.min(HEAD_BYTES - arrived.len());
        if read_some(stream, &mut arrived, room)? == 0 {
            return Err(if arrived.is_empty() { HttpError::Closed } else { HttpError::Truncated });
        }
        if let Some(head) = parse(&arrived)? {
            break head;
        }
    };
    let length = match usize::try_from(head.length) {
        Ok(length) if length <= limit => length,
        _ => return Err(HttpError::BodyTooLarge { announced: head.length, limit }),
    };
    let mut body = arrived.split_off(head.bytes);
    while body.len() < length {
        let room = STEP.min(length - body.len());
        if read_some(stream, &mut body, room)? == 0 {
            return Err(HttpError::Truncated);
        }
    }
    if body.len() > length {
        return Err(HttpError::Malformed("bytes follow the answer"));
    }
    Ok(Answer { status: head.status, body, keeps: head.keeps })
}

/// Appends at most `room` bytes; 0 at the end of the stream.
fn read_some(stream: &mut impl Read, to: &mut Vec<u8>, room: usize) -> Result<usize, HttpError> {
    let from = to.len();
    to.resize(from + room, 0);
    let got = loop {
        match stream.read(&mut to[from..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // TLS reports a connection that ends without its closing alert in this way.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Ok(0),
            other => break other,
        }
    };
    to.truncate(from + *got.as_ref().unwrap_or(&0));
    Ok(got?)
}

/// The header in front of `bytes`; `None` while it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HttpError::HeadTooLarge),
        Err(_) => return Err(HttpError::Malformed("the header does not parse")),
    };
    if response.version != Some(1) {
        return Err(HttpError::Malformed("not HTTP/1.1"));
    }
    let status = response.code.filter(|code| (200..600).contains(code));
    let status = status.ok_or(HttpError::Malformed("a status outside 200 to 599"))?;
    let (mut length, mut keeps) = (None, true);
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(HttpError::Malformed("a transfer encoding"));
        } else if field.name.eq_ignore_ascii_case("content-encoding") {
            return Err(HttpError::Malformed("a content encoding"));
        } else if field.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err(HttpError::Malformed("two lengths"));
            }
            // `parse` alone would take a sign.
            let digits = std::str::from_utf8(field.value).ok();
            let digits = digits.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
            let number = digits.and_then(|text| text.parse::<u64>().ok());
            length = Some(number.ok_or(HttpError::Malformed("a length that is no number"))?);
        } else if field.name.eq_ignore_ascii_case("connection") {
            keeps = !String::from_utf8_lossy(field.value).to_ascii_lowercase().split(',').any(|s| s.trim() == "close");
        }
    }
    let length = match (length, status) {
        (Some(length), _) => length,
        (None, 204 | 304) => 0,
        (None, _) => return Err(HttpError::Malformed("no length")),
    };
    Ok(Some(Head { bytes: head, status, length, keeps }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Hands out its bytes in small pieces, as a network does.
    struct Pieces(Cursor<Vec<u8>>, usize);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let room = self.1.min(out.len());
            self.0.read(&mut out[..room])
        }
    }

    fn read(text: &[u8], limit: usize) -> Result<Answer, HttpError> {
        receive(&mut Pieces(Cursor::new(text.to_vec()), 7), limit)
    }

    fn refusal(text: &str) -> String {
        read(text.as_bytes(), 100).expect_err("a refusal").to_string()
    }

    #[test]
    fn an_answer_in_pieces_is_read_whole() {
        let answer = read(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world", 11).expect("an answer");
        assert_eq!((answer.status, &answer.body[..], answer.keeps), (200, &b"hello world"[..], true));
        let answer = read(b"HTTP/1.1 403 No\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n", 0).expect("an answer");
        assert_eq!((answer.status, answer.keeps), (403, false));
    }

    #[test]
    fn an_answer_cut_anywhere_is_refused() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert!(matches!(read(&whole[..0], 100), Err(HttpError::Closed)));
        for len in 1..whole.len() {
            assert!(matches!(read(&whole[..len], 100), Err(HttpError::Truncated)), "{len} bytes");
        }
    }

    #[test]
    fn an_oversized_header_is_refused_without_being_held() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(HEAD_BYTES));
        assert!(matches!(read(long.as_bytes(), 100), Err(HttpError::HeadTooLarge)));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(FIELDS + 1));
        assert!(matches!(read(many.as_bytes(), 100), Err(HttpError::HeadTooLarge)));
        let endless = receive(&mut io::repeat(b'a'), 100);
        assert!(matches!(endless, Err(HttpError::Malformed(_) | HttpError::HeadTooLarge)));
    }

    #[test]
    fn an_oversized_body_is_refused_before_it_is_read() {
        let error = read(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", 100).expect_err("a refusal");
        assert!(matches!(error, HttpError::BodyTooLarge { announced: 101, limit: 100 }));
        let error = read(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", 100);
        assert!(matches!(error, Err(HttpError::BodyTooLarge { .. })));
    }

    #[test]
    fn answers_that_two_readers_could_take_differently_are_refused() {
        let ok = "HTTP/1.1 200 OK\r\n";
        assert!(refusal(&format!("{ok}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")).contains("transfer encoding"));
        assert!(refusal(&format!("{ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx")).contains("two lengths"));
        assert!(refusal(&format!("{ok}Content-Length: +1\r\n\r\nx")).contains("no number"));
        assert!(refusal(&format!("{ok}Content-Length: 1, 1\r\n\r\nx")).contains("no number"));
        assert!(refusal(&format!("{ok}Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n")).contains("bytes follow"));
        assert!(refusal(&format!("{ok}\r\nx")).contains("no length"));
        assert!(refusal(&format!("{ok}Content-Length: 1\r\nContent-Encoding: gzip\r\n\r\nx")).contains("content enc"));
        assert!(refusal("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx").contains("not HTTP/1.1"));
        assert!(refusal("HTTP/1.1 100 Continue\r\n\r\n").contains("status"));
        assert!(refusal("SSH-2.0-OpenSSH_9.2\r\n").contains("does not parse"));
    }

    #[test]
    fn a_request_is_one_write_and_cannot_be_split() {
        let mut out = Vec::new();
        let request =
            Request { method: "POST", path: "/v1/x", host: "[::1]:1", fields: &[("A", "b c")], body: Some(b"{}") };
        send(&mut out, &request).expect("sent");
        assert_eq!(out, b"POST /v1/x HTTP/1.1\r\nHost: [::1]:1\r\nA: b c\r\nContent-Length: 2\r\n\r\n{}");
        for path in ["v1", "/a b", "/a\r\nX: y", "/\u{e9}"] {
            assert!(matches!(send(&mut out, &Request { path, ..request }), Err(HttpError::Request(_))), "{path:?}");
        }
        let fields = &[("A", "b\r\nC: d")];
        assert!(matches!(send(&mut out, &Request { fields, ..request }), Err(HttpError::Request(_))));
    }
}
