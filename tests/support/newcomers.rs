//! Answers whose calls are all new, for tests of the memory that they take.

/// An answer of three lists, each with `calls` calls whose ids start at `first`. Each active call has five units of its own.
pub(crate) fn answer(calls: u64, first: u64) -> String {
    let list = |call: &dyn Fn(u64) -> String| {
        let calls = (first..first + calls).map(|id| format!("{{\"callId\":{}}}", call(id)));
        calls.collect::<Vec<_>>().join(",")
    };
    let active =
        list(&|id| format!("{id},\"priority\":1,\"status\":0,\"origin\":0,\"idents\":[{id}0,{id}1,{id}2,{id}3,{id}4]"));
    let emergency = list(&|id| format!("{id},\"isEmergency\":true"));
    // None of them is one of the active calls.
    let closed = list(&|id| format!("9{id},\"priority\":1"));
    format!("{{\"activeCalls\":[{active}],\"emergencyCalls\":[{emergency}],\"closedCalls\":[{closed}]}}")
}
