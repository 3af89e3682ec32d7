//! Reads lines of bounded length from a pipe, with any bytes.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The longest line that is passed on, in bytes; what exceeds it is left out, and the line says how much.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// The lines of a program's output.
///
/// A line ends at `\n` (a `\r` before it goes too) or where the output ends. At most [`MAX_LINE`] bytes of it
/// are kept, so a program that never ends its line costs no memory. Bytes that are not UTF-8 become `�`.
pub(crate) struct Lines<R> {
    input: R,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The lines of `input`.
    pub(crate) fn new(input: R) -> Self {
        Self { input }
    }

    /// The next line; `None` at the end of the output. Not cancel-safe: a dropped future loses the line that it was reading.
    pub(crate) async fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut left_out = 0;
        let mut any = false;
        loop {
            let chunk = self.input.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(any.then(|| text(line, left_out)));
            }
            any = true;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let piece = &chunk[..end.unwrap_or(chunk.len())];
            let kept = piece.len().min(MAX_LINE - line.len());
            line.extend_from_slice(&piece[..kept]);
            left_out += piece.len() - kept;
            let used = end.map_or(chunk.len(), |end| end + 1);
            self.input.consume(used);
            if end.is_some() {
                return Ok(Some(text(line, left_out)));
            }
        }
    }
}

fn text(mut line: Vec<u8>, left_out: usize) -> String {
    if left_out == 0 && line.last() == Some(&b'\r') {
        line.pop();
    }
    let mut text = String::from_utf8_lossy(&line).into_owned();
    if left_out > 0 {
        text += &format!(" … ({left_out} bytes left out)");
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, BufReader};

    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn each_line_comes_alone_and_the_last_needs_no_newline() {
        assert_eq!(lines(b"one\r\n\ntwo\nthree").await, ["one", "", "two", "three"]);
        assert!(lines(b"").await.is_empty());
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(lines(b"a\xffb\n\xc3\xa4\n").await, ["a\u{fffd}b", "ä"]);
    }

    #[tokio::test]
    async fn a_line_that_arrives_in_pieces_is_put_together() {
        let (mut program, pipe) = tokio::io::duplex(4);
        let written = tokio::spawn(async move {
            program.write_all(b"a line that is longer than the pipe\nand the next\n").await.unwrap();
        });
        let mut lines = Lines::new(BufReader::new(pipe));
        assert_eq!(lines.next().await.unwrap().unwrap(), "a line that is longer than the pipe");
        assert_eq!(lines.next().await.unwrap().unwrap(), "and the next");
        assert!(lines.next().await.unwrap().is_none());
        written.await.unwrap();
    }

    #[tokio::test]
    async fn an_endless_line_is_cut_and_says_so() {
        let mut bytes = vec![b'x'; MAX_LINE + 1_000];
        bytes.extend_from_slice(b"\nshort\n");
        let lines = lines(&bytes).await;
        assert_eq!(lines[0], format!("{} … (1000 bytes left out)", "x".repeat(MAX_LINE)));
        assert_eq!(lines[1], "short");
    }
}
