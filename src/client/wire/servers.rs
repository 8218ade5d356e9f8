//! The community's list of servers.

use std::collections::BTreeMap;

use serde_json::Value;

use serde::de::{Deserialize as _, Deserializer, Error as _};
use serde_json::value::RawValue;

use super::list::{Collect, List, ListSeed};
use super::pass::{self, Pass};
use super::value::{integer, json_text};

/// The longest name that is kept, in characters.
const MAX_NAME_LENGTH: usize = 64;

/// Reads the ids of an answer's servers, with the names that people gave them. Nothing else is kept.
pub(in crate::client) fn decode_servers(body: &[u8]) -> Result<BTreeMap<u32, Option<String>>, serde_json::Error> {
    let json = json_text(body);
    let Answer { servers } = serde_json::from_str(&json)?;
    let servers = pass::read_text(servers.get(), ListSeed(Servers(Some(BTreeMap::new())), Pass::Tolerant))?;
    servers
        .and_then(|List(servers)| servers)
        .and_then(|Servers(servers)| servers)
        .ok_or_else(|| serde_json::Error::custom("no list of servers"))
}

#[derive(serde::Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    servers: &'a RawValue,
}

#[derive(serde::Deserialize)]
struct Server<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(default)]
    name: Value,
}

/// The servers; `None` if an id cannot be read, since a server that is left out would seem not to exist.
struct Servers(Option<BTreeMap<u32, Option<String>>>);

impl Collect for Servers {
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D, _: Pass) -> Result<(), D::Error> {
        let Server { id, name } = Server::deserialize(deserializer)?;
        let id = integer(id).and_then(|id| u32::try_from(id).ok());
        match (id, &mut self.0) {
            (Some(id), Some(servers)) => drop(servers.insert(id, name.as_str().and_then(printable))),
            _ => self.0 = None,
        }
        Ok(())
    }
}

/// A name as it may be shown in a terminal.
fn printable(name: &str) -> Option<String> {
    let name: String = name
        .trim()
        .chars()
        .filter(|char| !char.is_control())
        .take(MAX_NAME_LENGTH)
        .collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_a_list_in_any_form() {
        let ids = |servers: &str| {
            let body = format!(r#"{{"servers":{servers}}}"#);
            decode_servers(body.as_bytes())
                .ok()
                .map(|servers| servers.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(ids(r#"[{"id":2,"name":"Main"},{"id":1}]"#), Some(vec![1, 2]));
        assert_eq!(ids(r#"{"1":{"id":1},"3":{"id":3}}"#), Some(vec![1, 3]));
        assert_eq!(ids(r#"[{"id":"2"},{"id":1.0}]"#), Some(vec![1, 2]));
        assert_eq!(ids("[]"), Some(Vec::new()));
        assert_eq!(ids("{}"), Some(Vec::new()));
        for odd in [
            "null",
            "7",
            r#"{"main":{"id":1}}"#,
            r#"[{"name":"Main"}]"#,
            r#"[{"id":-1},{"id":2}]"#,
        ] {
            assert_eq!(ids(odd), None, "{odd}");
        }
    }

    #[test]
    fn servers_are_read_with_their_names_and_nothing_else() {
        let json = r#"{"servers":[{"id":3,"name":" Main\u001b[2J "},{"id":1,"mapIp":"203.0.113.1"},{"id":2,"name":7},{"id":4,"name":""}]}"#;
        let servers = decode_servers(json.as_bytes()).unwrap();
        let named = [(1, None), (2, None), (3, Some("Main[2J".to_owned())), (4, None)];
        assert_eq!(servers, BTreeMap::from(named));
    }
}
