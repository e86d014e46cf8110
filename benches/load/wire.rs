//! The part of HTTP/1.1 that both ends of the measurement use: keep-alive and `content-length`.

use std::io;

use tokio::net::TcpStream;

const CHUNK: usize = 16 * 1024;

/// One connection, either end.
pub(crate) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A request or a response.
pub(crate) struct Message {
    /// `HTTP/1.1 200 OK` or `POST /path HTTP/1.1`.
    pub(crate) first_line: String,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(CHUNK) })
    }

    pub(crate) async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `None` when the other end has closed the connection.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some((first_line, head, whole)) = frame(&self.read)
                && self.read.len() >= whole
            {
                let body = self.read[head..whole].to_vec();
                self.read.drain(..whole);
                return Ok(Some(Message { first_line, body }));
            }
            let had = self.read.len();
            self.read.resize(had + CHUNK, 0);
            let outcome = self.stream.try_read(&mut self.read[had..]);
            self.read.truncate(had + outcome.as_ref().copied().unwrap_or_default());
            match outcome {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.readable().await?,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The first line, where the body begins, and where it ends; `None` while the head is incomplete.
fn frame(bytes: &[u8]) -> Option<(String, usize, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let first_line = lines.next().unwrap_or_default().to_owned();
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    Some((first_line, end + 4, end + 4 + length.unwrap_or(0)))
}
