//! The frames of the handshake.

use std::time::Duration;

use super::interner::NodeIdInterner;
use super::limits::{WireError, at_most, nanos};
use super::node_frame::MemberFrame;
use crate::common_settings::{
    CommonSettings, MAX_DEFINITIONS, MAX_RINGS, MAX_SETTINGS, MAX_TEXT, sanitize_to_bytes,
};
use crate::hello::{Hello, Refusal};
use crate::settings::MAX_TIMING;

/// What is sent as `consensus`: any number but 0 would do.
const CONSENSUS: u64 = 3;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HelloFrame {
    #[prost(message, optional, tag = "1")]
    member: Option<MemberFrame>,
    #[prost(uint32, tag = "2")]
    protocol_min: u32,
    #[prost(uint32, tag = "3")]
    protocol_max: u32,
    #[prost(uint32, tag = "4")]
    ring: u32,
    #[prost(uint64, tag = "5")]
    lease_nanos: u64,
    /// Always [`CONSENSUS`]: earlier builds refuse a frame without it. The value is read by no build, since `consensus` is one of the
    /// common settings.
    #[prost(uint64, tag = "6")]
    consensus: u64,
    #[prost(string, tag = "7")]
    version: String,
    #[prost(bool, tag = "8")]
    owns_address: bool,
    #[prost(message, optional, tag = "9")]
    common_settings: Option<CommonSettingsFrame>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CommonSettingsFrame {
    #[prost(message, repeated, tag = "1")]
    settings: Vec<SettingFrame>,
    #[prost(string, tag = "2")]
    rings: String,
    #[prost(fixed64, tag = "3")]
    rings_hash: u64,
    /// Earlier builds neither send nor read them.
    #[prost(message, repeated, tag = "4")]
    definitions: Vec<SettingFrame>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SettingFrame {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RefusedFrame {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(uint32, tag = "2")]
    first: u32,
    #[prost(uint32, tag = "3")]
    second: u32,
    #[prost(string, tag = "4")]
    rings: String,
    #[prost(string, tag = "5")]
    yours: String,
    #[prost(string, tag = "6")]
    name: String,
    #[prost(string, tag = "7")]
    definition: String,
}

impl From<&Hello> for HelloFrame {
    fn from(hello: &Hello) -> Self {
        HelloFrame {
            member: Some((&hello.member).into()),
            protocol_min: hello.protocol_min,
            protocol_max: hello.protocol_max,
            ring: hello.ring,
            lease_nanos: nanos(hello.lease),
            consensus: CONSENSUS,
            version: hello.version.clone(),
            owns_address: hello.owns_address,
            common_settings: hello.common_settings.as_ref().map(CommonSettingsFrame::from),
        }
    }
}

impl From<&CommonSettings> for CommonSettingsFrame {
    fn from(common: &CommonSettings) -> Self {
        let setting =
            |(key, value): (&String, &String)| SettingFrame { key: key.clone(), value: value.clone() };
        CommonSettingsFrame {
            settings: common.settings().iter().map(setting).collect(),
            rings: common.rings_for_wire(),
            rings_hash: common.rings_hash(),
            definitions: common.definitions().iter().map(setting).collect(),
        }
    }
}

impl CommonSettingsFrame {
    fn common(self) -> Result<CommonSettings, WireError> {
        at_most("settings", self.settings.len(), MAX_SETTINGS)?;
        at_most("definitions", self.definitions.len(), MAX_DEFINITIONS)?;
        let settings = self.settings.into_iter().map(|setting| (setting.key, setting.value));
        let definitions = self.definitions.iter().map(|definition| (&definition.key, &definition.value));
        Ok(CommonSettings::from_peer(settings, &self.rings, self.rings_hash).with_definitions(definitions))
    }
}

/// Appends these fields to the frame of a `Hello`: protocol buffers merge a message that comes twice.
#[cfg(feature = "test-support")]
pub(super) fn unknown_fields(fields: &[u8]) -> Vec<u8> {
    let Ok(len @ 1..=0x7f) = u8::try_from(fields.len()) else { return Vec::new() };
    [&[0x0a, len], fields].concat()
}

impl HelloFrame {
    pub(super) fn hello(self, interner: &mut NodeIdInterner) -> Result<Hello, WireError> {
        at_most("version", self.version.len(), 256)?;
        let lease = Duration::from_nanos(self.lease_nanos);
        if lease > MAX_TIMING {
            return Err(WireError::Lease(lease));
        }
        Ok(Hello {
            member: self.member.ok_or(WireError::Missing("member"))?.member(interner)?,
            protocol_min: self.protocol_min,
            protocol_max: self.protocol_max,
            ring: self.ring,
            lease,
            owns_address: self.owns_address,
            version: self.version,
            common_settings: self.common_settings.map(CommonSettingsFrame::common).transpose()?,
            #[cfg(feature = "test-support")]
            unknown_fields: Vec::new(),
        })
    }
}

impl From<&Refusal> for RefusedFrame {
    fn from(refusal: &Refusal) -> Self {
        let (code, first, second) = match refusal {
            Refusal::Protocol { min, max } => (1, *min, *max),
            Refusal::Ring { ring } => (2, *ring, 0),
            Refusal::Identity => (3, 0, 0),
            Refusal::Rings { .. } => (4, 0, 0),
            Refusal::Definition { .. } => (5, 0, 0),
            Refusal::Other => (0, 0, 0),
        };
        let bare = RefusedFrame { code, first, second, ..RefusedFrame::default() };
        match refusal.clone() {
            Refusal::Rings { rings, yours } => RefusedFrame { rings, yours, ..bare },
            Refusal::Definition { name, definition, yours } => {
                RefusedFrame { name, definition, yours, ..bare }
            }
            _ => bare,
        }
    }
}

impl From<RefusedFrame> for Refusal {
    fn from(frame: RefusedFrame) -> Self {
        match frame.code {
            1 => Refusal::Protocol { min: frame.first, max: frame.second },
            2 => Refusal::Ring { ring: frame.first },
            3 => Refusal::Identity,
            4 => Refusal::Rings {
                rings: sanitize_to_bytes(&frame.rings, MAX_RINGS),
                yours: sanitize_to_bytes(&frame.yours, MAX_RINGS),
            },
            5 => Refusal::Definition {
                name: sanitize_to_bytes(&frame.name, MAX_TEXT),
                definition: sanitize_to_bytes(&frame.definition, MAX_TEXT),
                yours: sanitize_to_bytes(&frame.yours, MAX_TEXT),
            },
            _ => Refusal::Other,
        }
    }
}
