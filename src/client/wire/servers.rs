//! The community's list of servers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::value::json_text;

/// The longest name that is kept, in characters.
const MAX_NAME_LENGTH: usize = 64;

/// Reads the ids of an answer's servers, with the names that people gave them. Nothing else is kept.
pub(in crate::client) fn decode_servers(body: &[u8]) -> Result<BTreeMap<u32, Option<String>>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Servers {
        servers: Vec<Server>,
    }

    #[derive(serde::Deserialize)]
    struct Server {
        id: u32,
        #[serde(default)]
        name: Value,
    }

    let answer: Servers = serde_json::from_str(&json_text(body))?;
    let servers = answer.servers.into_iter();
    Ok(servers
        .map(|server| (server.id, server.name.as_str().and_then(printable)))
        .collect())
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
    fn servers_are_read_with_their_names_and_nothing_else() {
        let json = r#"{"servers":[{"id":3,"name":" Main\u001b[2J "},{"id":1,"mapIp":"203.0.113.1"},{"id":2,"name":7},{"id":4,"name":""}]}"#;
        let servers = decode_servers(json.as_bytes()).unwrap();
        let named = [(1, None), (2, None), (3, Some("Main[2J".to_owned())), (4, None)];
        assert_eq!(servers, BTreeMap::from(named));
        assert!(decode_servers(br#"{"servers":[{"id":"x"}]}"#).is_err());
    }
}
