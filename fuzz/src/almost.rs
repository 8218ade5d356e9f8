//! JSON that almost fits: a good document with a few edits, which a fuzzer's bytes choose.

use serde_json::{Map, Value, json};

/// Keys that mean something in some document.
const KEYS: [&str; 24] = [
    "activeCalls",
    "ActiveCalls",
    "emergencyCalls",
    "EmergencyCalls",
    "closedCalls",
    "ClosedCalls",
    "ClosedCallCount",
    "callId",
    "priority",
    "status",
    "origin",
    "idents",
    "units",
    "isEmergency",
    "metaData",
    "createdFromId",
    "code",
    "id",
    "isPanic",
    "isDispatch",
    "data",
    "page",
    "department",
    "other",
];

/// A value with more values in it is not copied, so that no document grows without end.
const MAX_COPY: usize = 40;

/// How many edits there are between one document and the next.
const MAX_EDITS: usize = 6;

/// The bytes that have not chosen anything yet. After the last one, they choose the first of everything.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first)
    }

    /// A number below `count`, which is at most 256 and not 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.next() % count
    }
}

/// Makes 1 to [`MAX_EDITS`] edits.
pub(crate) fn edit(document: &mut Value, choices: &mut Choices) {
    for _ in 0..=choices.below(MAX_EDITS) {
        let copy = node(document, choices).clone();
        let copy = if size(&copy) > MAX_COPY { json!([]) } else { copy };
        let node = node(document, choices);
        match choices.below(6) {
            0 => *node = odd_value(choices),
            1 => *node = copy,
            2 => *node = json!([node.take()]),
            3 => *node = near(node, choices),
            4 => remove_from(node, choices),
            _ => add_to(node, copy, choices),
        }
    }
}

/// A value somewhere in the document.
fn node<'a>(value: &'a mut Value, choices: &mut Choices) -> &'a mut Value {
    let count = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    let choice = choices.next();
    // One in eight ends here.
    if count == 0 || choice >= 224 {
        return value;
    }
    let child = match value {
        Value::Array(items) => items.get_mut(choice % count),
        Value::Object(fields) => fields.values_mut().nth(choice % count),
        _ => None,
    };
    node(child.expect("it has so many"), choices)
}

/// How many values there are in a value, itself included.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        _ => 0,
    }
}

fn odd_value(choices: &mut Choices) -> Value {
    let number = choices.next();
    match choices.below(16) {
        0 => Value::Null,
        1 => json!(number > 127),
        2 => json!(number),
        3 => json!(number % 8),
        4 => json!((number % 8).to_string()),
        5 => json!(format!(" {}.0 ", number % 8)),
        6 => json!(-1),
        7 => json!(number % 4 * 2 + 1)
            .as_f64()
            .map_or(Value::Null, |odd| json!(odd / 2.0)),
        8 => json!(1_u64 << 53),
        9 => json!(1_795_392_000_000_000_000_u64 + (number as u64) * 1_000_000_000),
        10 => json!(i64::MIN),
        11 => json!(1e300),
        12 => json!(""),
        13 => json!(["LSPD", "lspd ", "10-31", "\0", "\u{fffd}"][number % 5]),
        14 => json!([]),
        _ => json!({}),
    }
}

/// A value like this one.
fn near(value: &Value, choices: &mut Choices) -> Value {
    let step = choices.below(3);
    match value {
        Value::Number(number) => match number.as_u64() {
            Some(number) => json!(number.saturating_add(step as u64)),
            None => json!(number.to_string()),
        },
        Value::String(text) => json!(text.to_uppercase()),
        Value::Bool(is_set) => json!(!is_set),
        other => json!(other.to_string()),
    }
}

fn remove_from(value: &mut Value, choices: &mut Choices) {
    let choice = choices.next();
    match value {
        Value::Array(items) if !items.is_empty() => {
            items.remove(choice % items.len());
        }
        Value::Object(fields) => {
            let key = fields.keys().nth(choice % fields.len().max(1)).cloned();
            key.and_then(|key| fields.remove(&key));
        }
        other => *other = Value::Null,
    }
}

fn add_to(value: &mut Value, more: Value, choices: &mut Choices) {
    let choice = choices.next();
    match value {
        Value::Array(items) => items.insert(choice % (items.len() + 1), more),
        Value::Object(fields) => {
            fields.insert(KEYS[choice % KEYS.len()].to_owned(), more);
        }
        other => *other = Value::Object(Map::from_iter([(KEYS[choice % KEYS.len()].to_owned(), more)])),
    }
}
