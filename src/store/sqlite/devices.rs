//! Device tokens.

use async_trait::async_trait;
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::rows::{self, device_columns, sql_count};
use crate::error::Result;
use crate::models::{Device, Participant, Timestamp};
use crate::store::DeviceStore;

#[async_trait]
impl DeviceStore for SqliteStore {
    async fn register_device(&self, device: Device) -> Result<()> {
        self.write(move |connection, _| register(connection, &device)).await
    }

    async fn unregister_device(&self, owner: &Participant, token: &str) -> Result<bool> {
        let (owner, token) = (owner.clone(), token.to_owned());
        self.write(move |connection, _| {
            let sql = "DELETE FROM device WHERE token = ?1 AND owner_kind = ?2 AND owner = ?3";
            Ok(connection.prepare_cached(sql)?.execute(params![token, owner.kind().as_str(), owner.id()])? > 0)
        })
        .await
    }

    async fn drop_device(&self, token: &str, since: Timestamp) -> Result<bool> {
        let token = token.to_owned();
        self.write(move |connection, _| {
            let sql = "DELETE FROM device WHERE token = ?1 AND registered_at < ?2";
            Ok(connection.prepare_cached(sql)?.execute(params![token, since.as_millis()])? > 0)
        })
        .await
    }

    async fn devices_of(&self, people: &[Participant]) -> Result<Vec<Device>> {
        let people = people.to_vec();
        self.readers.ask(move |connection| of(connection, &people)).await
    }
}

fn register(connection: &Connection, device: &Device) -> Result<()> {
    put(connection, device)?;
    let (kind, owner_kind, owner) = (device.kind.as_str(), device.owner.kind().as_str(), device.owner.id());
    connection
        .prepare_cached(
            "DELETE FROM device WHERE token IN (SELECT token FROM device WHERE owner_kind = ?1 AND owner = ?2 AND kind = ?3
             ORDER BY registered_at DESC, token = ?4 DESC, token LIMIT -1 OFFSET ?5)",
        )?
        .execute(params![owner_kind, owner, kind, device.token, sql_count(Device::KEPT)])?;
    Ok(())
}

pub(super) fn put(connection: &Connection, device: &Device) -> Result<()> {
    let (kind, owner_kind, owner) = (device.kind.as_str(), device.owner.kind().as_str(), device.owner.id());
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO device(token, kind, owner_kind, owner, platform, registered_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![device.token, kind, owner_kind, owner, device.platform.as_str(), device.registered_at.as_millis()])?;
    Ok(())
}

fn of(connection: &Connection, people: &[Participant]) -> Result<Vec<Device>> {
    let sql = concat!("SELECT ", device_columns!(), " FROM device WHERE owner_kind = ?1 AND owner = ?2 ORDER BY registered_at DESC, token");
    let mut statement = connection.prepare_cached(sql)?;
    let mut devices = Vec::new();
    for person in people {
        let mut rows = statement.query(params![person.kind().as_str(), person.id()])?;
        while let Some(row) = rows.next()? {
            devices.push(rows::device(row)?);
        }
    }
    Ok(devices)
}
