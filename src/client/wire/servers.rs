//! The community's list of servers.

use std::collections::BTreeSet;

use serde::de::Error as _;
use serde_json::value::RawValue;

use super::list::{Collect, List};
use super::value::{integer, json_text};

/// Reads the ids of an answer's servers.
pub(in crate::client) fn decode_server_ids(body: &[u8]) -> Result<BTreeSet<u32>, serde_json::Error> {
    let Answer { servers: List(ids) } = serde_json::from_str(&json_text(body))?;
    ids.and_then(|Ids(ids)| ids)
        .ok_or_else(|| serde_json::Error::custom("no list of servers"))
}

#[derive(serde::Deserialize)]
struct Answer {
    servers: List<Ids>,
}

#[derive(serde::Deserialize)]
struct Server<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// The ids; `None` if one of them cannot be read, since a server that is left out would seem not to exist.
struct Ids(Option<BTreeSet<u32>>);

impl Collect for Ids {
    type Item<'de> = Server<'de>;

    fn empty() -> Self {
        Self(Some(BTreeSet::new()))
    }

    fn add_item(&mut self, Server { id }: Server) {
        match (integer(id).and_then(|id| u32::try_from(id).ok()), &mut self.0) {
            (Some(id), Some(ids)) => drop(ids.insert(id)),
            _ => self.0 = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_a_list_in_any_form() {
        let ids = |servers: &str| {
            let body = format!(r#"{{"servers":{servers}}}"#);
            decode_server_ids(body.as_bytes()).ok().map(Vec::from_iter)
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
}
