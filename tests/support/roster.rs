//! Made-up lists of units of any size, for the tests and benches that need large ones.

/// A list of this many units as version v2 writes them, with all that is not read (370 bytes each).
pub(crate) fn with_units(units: usize) -> String {
    let unit = r#"{"id":ID,"accId":"00000000-0000-0000-0000-000000000000","status":3,"isPanic":false,"location":"Mission Row PD","coordinates":{"x":123.45,"y":-456.78,"z":32.1,"w":180.0},"aop":"Los Santos","data":{"unitNum":"A-10","name":"John Doe","district":"Los Santos","department":"LSPD","subdivision":"Patrol","rank":"Officer","group":"CAR-51","page":0,"communityUserId":"license:abc123"},"isDispatch":false}"#;
    let units: Vec<_> = (0..units).map(|id| unit.replace("ID", &id.to_string())).collect();
    format!("[{}]", units.join(","))
}
