//! Answers with units. Everything in them that concerns a person is invented.

use serde_json::{Value, json};

use super::PLACES;
use crate::demo::discipline::Discipline;
use crate::demo::incident::pick;
use crate::demo::server::Server;

/// The API's number of the status of a unit that is not on duty.
const OFFLINE: u8 = 100;

const FIRST_NAMES: [&str; 7] = ["Alex", "Casey", "Jamie", "Jordan", "Morgan", "Riley", "Taylor"];

const LAST_NAMES: [&str; 11] = [
    "Adams", "Brooks", "Carter", "Diaz", "Evans", "Foster", "Green", "Hayes", "Ibarra", "Jensen", "Kim",
];

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::demo) struct Query {
    /// Whether dispatchers are left out.
    pub(in crate::demo) only_units: bool,
    /// Whether units that are not on duty are listed too.
    pub(in crate::demo) include_offline: bool,
    pub(in crate::demo) limit: usize,
    pub(in crate::demo) offset: usize,
}

/// What one unit shows.
struct Row {
    id: u32,
    status: u8,
    is_in_panic: bool,
    is_dispatch: bool,
    page: u8,
}

/// The answer of version v1; an empty list for a server that does not exist.
pub(in crate::demo) fn v1(server: Option<&Server>, query: Query) -> String {
    list(server, query, |row| {
        let mut unit = unit(row);
        unit["data"]["apiId1"] = json!(format!("STEAM:{}", 1000 + row.id));
        unit["data"]["apiId2"] = json!("");
        unit
    })
}

/// The answer of version v2, which knows where units are.
pub(in crate::demo) fn v2(server: &Server, query: Query) -> String {
    list(Some(server), query, |row| {
        let mut unit = unit(row);
        let id = f64::from(row.id);
        unit["coordinates"] = json!({"x": 12.5 * id, "y": -7.25 * id, "z": 30.5, "w": 180.0});
        unit
    })
}

fn list(server: Option<&Server>, query: Query, write: impl Fn(&Row) -> Value) -> String {
    let units: Vec<_> = server
        .into_iter()
        .flat_map(|server| rows(server, query))
        .skip(query.offset)
        .take(query.limit)
        .map(|row| write(&row))
        .collect();
    Value::Array(units).to_string()
}

fn rows(server: &Server, query: Query) -> impl Iterator<Item = Row> {
    let units = server.units();
    let on_duty = units.on_duty().map(|(id, unit)| Row {
        id,
        status: unit.status as u8,
        is_in_panic: unit.is_in_panic,
        is_dispatch: false,
        page: unit.discipline as u8,
    });
    let dispatchers = units.dispatchers().map(|dispatcher| Row {
        id: dispatcher.id,
        status: 2,
        is_in_panic: false,
        is_dispatch: dispatcher.is_flagged,
        page: dispatcher.page,
    });
    let offline = units.off_duty().map(|id| Row {
        id,
        status: OFFLINE,
        is_in_panic: false,
        is_dispatch: false,
        page: Discipline::of(id) as u8,
    });
    on_duty
        .chain(dispatchers.filter(move |_| !query.only_units))
        .chain(offline.filter(move |_| query.include_offline))
}

fn unit(row: &Row) -> Value {
    let id = u64::from(row.id);
    let discipline = Discipline::of(row.id);
    let first_name = pick(&FIRST_NAMES, id);
    let last_name = pick(&LAST_NAMES, id);
    json!({
        "id": row.id,
        "accId": format!("{id:08x}-0000-4000-8000-{id:012x}"),
        "status": row.status,
        "isPanic": row.is_in_panic,
        "location": pick(&PLACES, id),
        "aop": "Los Santos",
        "isDispatch": row.is_dispatch,
        "data": {
            "unitNum": format!("{}-{:02}", pick(&["A", "B", "C"], id), id % 100),
            "name": format!("{first_name} {last_name}"),
            "district": "Los Santos",
            "department": discipline.department(row.id),
            "subdivision": "Patrol",
            "rank": pick(&discipline.ranks(), id / 5),
            "group": format!("CAR-{}", id % 60),
            "page": row.page,
            "communityUserId": format!("license:{:08x}", id.wrapping_mul(2_654_435_761)),
        },
    })
}
