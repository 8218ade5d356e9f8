//! The community's list of servers.

use std::collections::BTreeSet;

use super::value::json_text;

/// Reads the ids of an answer's servers.
pub(in crate::client) fn decode_server_ids(body: &[u8]) -> Result<BTreeSet<u32>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Servers {
        servers: Vec<Server>,
    }

    #[derive(serde::Deserialize)]
    struct Server {
        id: u32,
    }

    let answer: Servers = serde_json::from_str(&json_text(body))?;
    Ok(answer.servers.into_iter().map(|server| server.id).collect())
}
