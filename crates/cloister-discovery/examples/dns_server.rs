//! The misbehaving name server of the tests as a program of its own, steered by lines on its standard input.
//!
//! ```text
//! $ cargo run -p cloister-discovery --example dns_server -- 127.0.0.1:5353
//! ready 127.0.0.1:5353
//! app = 127.0.0.2 127.0.0.3        records, A or AAAA
//! app = third 127.0.0.2 127.0.0.3  a random third of them each time
//! app = late 500 127.0.0.2         after that many milliseconds
//! app = absent                     or: empty, servfail, refused, silent, garbage
//! _cloister._tcp.app = a:4370      SRV records
//! ttl 5                            seconds that each record promises
//! asked                            prints how many questions came in
//! ```
//!
//! Each line is answered with `ok`, or with `error` and why. It ends with its input. Without an argument it takes a free port.

use std::error::Error;
use std::io;

use cloister_testkit::dns_server::DnsServer;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = match std::env::args().nth(1) {
        Some(address) => runtime.block_on(DnsServer::start_at(address.parse()?))?,
        None => runtime.block_on(DnsServer::start()),
    };
    println!("ready {}", server.address());
    for line in io::stdin().lines() {
        match carry_out(&server, line?.trim()) {
            Ok(said) => println!("{said}"),
            Err(why) => println!("error {why}"),
        }
    }
    Ok(())
}

fn carry_out(server: &DnsServer, line: &str) -> Result<String, String> {
    match line.split_once(' ') {
        None if line == "asked" => return Ok(server.asked().len().to_string()),
        Some(("ttl", seconds)) => {
            server.set_ttl(seconds.parse().map_err(|_| format!("`{seconds}` is not a number of seconds"))?);
        }
        _ => server.command(line)?,
    }
    Ok("ok".to_owned())
}
