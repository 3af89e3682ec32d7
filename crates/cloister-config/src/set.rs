//! Sets one field of a configuration from a value of the right type.

use std::time::Duration;

use cloister_proto::name::MAX_APP_LEN;
use config::ValueKind;
use jiff::fmt::friendly::SpanParser;

use super::problem::ProblemKind;
use super::settings::Config;
use super::{choice, keys};

/// Sets `key` to `value`. An invalid value changes nothing.
pub(super) fn set(config: &mut Config, key: &str, value: &ValueKind) -> Result<(), ProblemKind> {
    match key {
        "name" => config.name = text(value)?,
        "seeds" => config.seeds = texts(value)?,
        "consensus" => config.consensus = Some(consensus(value)?),
        "host" => config.host = Some(text(value)?),
        "port" => config.port = Some(port(value)?),
        "naming" => config.naming = choice::naming(&text(value)?)?,
        "cookie" => config.cookie = Some(text(value)?.into()),
        "cookie_file" => config.cookie_file = Some(text(value)?.into()),
        "tls.cert" => config.tls.cert = Some(text(value)?.into()),
        "tls.key" => config.tls.key = Some(text(value)?.into()),
        "tls.ca" => config.tls.ca = Some(text(value)?.into()),
        "tls.server_name" => config.tls.server_name = Some(text(value)?),
        "tags" => config.tags = texts(value)?,
        "assembly_timeout" => config.assembly_timeout = Some(duration(value)?),
        "on_assembly_timeout" => config.on_assembly_timeout = choice::on_assembly_timeout(&text(value)?)?,
        "drain_delay" => config.drain_delay = duration(value)?,
        "drain_timeout" => config.drain_timeout = duration(value)?,
        "split" => config.split = choice::split(&text(value)?)?,
        "state_file" => config.state_file = Some(text(value)?.into()),
        "timing.heartbeat_every" => config.timing.heartbeat_every = duration(value)?,
        "timing.unreachable_after" => config.timing.unreachable_after = duration(value)?,
        "timing.lease" => config.timing.lease = duration(value)?,
        "timing.settle" => config.timing.settle = duration(value)?,
        "timing.rehash_timeout" => config.timing.rehash_timeout = duration(value)?,
        "timing.leave_timeout" => config.timing.leave_timeout = duration(value)?,
        "timing.trust_refusal" => config.trust_refusal = choice::trust_refusal(&text(value)?)?,
        "limits.link_bytes" => config.link_bytes = super::size::parse(&text(value)?)?,
        "limits.waiting_calls" => config.waiting_calls = waiting_calls(value)?,
        "limits.waiting_bytes" => config.waiting_bytes = super::size::parse(&text(value)?)?,
        "limits.table_bytes" => config.table_bytes = Some(super::size::parse(&text(value)?)?),
        "admin.listen" => {
            config.admin_listen = Some(text(value)?.parse().map_err(|_| ProblemKind::NotASocket)?);
        }
        "admin.hosts" => config.admin_hosts = texts(value)?,
        _ => {
            let name = keys::ring_name(key).ok_or(ProblemKind::UnknownKey { nearest: None })?;
            check_ring_name(name)?;
            config.rings.insert(name.to_owned(), texts(value)?);
        }
    }
    Ok(())
}

/// Checks the name of a ring, which must be part of a variable as well.
pub(super) fn check_ring_name(name: &str) -> Result<(), ProblemKind> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b));
    let fits = (1..=MAX_APP_LEN).contains(&name.len());
    if letters && fits { Ok(()) } else { Err(ProblemKind::NotARing(super::problem::shown(name))) }
}

fn text(value: &ValueKind) -> Result<String, ProblemKind> {
    match value {
        ValueKind::String(text) if text.is_empty() => Err(ProblemKind::Empty),
        ValueKind::String(text) => Ok(text.clone()),
        _ => Err(ProblemKind::WrongType { found: "something else", wanted: "a text" }),
    }
}

fn texts(value: &ValueKind) -> Result<Vec<String>, ProblemKind> {
    match value {
        ValueKind::Array(items) => items
            .iter()
            .map(|item| match &item.kind {
                ValueKind::String(text) => Ok(text.clone()),
                _ => Err(ProblemKind::WrongType { found: "something else", wanted: "a list of texts" }),
            })
            .collect(),
        _ => Ok(vec![text(value)?]),
    }
}

fn consensus(value: &ValueKind) -> Result<usize, ProblemKind> {
    match value {
        // Far more than any cluster has; `check` says that it is never reached.
        ValueKind::I128(nodes @ 1..) => Ok(usize::try_from(*nodes).unwrap_or(usize::MAX)),
        ValueKind::I128(_) => Err(ProblemKind::NoConsensus),
        _ => Err(ProblemKind::NotANumber),
    }
}

fn port(value: &ValueKind) -> Result<u16, ProblemKind> {
    match value {
        ValueKind::I128(port @ 1..) => u16::try_from(*port).map_err(|_| ProblemKind::NotAPort),
        ValueKind::I128(_) => Err(ProblemKind::NotAPort),
        _ => Err(ProblemKind::NotANumber),
    }
}

fn waiting_calls(value: &ValueKind) -> Result<usize, ProblemKind> {
    match value {
        // What does not fit is out of every bound, which `check` says.
        ValueKind::I128(calls @ 0..) => Ok(usize::try_from(*calls).unwrap_or(usize::MAX)),
        ValueKind::I128(_) => Err(super::size::WAITING_CALLS_OUT_OF_BOUNDS),
        _ => Err(ProblemKind::NotANumber),
    }
}

fn duration(value: &ValueKind) -> Result<Duration, ProblemKind> {
    let text = text(value)?;
    if text.trim().parse::<f64>().is_ok_and(|number| number >= 0.0) {
        return Err(ProblemKind::NoUnit(super::problem::quoted(&format!("{}s", text.trim()))));
    }
    SpanParser::new().parse_unsigned_duration(&text).map_err(|_| ProblemKind::NotADuration)
}
