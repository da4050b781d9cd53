//! Reads standard input line by line on its own thread: reading from a terminal cannot be cancelled, and a process can
//! exit without waiting for a thread.

use std::{
    io::{self, BufRead, BufReader, Read},
    thread,
};

use tokio::sync::mpsc;

use super::client::ClientInput;

/// Maximum bytes of a line.
const LINE_BYTES: u64 = 1 << 20;

/// Starts reading `source` into `lines`. The reader blocks while the channel is full.
pub(super) fn spawn(source: impl Read + Send + 'static, lines: mpsc::Sender<ClientInput>) {
    let read = move || {
        let mut source = BufReader::new(source);
        // A read error counts as the end of the input.
        while let Ok(Some(input)) = next(&mut source) {
            if lines.blocking_send(input).is_err() {
                return;
            }
        }
        let _ = lines.blocking_send(ClientInput::End);
    };
    // If the thread cannot be started, its sender is dropped and the client observes the end of the input.
    let _ = thread::Builder::new().name("stdin".to_owned()).spawn(read);
}

fn next(source: &mut impl BufRead) -> io::Result<Option<ClientInput>> {
    let mut line = Vec::new();
    if source.take(LINE_BYTES + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let ended = line.pop_if(|last| *last == b'\n').is_some();
    if !ended && line.len() as u64 > LINE_BYTES {
        source.skip_until(b'\n')?;
        return Ok(Some(ClientInput::Unreadable("not sent: the line is longer than 1 MiB")));
    }
    Ok(Some(String::from_utf8(line).map_or(
        ClientInput::Unreadable("not sent: the line is not UTF-8"),
        ClientInput::Line,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut source: &[u8]) -> Vec<ClientInput> {
        std::iter::from_fn(|| next(&mut source).unwrap()).collect()
    }

    #[test]
    fn lines_come_without_line_breaks() {
        assert_eq!(
            all(b"a\n\nb"),
            ["a", "", "b"].map(|line| ClientInput::Line(line.to_owned()))
        );
        assert_eq!(all(b""), []);
    }

    #[test]
    fn unreadable_lines_are_reported_and_skipped() {
        let limit = usize::try_from(LINE_BYTES).unwrap();
        let mut source = vec![b'a'; limit];
        source.extend(b"\n\xff\n");
        source.extend(vec![b'b'; 3 * limit]);
        source.extend(b"\nend\n");
        let inputs = all(&source);
        assert!(matches!(&inputs[0], ClientInput::Line(line) if line.len() == limit));
        assert!(matches!(inputs[1], ClientInput::Unreadable(why) if why.contains("UTF-8")));
        assert!(matches!(inputs[2], ClientInput::Unreadable(why) if why.contains("1 MiB")));
        assert_eq!(inputs[3..], [ClientInput::Line("end".to_owned())]);
    }
}
