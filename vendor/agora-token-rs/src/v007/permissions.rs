//! What an RTM2 service (type 8) may touch: lists of resource names, by kind of resource and kind of access.

use std::collections::BTreeMap;

use crate::Result;
use crate::wire::{Reader, Writer};

const FIELD: &str = "permissions";

/// Resource names by resource type and permission type, both ascending; each list keeps its order.
///
/// Resource types: 0 message channels, 1 stream channels, 2 group channels, 3 server groups, 4 users. Permission types: 0 read, 1 write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions(BTreeMap<u16, BTreeMap<u16, Vec<String>>>);

impl Permissions {
    /// Sets the resources of one kind that may be accessed in one way, in place of an earlier list for the same two kinds.
    #[must_use]
    pub fn allow(mut self, resource_type: u16, permission_type: u16, resources: Vec<String>) -> Self {
        self.0.entry(resource_type).or_default().insert(permission_type, resources);
        self
    }

    /// Every list, by resource type and then permission type, both ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16, &[String])> {
        self.0.iter().flat_map(|(&resource_type, permissions)| {
            permissions.iter().map(move |(&permission_type, resources)| (resource_type, permission_type, &resources[..]))
        })
    }

    pub(super) fn write(&self, out: &mut Writer) -> Result<()> {
        out.count(self.0.len(), FIELD)?;
        for (&resource_type, permissions) in &self.0 {
            out.u16(resource_type);
            out.count(permissions.len(), FIELD)?;
            for (&permission_type, resources) in permissions {
                out.u16(permission_type);
                out.count(resources.len(), FIELD)?;
                for resource in resources {
                    out.string(resource, FIELD)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self> {
        let mut resource_types = BTreeMap::new();
        for _ in 0..input.u16(FIELD)? {
            let resource_type = input.u16(FIELD)?;
            let mut permissions = BTreeMap::new();
            for _ in 0..input.u16(FIELD)? {
                let permission_type = input.u16(FIELD)?;
                let count = input.u16(FIELD)?;
                let resources = (0..count).map(|_| input.text(FIELD)).collect::<Result<_>>()?;
                permissions.insert(permission_type, resources);
            }
            resource_types.insert(resource_type, permissions);
        }
        Ok(Self(resource_types))
    }
}
