//! One HTTP/1.1 connection that is kept: GET, with a token, and the body of the answer.
//!
//! Bodies with a length only, which is what servers of JSON send; anything else is told as a problem.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::report::Problem;

/// An answer that takes longer counts as none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Larger than any page.
const MAX_BODY: usize = 16 << 20;

/// A connection; a server that closes it after an answer is connected to anew.
pub struct Http {
    address: SocketAddrV4,
    stream: Option<BufReader<TcpStream>>,
    line: String,
    body: Vec<u8>,
}

impl Http {
    /// Nothing is connected before the first request.
    pub fn new(address: SocketAddrV4) -> Self {
        Self { address, stream: None, line: String::new(), body: Vec::new() }
    }

    /// Asks, and tells the status and the body.
    pub async fn get(&mut self, path: &str, token: &str) -> Result<(u16, &str), Problem> {
        let status = timeout(ANSWER_TIMEOUT, self.ask(path, token)).await.map_err(|_| "not answered in time".to_owned())??;
        let body = std::str::from_utf8(&self.body).map_err(|_| "an answer that is not UTF-8".to_owned())?;
        Ok((status, body))
    }

    async fn ask(&mut self, path: &str, token: &str) -> Result<u16, Problem> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.map_err(|e| format!("cannot write: {e}"))?;

        let (mut status, mut length, mut closes) = (None, None, false);
        loop {
            self.line.clear();
            let read = stream.read_line(&mut self.line).await.map_err(|e| format!("cannot read: {e}"))?;
            let line = self.line.trim_end();
            match (read, line, status) {
                (0, ..) => return Err("closed by the server before it answered".to_owned()),
                (_, "", Some(_)) => break,
                (_, _, None) => status = Some(status_of(line).ok_or_else(|| format!("no status: {line:?}"))?),
                (_, _, Some(_)) => {
                    let Some((name, value)) = line.split_once(':') else { continue };
                    if name.eq_ignore_ascii_case("content-length") {
                        length = value.trim().parse().ok();
                    } else if name.eq_ignore_ascii_case("connection") {
                        closes = value.trim().eq_ignore_ascii_case("close");
                    }
                }
            }
        }
        let length = length.filter(|length| *length <= MAX_BODY).ok_or("an answer without a length")?;
        self.body.resize(length, 0);
        stream.read_exact(&mut self.body).await.map_err(|e| format!("cannot read: {e}"))?;
        if !closes {
            self.stream = Some(stream);
        }
        Ok(status.unwrap_or_default())
    }
}

async fn connect(address: SocketAddrV4) -> Result<BufReader<TcpStream>, Problem> {
    let stream = TcpStream::connect(address).await.map_err(|e| format!("cannot connect to {address}: {e}"))?;
    stream.set_nodelay(true).map_err(|e| format!("cannot set TCP_NODELAY: {e}"))?;
    Ok(BufReader::with_capacity(64 * 1024, stream))
}

fn status_of(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits_after_the_version() {
        assert_eq!(status_of("HTTP/1.1 200 OK"), Some(200));
        assert_eq!(status_of("HTTP/1.1 404"), Some(404));
        assert_eq!(status_of("nonsense"), None);
    }
}
