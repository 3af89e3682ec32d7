//! A headless Chromium that shows a page.
//!
//! It is spoken to over two pipes, in the DevTools protocol: one JSON object, then a zero byte. A client library for that protocol
//! compiles for longer than this test runs, and six commands are needed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{WAIT_TIMEOUT, eventually};

/// A browser with one page. It is killed when this is dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Value>,
    /// What came that answers no command: the events of the page.
    events: Vec<Value>,
    /// Answers that were not waited for yet.
    early: Vec<Value>,
    sent: u64,
    session: Option<String>,
    _profile: tempfile::TempDir,
}

/// An expression that the page evaluates; see [`Browser::begin`].
#[derive(Debug)]
#[must_use]
pub struct Pending(u64);

impl Browser {
    /// Starts the browser with an empty page. Panics when there is none.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory for the browser");
        // The protocol is spoken on the descriptors 3 and 4. A sandbox of its own does not work for root.
        let script = "exec \"${CLOISTER_TEST_BROWSER:-chromium}\" --headless --no-sandbox --disable-gpu --hide-scrollbars \
                      --disable-dev-shm-usage --no-first-run --no-proxy-server --disable-background-networking \
                      --remote-debugging-pipe --user-data-dir=\"$0\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("it is piped");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while output.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
                bytes.pop();
                let Ok(message) = serde_json::from_slice(&bytes) else { break };
                if sender.send(message).is_err() {
                    break;
                }
                bytes.clear();
            }
        });
        let mut browser = Self {
            child,
            commands,
            answers,
            events: Vec::new(),
            early: Vec::new(),
            sent: 0,
            session: None,
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attached =
            browser.ask("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.ask(domain, json!({}));
        }
        browser
    }

    /// Shows the page at this address.
    pub fn open(&mut self, url: &str) {
        let answer = self.ask("Page.navigate", json!({ "url": url }));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
    }

    /// Sets the size of the window, and whether the user prefers dark pages.
    pub fn appear(&mut self, width: u32, height: u32, dark: bool) {
        let mobile = width < 600;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.ask("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// The value of an expression in the page; a promise is waited for.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let pending = self.begin(expression);
        self.end(pending)
    }

    /// Has the page evaluate an expression, without waiting for the value.
    pub fn begin(&mut self, expression: &str) -> Pending {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        Pending(self.send("Runtime.evaluate", parameters))
    }

    /// The value of what was begun.
    pub fn end(&mut self, pending: Pending) -> Value {
        let answer = self.answer(pending.0);
        assert_eq!(answer["exceptionDetails"], Value::Null, "the page threw");
        answer["result"]["value"].clone()
    }

    /// Waits until a condition in the page holds; panics with the text of the page after [`WAIT_TIMEOUT`].
    #[track_caller]
    pub fn until(&mut self, condition: &str) {
        eventually(condition, || match self.evaluate(condition) == Value::Bool(true) {
            true => Ok(()),
            false => Err(self.evaluate("document.body.innerText")),
        });
    }

    /// The whole page as a PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer =
            self.ask("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
        STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    /// The events of the page so far that have this name, such as `Runtime.exceptionThrown`.
    pub fn events(&mut self, method: &str) -> Vec<Value> {
        // What was sent before the answer to a command has come with it.
        self.evaluate("0");
        self.events.iter().filter(|event| event["method"] == method).cloned().collect()
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.send(method, parameters);
        self.answer(id)
    }

    fn send(&mut self, method: &str, parameters: Value) -> u64 {
        self.sent += 1;
        let mut command = json!({"id": self.sent, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = session.clone().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser runs; `apt-get install chromium` installs it");
        self.sent
    }

    fn answer(&mut self, id: u64) -> Value {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        let message = loop {
            if let Some(at) = self.early.iter().position(|message| message["id"] == id) {
                break self.early.swap_remove(at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.answers.recv_timeout(left).expect("the browser answers");
            let is_event = message["id"].is_null();
            if is_event { &mut self.events } else { &mut self.early }.push(message);
        };
        assert_eq!(message["error"], Value::Null);
        message["result"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
