//! Made-up answers of any size, for the tests and benches that need large ones.

use std::fmt::Write as _;

/// An answer of version v1 with this many active calls, each about as long as a real one (330 bytes).
pub(crate) fn with_calls(calls: usize) -> String {
    let mut json = String::from("{\"activeCalls\":[");
    for call in 0..calls {
        let separator = if call == 0 { "" } else { "," };
        write!(
            json,
            "{separator}{{\"callId\":{id},\"origin\":{origin},\"status\":{status},\"priority\":{priority},\"block\":\"12\",\
             \"address\":\"Vespucci Boulevard\",\"postal\":\"8011\",\"title\":\"Traffic Stop\",\"code\":\"10-38\",\
             \"primary\":{unit},\"trackPrimary\":false,\"description\":\"Blue sedan, heading north\",\
             \"notes\":[{{\"time\":\"21:29\",\"label\":\"A-10\",\"type\":\"text\",\"content\":\"On scene\"}}],\
             \"idents\":[{unit},{other}],\"metaData\":{{\"x\":\"425.1\",\"y\":\"-979.2\"}}}}",
            id = 1000 + call,
            origin = call % 4,
            status = call % 2,
            priority = call % 3 + 1,
            unit = call % 400,
            other = call % 397 + 400,
        )
        .expect("writing to a String does not fail");
    }
    json.push_str("],\"emergencyCalls\":[],\"closedCalls\":[]}");
    json
}
