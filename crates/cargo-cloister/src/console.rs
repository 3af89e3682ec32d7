//! Prints to stdout line by line, each line with the name of its node.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Reset};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How many lines of nodes may wait for a slow terminal before the nodes have to wait too.
const WAITING_LINES: usize = 256;

/// How long the last lines may take to be printed.
const LAST_LINES: Duration = Duration::from_secs(5);

/// The name of the tool in its own lines.
const TOOL: &str = "cloister";

/// The colours of the nodes, in turn: they can be read on a dark and on a light ground.
const COLOURS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// The number of a node on this machine, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeNumber(pub(crate) usize);

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("node-{}", self.0))
    }
}

/// How a line looks: `node-2 | text`, in the colour of the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    coloured: bool,
    width: usize,
}

impl Style {
    /// Prefixes wide enough for this many nodes.
    pub(crate) fn new(coloured: bool, nodes: usize) -> Self {
        Self { coloured, width: NodeNumber(nodes).to_string().len().max(TOOL.len()) }
    }

    fn node(&self, number: NodeNumber, text: &str) -> String {
        let colour = COLOURS[number.0.saturating_sub(1) % COLOURS.len()];
        self.line(&number.to_string(), colour.on_default(), text)
    }

    fn tool(&self, text: &str) -> String {
        self.line(TOOL, anstyle::Style::new().bold(), text)
    }

    fn line(&self, speaker: &str, style: anstyle::Style, text: &str) -> String {
        let width = self.width;
        if self.coloured {
            // The first reset ends a colour that the previous line left on.
            format!("{Reset}{style}{speaker:<width$} |{Reset} {text}\n")
        } else {
            format!("{speaker:<width$} | {text}\n")
        }
    }
}

/// The output of the nodes and of the tool. Cheap to clone; a line never splits another.
#[derive(Clone)]
pub(crate) struct Console {
    style: Style,
    lines: mpsc::UnboundedSender<Waiting>,
    /// For the lines of nodes. The tool itself prints few lines, and waits for none: it has nodes to stop.
    room: Arc<Semaphore>,
}

/// Lines that are to be printed, and the place that they take.
type Waiting = (String, Option<OwnedSemaphorePermit>);

impl Console {
    /// Starts to print to stdout, from a thread of its own: a terminal that is held must not keep the tool
    /// from hearing signals.
    pub(crate) fn start(style: Style) -> (Self, Printer) {
        let (lines, waiting) = mpsc::unbounded_channel();
        let (end, done) = oneshot::channel();
        std::thread::spawn(move || {
            // An error means that stdout has no reader any more; the closed channel tells `gone`.
            let _ = print(waiting, io::stdout());
            let _ = end.send(());
        });
        (Self::new(style, lines, WAITING_LINES), Printer { done })
    }

    fn new(style: Style, lines: mpsc::UnboundedSender<Waiting>, room: usize) -> Self {
        Self { style, lines, room: Arc::new(Semaphore::new(room)) }
    }

    /// A line of a node. Waits while stdout is slow, until [`keep_all`](Self::keep_all). Drops the line when stdout has no reader any more.
    pub(crate) async fn node(&self, number: NodeNumber, text: &str) {
        let place = Arc::clone(&self.room).acquire_owned().await.ok();
        let _ = self.lines.send((self.style.node(number, text), place));
    }

    /// From now on no node waits for a slow terminal: one that waits does not hear that it is to stop.
    pub(crate) fn keep_all(&self) {
        self.room.close();
    }

    /// A line of the tool itself.
    pub(crate) fn say(&self, text: &str) {
        self.raw(self.style.tool(text));
    }

    /// Whole lines, as they are.
    pub(crate) fn raw(&self, lines: String) {
        let _ = self.lines.send((lines, None));
    }

    /// Waits until stdout has no reader any more, as after `| head`.
    pub(crate) async fn gone(&self) {
        self.lines.closed().await;
    }
}

/// Prints lines until all consoles are gone; flushes when no further line waits.
fn print(mut waiting: mpsc::UnboundedReceiver<Waiting>, output: impl Write) -> io::Result<()> {
    let mut output = io::BufWriter::new(output);
    while let Some((line, _place)) = waiting.blocking_recv() {
        output.write_all(line.as_bytes())?;
        while let Ok((line, _place)) = waiting.try_recv() {
            output.write_all(line.as_bytes())?;
        }
        output.flush()?;
    }
    Ok(())
}

/// The printing thread.
pub(crate) struct Printer {
    done: oneshot::Receiver<()>,
}

impl Printer {
    /// Waits until every line is printed, 5 s at most. All other consoles must be gone by then.
    pub(crate) async fn finish(self, console: Console) {
        drop(console);
        let _ = tokio::time::timeout(LAST_LINES, self.done).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output that a test can look at after the printer is done with it.
    #[derive(Clone, Default)]
    struct Sheet(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Sheet {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_without_colour_is_plain_text() {
        let style = Style::new(false, 3);
        assert_eq!(style.node(NodeNumber(1), "hello"), "node-1   | hello\n");
        assert_eq!(style.tool("hello"), "cloister | hello\n");
        assert_eq!(Style::new(false, 200).node(NodeNumber(200), ""), "node-200 | \n");
    }

    #[test]
    fn neighbours_have_different_colours_and_the_text_has_none() {
        let style = Style::new(true, 30);
        let lines: Vec<_> = (1..=30).map(|n| style.node(NodeNumber(n), "text")).collect();
        for pair in lines.windows(2) {
            assert_ne!(pair[0].split("node").next(), pair[1].split("node").next());
        }
        assert!(lines.iter().all(|line| line.ends_with("|\x1b[0m text\n")), "{lines:?}");
    }

    #[tokio::test]
    async fn lines_of_many_speakers_are_never_split() {
        let sheet = Sheet::default();
        let (lines, waiting) = mpsc::unbounded_channel();
        let output = sheet.clone();
        let printer = std::thread::spawn(move || print(waiting, output));
        let console = Console::new(Style::new(false, 8), lines, 4);
        let speakers: Vec<_> = (1..=8)
            .map(|n| {
                let console = console.clone();
                tokio::spawn(async move {
                    for round in 0..100 {
                        console.node(NodeNumber(n), &format!("round {round} of {n}")).await;
                    }
                })
            })
            .collect();
        for speaker in speakers {
            speaker.await.unwrap();
        }
        drop(console);
        printer.join().unwrap().unwrap();

        let printed = String::from_utf8(sheet.0.lock().unwrap().clone()).unwrap();
        for n in 1..=8 {
            let own: Vec<_> =
                printed.lines().filter(|line| line.starts_with(&format!("node-{n} "))).collect();
            let said: Vec<_> = (0..100).map(|round| format!("node-{n}   | round {round} of {n}")).collect();
            assert_eq!(own, said);
        }
        assert_eq!(printed.lines().count(), 800);
    }
}
