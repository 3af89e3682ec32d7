//! `cargo cloister doctor`: what would a node meet that starts here?
//!
//! It reads the configuration as a node does, and asks what a node would ask: the name servers, the system, the ports of the others. What
//! the others say of themselves comes from their admin servers, and whether they would link with a node here from the nodes' own
//! handshake. It takes no part in the cluster.

mod machine;
mod peers;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use cloister_config::{CertificateWarning, CheckedConfig, Config, ConfigSources, Warning};
use cloister_discovery::self_address::{Inputs, Settings, decide, inputs, own_entries};
use cloister_discovery::{Identity, Records, Resolver, SeedKind, Seeds};
use cloister_net::peer_check::PeerCheck;
use thiserror::Error;

use crate::colour::{Colour, Mood};
use crate::table::printable;

/// Check what a node would meet that starts here; exit with 0 if it is fine, with 1 if there are problems.
///
/// Reads the configuration as the node does: CLOISTER__… and cloister.toml in the current directory. Prints one line for
/// each check, with the remedy if it fails. `warn` is no problem yet, and `skip` says why something could not be checked.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The file name of the program; by default the name of the package in the current directory. It is the
    /// name of the application where none is configured.
    #[arg(long, value_name = "NAME")]
    program: Option<OsString>,

    #[command(flatten)]
    colour: Colour,
}

/// The lines cannot be printed.
#[derive(Debug, Error)]
#[error("cannot write to stdout")]
pub(crate) struct DoctorError(#[from] io::Error);

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckResult {
    Fine,
    Skipped,
    Doubtful,
    Problem,
}

/// Prints the checks as they come, and counts.
struct Checks {
    coloured: bool,
    problems: usize,
    warnings: usize,
}

impl Checks {
    fn line(&mut self, verdict: CheckResult, topic: &str, text: &str) -> io::Result<()> {
        let (word, mood) = match verdict {
            CheckResult::Fine => ("ok", Mood::Good),
            CheckResult::Skipped => ("skip", Mood::Plain),
            CheckResult::Doubtful => ("warn", Mood::Doubtful),
            CheckResult::Problem => ("FAIL", Mood::Bad),
        };
        self.problems += usize::from(verdict == CheckResult::Problem);
        self.warnings += usize::from(verdict == CheckResult::Doubtful);
        let word = mood.paint(&format!("{word:<4}"), self.coloured);
        writeln!(io::stdout(), "{word}  {topic:<13}  {}", printable(text))
    }

    /// The last line.
    fn sum(&self) -> io::Result<()> {
        let number = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (problems, warnings) = (number(self.problems, "problem"), number(self.warnings, "warning"));
        writeln!(io::stdout(), "{problems}, {warnings}")
    }

    fn ok(&mut self, topic: &str, text: &str) -> io::Result<()> {
        self.line(CheckResult::Fine, topic, text)
    }

    fn skip(&mut self, topic: &str, text: &str) -> io::Result<()> {
        self.line(CheckResult::Skipped, topic, text)
    }

    fn warn(&mut self, topic: &str, text: &str) -> io::Result<()> {
        self.line(CheckResult::Doubtful, topic, text)
    }

    fn fail(&mut self, topic: &str, text: &str) -> io::Result<()> {
        self.line(CheckResult::Problem, topic, text)
    }
}

/// Checks everything.
pub(crate) async fn doctor(options: Options) -> Result<ExitCode, DoctorError> {
    let mut checks = Checks { coloured: options.colour.is_wanted(), problems: 0, warnings: 0 };
    let printed = check(&options, &mut checks).await.and_then(|()| checks.sum());
    match printed {
        // As with `| head`: the exit status still says what was found.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(if checks.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(options: &Options, checks: &mut Checks) -> io::Result<()> {
    let program = options
        .program
        .clone()
        .or_else(|| crate::init::program_name(std::path::Path::new(".")).map(OsString::from));
    let sources = ConfigSources::from_process();
    let is_named = program.is_some();
    let sources = program.into_iter().fold(sources, ConfigSources::executable);
    let checked = match CheckedConfig::load_from(sources) {
        Ok(checked) => checked,
        Err(error) => {
            for problem in error.problems {
                checks.fail("configuration", &problem.to_string())?;
            }
            machine::descriptors(checks)?;
            return checks.skip("the rest", "it depends on the configuration");
        }
    };
    let name = &checked.config().name;
    if !is_named && name == env!("CARGO_PKG_NAME") {
        checks.warn(
            "configuration",
            &format!(
                "the application has no name, {}; run this in the package of the program, set `name`, or pass --program",
                place()
            ),
        )?;
    } else {
        checks.ok("configuration", &format!("application {name}, {}", place()))?;
    }
    for warning in checked.warnings() {
        // The certificate has a line of its own.
        if !matches!(warning, Warning::Certificate { .. }) {
            checks.warn("configuration", &warning.to_string())?;
        }
    }
    secrets(&checked, checks)?;
    machine::descriptors(checks)?;
    machine::clock(checks)?;
    let (config, seeds, tls) = checked.into_parts();
    let (identity, found) = discovery(&config, &seeds, checks).await?;
    machine::admin_port(&config, checks).await?;
    let own = match identity {
        Some(Identity::Standalone) => return Ok(()),
        Some(Identity::Network { host, port, bind }) => {
            machine::cluster_port(&config, bind, checks).await?;
            own(&host, port, &found)
        }
        _ => Vec::new(),
    };
    let cookie = match config.shared_secret() {
        Ok(secret) => secret.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
        // It was read a moment ago, with all else of the configuration.
        Err(error) => return checks.fail("cookie", &error.to_string()),
    };
    let check = PeerCheck::new(&config.name, &cookie, tls);
    peers::check(&config, &seeds, &found, &own, check, checks).await
}

/// Which file is read.
fn place() -> &'static str {
    if std::env::var_os("CLOISTER__CONFIG").is_some() {
        "from the file in CLOISTER__CONFIG and the environment"
    } else if std::path::Path::new("cloister.toml").exists() {
        "from cloister.toml here and the environment"
    } else {
        "from the environment: there is no cloister.toml here"
    }
}

/// The cookie, and the files of TLS.
fn secrets(checked: &CheckedConfig, checks: &mut Checks) -> io::Result<()> {
    let config = checked.config();
    let certificate = checked.warnings().iter().find_map(|warning| match warning {
        Warning::Certificate { problem, .. } => Some((warning, problem)),
        _ => None,
    });
    let expiry = |checks: &mut Checks| match certificate {
        Some((warning, CertificateWarning::ExpiresSoon(_))) => checks.warn("tls", &warning.to_string()),
        Some((warning, _)) => checks.fail("tls", &warning.to_string()),
        None => Ok(()),
    };
    let has_cookie = config.cookie.is_some() || config.cookie_file.is_some();
    match checked.clone().into_parts().2 {
        Some(tls) => {
            let until = i64::try_from(tls.age().not_after.as_secs()).unwrap_or(i64::MAX);
            let until = jiff::Timestamp::from_second(until).map_or_else(|_| "for ever".to_owned(), |t| t.to_string());
            if certificate.is_none() {
                checks.ok("tls", &format!("the three files fit together, the certificate is valid until {until}"))?;
            }
            expiry(checks)
        }
        None if has_cookie => {
            checks.ok("cookie", "there is one")?;
            checks.ok("tls", "not configured: what nodes say to each other is not encrypted")
        }
        None if config.seeds.is_empty() => Ok(()),
        None => checks.warn(
            "cookie",
            "neither `cookie` nor `tls`: any process that reaches the port and knows the name may join; set `cookie_file`",
        ),
    }
}

/// Looks the seeds up, and finds the own address. Returns it, and all addresses.
async fn discovery(
    config: &Config,
    seeds: &Seeds,
    checks: &mut Checks,
) -> io::Result<(Option<Identity>, Vec<SocketAddr>)> {
    let outcomes = seeds.lookup_each(&Resolver::system()).await;
    let mut found = Vec::new();
    for (seed, outcome) in seeds.iter().zip(&outcomes) {
        match outcome.as_ref().map(|result| &result.records) {
            Ok(Records::Addresses(addresses)) => {
                let shown: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
                // An address is what it says.
                let shown = shown.join(", ");
                let name = seed.to_string();
                checks.ok("seeds", &if name == shown { name } else { format!("{name} is {shown}") })?;
                found.extend_from_slice(addresses);
            }
            Ok(Records::Absent) => {
                let text = format!("{seed} does not exist in DNS: correct `seeds`, or create the service");
                checks.fail("seeds", &text)?;
            }
            Ok(_) => {
                let text = format!(
                    "{seed} exists and has no address: start a node behind it; in Kubernetes, set \
                     `publishNotReadyAddresses: true` on the headless service"
                );
                checks.fail("seeds", &text)?;
            }
            Err(error) => checks.fail("seeds", &error.to_string())?,
        }
    }
    found.sort();
    found.dedup();
    if seeds.is_empty() {
        checks.ok(
            "seeds",
            "none: a node of its own; set `seeds` to the name of a service or to a list for a cluster",
        )?;
    }
    let settings = Settings {
        naming: config.naming.into(),
        host: config.host.clone(),
        port: config.port,
        default_port: config.port_or_default(),
    };
    let inputs: Inputs = match inputs(settings, seeds.iter().cloned().zip(outcomes)) {
        Ok(inputs) => inputs,
        Err(error) => {
            checks.fail(
                "own address",
                &format!("cannot read this machine's interfaces: {error}; set `host`"),
            )?;
            return Ok((None, found));
        }
    };
    let identity = match decide(&inputs) {
        Ok(identity) => identity,
        Err(error) => {
            checks.fail("own address", &error.to_string())?;
            return Ok((None, found));
        }
    };
    match &identity {
        Identity::Network { host, port, .. } => {
            let own = SocketAddr::new(host.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()), *port);
            let shown = if own.ip().is_unspecified() { format!("{host}:{port}") } else { own.to_string() };
            match seeds.kind() {
                SeedKind::List(_) if own_entries(&inputs, &identity).unwrap_or(0) == 0 => {
                    let text = format!(
                        "{shown}, which is not in the list: right for a node that is added; else correct `seeds` or `host`"
                    );
                    checks.warn("own address", &text)?;
                }
                SeedKind::List(_) => checks.ok("own address", &format!("{shown}, which is in the list"))?,
                _ if found.contains(&own) => {
                    checks.ok("own address", &format!("{shown}, which the name of the service has"))?;
                }
                _ => {
                    let text = format!(
                        "{shown}, which the name of the service has not: the others find this node only when it connects \
                         to them; in Kubernetes, set `publishNotReadyAddresses: true` on the headless service"
                    );
                    checks.warn("own address", &text)?;
                }
            }
        }
        Identity::Pending { reason } => checks.fail("own address", &reason.to_string())?,
        _ => checks.ok("own address", "none is needed: no network")?,
    }
    Ok((Some(identity), found))
}

/// Those of the addresses that are this node's.
fn own(host: &str, port: u16, found: &[SocketAddr]) -> Vec<SocketAddr> {
    let ip: Option<std::net::IpAddr> = host.parse().ok();
    let machine = cloister_discovery::interfaces::addresses().unwrap_or_default();
    let is_own = |address: &&SocketAddr| {
        let is_here = || !address.ip().is_loopback() && machine.contains(&address.ip());
        address.port() == port && ip.map_or_else(is_here, |ip| ip == address.ip() || is_here())
    };
    found.iter().filter(is_own).copied().collect()
}
