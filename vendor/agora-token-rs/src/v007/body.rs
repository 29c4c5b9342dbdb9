//! Services to bytes and back. Writer and reader stand side by side, so that a field added to one is not forgotten in the other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Payload, Permissions, Service};
use crate::wire::{Reader, Writer};
use crate::{Error, Result};

/// Whole seconds for the wire; `LifetimeTooLong` past 32 bits, where a cut would turn a long life into a random one.
pub(super) fn wire_seconds(lifetime: Duration) -> Result<u32> {
    u32::try_from(lifetime.as_secs()).map_err(|_| Error::LifetimeTooLong)
}

/// The lifetime that so many seconds on the wire stand for.
pub(super) fn lifetime(wire_seconds: u32) -> Duration {
    Duration::from_secs(wire_seconds.into())
}

impl Service {
    pub(super) fn write(&self, out: &mut Writer) -> Result<()> {
        out.u16(self.payload.service_type());
        let seconds = self.privileges.iter().map(|(&key, &lifetime)| Ok((key, wire_seconds(lifetime)?)));
        out.map(&seconds.collect::<Result<BTreeMap<_, _>>>()?)?;
        self.payload.write(out)
    }

    /// Reads what follows a service type, or nothing at all and gives `None` if the type is unknown.
    pub(super) fn read(service_type: u16, input: &mut Reader<'_>) -> Result<Option<Self>> {
        let Some(read_payload) = payload_reader(service_type) else { return Ok(None) };
        let privileges = input.map()?.into_iter().map(|(key, seconds)| (key, lifetime(seconds))).collect();
        Ok(Some(Self { privileges, payload: read_payload(input)? }))
    }
}

impl Payload {
    fn write(&self, out: &mut Writer) -> Result<()> {
        match self {
            Self::Rtc { channel, account } | Self::Streaming { channel, account } | Self::FusionCdn { channel, account } => {
                out.string(channel, "channel")?;
                out.string(account, "account")
            }
            Self::Rtm { user_id } | Self::Chat { user_id } => out.string(user_id, "user id"),
            Self::Education { room_uuid, user_uuid, role } => {
                out.string(room_uuid, "room uuid")?;
                out.string(user_uuid, "user uuid")?;
                out.i16(*role);
                Ok(())
            }
            Self::RtmWithPermissions { user_id, permissions } => {
                out.string(user_id, "user id")?;
                permissions.write(out)
            }
            Self::Fpa | Self::ConversationalAi | Self::SpeechToText => Ok(()),
            Self::Other { packed, .. } => {
                out.raw(packed);
                Ok(())
            }
        }
    }
}

/// How to read the fields of a type, or `None` for a type this crate does not know.
fn payload_reader(service_type: u16) -> Option<fn(&mut Reader<'_>) -> Result<Payload>> {
    Some(match service_type {
        1 => |input| Ok(Payload::Rtc { channel: input.text("channel")?, account: input.text("account")? }),
        2 => |input| Ok(Payload::Rtm { user_id: input.text("user id")? }),
        3 => |input| Ok(Payload::Streaming { channel: input.text("channel")?, account: input.text("account")? }),
        4 => |_| Ok(Payload::Fpa),
        5 => |input| Ok(Payload::Chat { user_id: input.text("user id")? }),
        6 => |input| Ok(Payload::FusionCdn { channel: input.text("channel")?, account: input.text("account")? }),
        7 => |input| {
            let (room_uuid, user_uuid) = (input.text("room uuid")?, input.text("user uuid")?);
            Ok(Payload::Education { room_uuid, user_uuid, role: input.i16("role")? })
        },
        8 => |input| Ok(Payload::RtmWithPermissions { user_id: input.text("user id")?, permissions: Permissions::read(input)? }),
        9 => |_| Ok(Payload::ConversationalAi),
        10 => |_| Ok(Payload::SpeechToText),
        _ => return None,
    })
}
