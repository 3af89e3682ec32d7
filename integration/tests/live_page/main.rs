//! The live page of a node, in a real browser beside a real cluster.
//!
//! A browser is needed, so these tests run only where `CLOISTER_TEST_REQUIRE` lists `browser`. With
//! `CLOISTER_TEST_PICTURES=DIRECTORY` the pictures of README and guide are written there.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cloister_integration::{
    Block, Browser, Budget, Node, Plan, agree, eventually, report, required, start_all,
};
use cloister_json::{Tables, Whois};

/// How long a change may take until the page shows it, in milliseconds.
const SHOWN: u64 = 1000;

/// What the page shows of nodes and changes.
const MEMBERS: &str = "[...document.querySelectorAll('#members tr')].filter(row => row.cells[1].textContent.startsWith('member')).length";

/// The page of the first node of a cluster of three, of which two are in a named ring; and how the nodes are configured.
fn page() -> (Vec<Plan>, Vec<Node>, Browser) {
    let plans: Vec<Plan> = Plan::list(&Block::new(3).ips())
        .into_iter()
        .enumerate()
        .map(|(at, plan)| match at {
            0 | 1 => plan.set("TAGS", "web").set("RINGS__SESSIONS__TAGS", "web"),
            _ => plan.set("RINGS__SESSIONS__TAGS", "web"),
        })
        .collect();
    let nodes = start_all(&plans);
    agree(&nodes);
    let mut browser = Browser::start();
    browser.appear(1200, 860, false);
    browser.open(&format!("http://{}/", nodes[0].admin()));
    browser.until(&format!("{MEMBERS} === 3"));
    (plans, nodes, browser)
}

/// The wall clock in milliseconds, as the page reads it.
fn wall_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set");
    u64::try_from(now.as_millis()).expect("it fits")
}

/// An expression that is the wall clock in milliseconds when the page shows what is told.
fn when(condition: &str) -> String {
    format!(
        "new Promise(done => {{ const look = () => ({condition}) ? done(Date.now()) : setTimeout(look, 10); look(); }})"
    )
}

/// A line under "Changes" with this text.
fn line(text: &str) -> String {
    format!("[...document.querySelectorAll('#changes li')].some(line => line.textContent.includes({text:?}))")
}

fn picture(browser: &mut Browser, name: &str) {
    let png = browser.screenshot();
    assert!(png.len() > 10_000, "an empty picture");
    let Some(directory) = std::env::var_os("CLOISTER_TEST_PICTURES") else { return };
    let path = PathBuf::from(directory).join(name);
    std::fs::write(&path, png).expect("the picture is written");
    report(&format!("written: {}", path.display()));
}

#[test]
fn the_page_shows_members_shares_links_and_the_owner_of_a_key() {
    if !required("browser", "the live page") {
        return;
    }
    let (_, nodes, mut browser) = page();
    let first = nodes[0].name();

    assert_eq!(browser.evaluate("document.getElementById('node').textContent"), first);
    assert_eq!(browser.evaluate("document.getElementById('status').textContent"), "up");
    assert_eq!(browser.evaluate("document.querySelectorAll('#ring path.arc').length"), 3);
    // Two links of its own, and the one that both others report.
    browser.until("document.querySelectorAll('#ring .chord.linked').length === 2");
    browser.until("document.querySelectorAll('#ring .chord.reported').length === 1");
    let slots = browser.evaluate(
        "[...document.querySelectorAll('#members tr')].reduce((sum, row) => sum + Number(row.cells[2].textContent), 0)",
    );
    assert_eq!(slots, 16_384);
    assert_eq!(browser.evaluate("document.querySelector('#missing').textContent"), "nothing");

    // The sentry is marked, in the list and in the picture.
    let sentry = nodes[0].members().sentry.expect("there is a sentry");
    let marked = "[...document.querySelectorAll('#members tr')].filter(row => row.textContent.includes('★')).map(row => row.dataset.node).join()";
    assert_eq!(browser.evaluate(marked), sentry);
    let stars = "[...document.querySelectorAll('#ring text')].filter(text => text.textContent.startsWith('★')).length";
    assert_eq!(browser.evaluate(stars), 1);

    // Where a key lives, in the ring over all and in a named one.
    for (ring, query) in [("", ""), ("sessions", "?ring=sessions")] {
        let whois: Whois = nodes[0].get(&format!("/whois/user:42{query}")).json();
        browser.evaluate(&format!(
            "{{ const choice = document.getElementById('ring-select'); choice.value = {ring:?}; \
             document.getElementById('key').value = 'user:42'; choice.dispatchEvent(new Event('change')); }}"
        ));
        let owner = whois.owner.expect("it has an owner");
        browser.until(&format!("document.getElementById('owner').textContent.startsWith({owner:?})"));
    }
    assert_eq!(
        browser.evaluate("document.querySelectorAll('#ring path.arc').length"),
        2,
        "of the named ring"
    );
    browser.evaluate("{ const choice = document.getElementById('ring-select'); choice.value = ''; choice.dispatchEvent(new Event('change')); }");

    // What a screen reader is told of the picture.
    let label = browser.evaluate("document.getElementById('ring').getAttribute('aria-label')");
    let label = label.as_str().expect("it has a label");
    assert!(label.starts_with("shares of the ring: ") && label.contains("; links: "), "{label}");

    picture(&mut browser, "live-light.png");
    browser.appear(1200, 860, true);
    picture(&mut browser, "live-dark.png");
    browser.appear(390, 1180, false);
    browser.evaluate("draw()");
    let too_wide =
        browser.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth");
    assert_eq!(too_wide, false, "the page must not scroll sideways on a phone");
    picture(&mut browser, "live-phone.png");

    check_quiet(&mut browser, &nodes[0]);
}

#[test]
fn the_page_shows_how_the_tables_of_the_node_stand() {
    if !required("browser", "the tables on the live page") {
        return;
    }
    let rows = 300;
    let plans: Vec<Plan> = Plan::list(&Block::new(3).ips())
        .into_iter()
        .enumerate()
        .map(|(at, plan)| plan.variable("NODE_ROWS", if at == 0 { rows } else { 0 }))
        .collect();
    let nodes = start_all(&plans);
    agree(&nodes);
    let of_all = || -> u64 {
        let tables = nodes.iter().map(|node| node.get("/tables").json::<Tables>());
        tables.map(|tables| tables.tables.iter().map(|table| table.rows).sum::<u64>()).sum()
    };
    eventually("all rows have two copies", || match of_all() {
        all if all == 2 * rows => Ok(()),
        all => Err(all),
    });
    let tables = nodes[0].get("/tables").json::<Tables>().tables;
    let names: Vec<(&str, &str, u64)> =
        tables.iter().map(|table| (table.name.as_str(), table.kind.as_str(), table.copies)).collect();
    assert_eq!(names, [("tally", "entity", 2), ("kept", "table", 3), ("visits", "table", 2)]);
    let table = &tables[2];
    assert_eq!((table.under_replicated, table.moving, table.lost), (0, 0, 0));
    assert!(table.bytes > 10 * table.rows, "{table:?}");

    let mut browser = Browser::start();
    browser.appear(1200, 860, false);
    browser.open(&format!("http://{}/", nodes[0].admin()));
    browser.until("document.getElementById('tables')?.hidden === false");
    let row = "document.querySelector('#table-rows tr[data-table=visits]').innerText.replace(/\\s+/g, ' ')";
    let row = browser.evaluate(row);
    let row = row.as_str().expect("a row");
    assert!(row.starts_with(&format!("visits table 2 {} ", table.rows)), "{row}");
    assert!(row.trim_end().ends_with("all have their copies"), "{row}");
    picture(&mut browser, "live-tables.png");
    check_quiet(&mut browser, &nodes[0]);
}

/// The chord of the link between the page's own node and another.
fn chord(node: &str) -> String {
    format!("document.querySelector('#ring .chord[data-link$=\" {node}\"]')")
}

/// The page threw nothing, violated no policy, and asked its own node only.
fn check_quiet(browser: &mut Browser, node: &Node) {
    assert_eq!(browser.events("Runtime.exceptionThrown"), Vec::<serde_json::Value>::new());
    let home = format!("http://{}/", node.admin());
    let requests = browser.events("Network.requestWillBeSent");
    assert!(requests.len() > 3);
    for request in requests {
        let url = request["params"]["request"]["url"].as_str().unwrap_or_default();
        assert!(url.starts_with(&home) || url.starts_with("data:"), "{url}");
    }
    for entry in browser.events("Log.entryAdded") {
        let entry = &entry["params"]["entry"];
        assert_ne!(entry["source"], "security", "{entry}");
    }
}

#[test]
fn the_page_shows_a_kill_a_freeze_and_a_heal_and_says_when_it_has_lost_contact() {
    if !required("browser", "the live page under faults") {
        return;
    }
    let (plans, mut nodes, mut browser) = page();
    let shows = |browser: &mut Browser, pending, what: &str, since: u64, bar: u64| {
        let at = browser.end(pending).as_u64().expect("a time");
        Budget::millis(bar).meet(what, Duration::from_millis(at.saturating_sub(since)));
    };

    // A kill.
    let killed = nodes[2].name().to_owned();
    let pending = browser.begin(&when(&format!(
        "{MEMBERS} === 2 && {}",
        line(&format!("down: {killed}: its process has ended"))
    )));
    let at = wall_clock();
    nodes[2].kill();
    shows(&mut browser, pending, "the live page shows a kill", at, SHOWN);
    browser.until("document.querySelectorAll('#ring path.arc').length === 2");
    // A screen reader is told, and the link is drawn as one that is refused.
    browser.until("document.getElementById('spoken').textContent.includes('its process has ended')");
    browser.until(&format!("{}.classList.contains('refused')", chord(&killed)));
    picture(&mut browser, "live-one-missing.png");

    // It is back.
    nodes[2] = Node::start(&plans[2]);
    browser.until(&format!("{MEMBERS} === 3 && {}", line(&format!("up: {killed}"))));

    // A freeze: seen after the detection time of 3 s, then shown.
    let paused = nodes[1].name().to_owned();
    let pending = browser.begin(&when(&line(&format!("down: {paused}: no heartbeat"))));
    let at = wall_clock();
    nodes[1].signal("STOP");
    shows(&mut browser, pending, "the live page shows a freeze", at, 3000 + SHOWN);
    browser.until("[...document.querySelectorAll('#missing li')].length > 0");
    browser.until(&format!("!{}.classList.contains('linked')", chord(&paused)));

    // A heal.
    let pending = browser.begin(&when(&format!("{MEMBERS} === 3 && {}", line(&format!("up: {paused}")))));
    let at = wall_clock();
    nodes[1].signal("CONT");
    shows(&mut browser, pending, "the live page shows a heal", at, 3000 + SHOWN);

    // Its own node hangs, and comes back.
    nodes[0].signal("STOP");
    browser.until("document.getElementById('status').textContent === 'contact lost'");
    browser.until("!document.getElementById('contact').hidden");
    nodes[0].signal("CONT");
    browser.until("document.getElementById('status').textContent === 'up'");
    browser.until("document.getElementById('contact').hidden");

    // Its own node is replaced by another process.
    nodes[0].kill();
    browser.until("document.getElementById('status').textContent === 'contact lost'");
    nodes[0] = Node::start(&plans[0]);
    browser.until(&format!("document.getElementById('status').textContent === 'up' && {MEMBERS} === 3"));
    browser.until(&line("this node was restarted"));
    check_quiet(&mut browser, &nodes[0]);
}

/// A proxy before the node, or an admin server without room, answers with a line of text.
#[test]
fn the_page_goes_on_after_an_answer_that_is_not_of_a_node() {
    if !required("browser", "the live page and a wrong answer") {
        return;
    }
    let (_, nodes, mut browser) = page();
    browser.evaluate(
        "{ const real = window.fetch; window.asked = 0; window.wrong = true; \
           window.fetch = (path, options) => { if (path === 'members') window.asked += 1; \
             return path === 'members' && window.wrong ? Promise.resolve(new Response('no room', { status: 503 })) : real(path, options); }; }",
    );
    browser.until("document.getElementById('contact').innerText.startsWith('Contact lost')");
    let asked = browser.evaluate("window.asked").as_u64().expect("a number");
    browser.until(&format!("window.asked > {asked}"));
    assert_eq!(browser.evaluate("document.getElementById('status').textContent"), "contact lost");
    browser.evaluate("{ window.wrong = false; }");
    browser.until("document.getElementById('contact').hidden");
    browser.until("document.getElementById('status').textContent === 'up'");
    check_quiet(&mut browser, &nodes[0]);
}

#[test]
fn a_refresh_changes_what_differs_and_a_crowd_has_no_links_of_others() {
    if !required("browser", "what the live page draws anew") {
        return;
    }
    let (plans, mut nodes, mut browser) = page();
    // The tags of a node stay the same; when it was heard last does not.
    let same = "(() => { const rows = () => [...document.querySelectorAll('#members tr')]; const before = rows(); \
                const tags = before.map(row => row.cells[6]); draw(); \
                return rows().length === before.length && rows().every((row, at) => row === before[at] && row.cells[6] === tags[at]); })()";
    assert_eq!(browser.evaluate(same), true);
    // Rows still come and go, in the order of the nodes.
    let names = "[...document.querySelectorAll('#members tr')].map(row => row.dataset.node).join() === nodes().map(node => node.name).join()";
    nodes[1].kill();
    browser.until(&format!("{MEMBERS} === 2 && {names}"));
    nodes[1] = Node::start(&plans[1]);
    browser.until(&format!("{MEMBERS} === 3 && {names}"));

    let crowd = "(() => { const there = members; const made = Array.from({ length: 20 }, (_, n) => 'it@10.0.0.' + n + ':4370'); \
                 members = { ...there, members: [...there.members, ...made.map(name => ({ ...there.members[1], name }))], \
                   peers: [...there.peers, ...made.map(name => ({ ...there.peers[1], name, state: 'linked', reaches: made }))] }; \
                 draw(); const drawn = ['.chord.reported', '.chord'].map(kind => document.querySelectorAll('#ring ' + kind).length); \
                 members = there; draw(); return drawn; })()";
    let drawn = browser.evaluate(crowd);
    assert_eq!(drawn[0], 0, "{drawn}");
    assert!(drawn[1].as_u64() >= Some(20), "its own links are drawn: {drawn}");
    browser.until("document.querySelectorAll('#ring .chord.reported').length === 1");
    check_quiet(&mut browser, &nodes[0]);
}
