//! Fixtures that the tests share: the fake CAD, the exporter and the program under test, and external tools.
//!
//! These are modules of each test and not a crate of their own: a crate would be a member of the workspace, and every
//! build of the exporter, also that of the image, would need its manifest.

pub(crate) mod answer;
pub(crate) mod authority;
pub(crate) mod cad;
pub(crate) mod exporter;
pub(crate) mod foreign;
pub(crate) mod newcomers;
pub(crate) mod program;
pub(crate) mod promises;
pub(crate) mod simulated;
pub(crate) mod tools;
