//! The endpoints of the API that are exported: what each asks for, and how its answer is read.

use std::fmt;

use reqwest::RequestBuilder;

use super::error::FetchError;
use super::v1::{self, CallsRequest, UnitsRequest};
use super::v2;
use super::wire::{self, Pass};
use crate::account::{Plan, Rate};
use crate::config::{ApiConfig, ApiEndpoint, ApiVersion, CommunityConfig, LabelTexts};
use crate::snapshot::{CallSnapshot, UnitSnapshot};
use crate::tracker::{CallQuery, CallTracker, Track, UNITS_PER_PAGE, UnitQuery, UnitTracker};

/// One endpoint of the API: its request in each version, its decoder and its published limit.
///
/// A type that implements it is never made; it only stands for the endpoint.
pub trait Endpoint: fmt::Debug + Send + Sync + 'static {
    /// Its name in the label `api_endpoint`.
    const NAME: ApiEndpoint;

    /// How often it may be requested.
    const RATE: Rate;

    /// What follows its answers.
    type Tracker: Track;

    /// The request of version v1 for one server.
    fn v1_request(http: &reqwest::Client, api: &ApiConfig, server_id: u32, query: QueryOf<Self>) -> RequestBuilder;

    /// The request of version v2 for one server.
    fn v2_request(http: &reqwest::Client, api: &ApiConfig, server_id: u32, query: QueryOf<Self>) -> RequestBuilder;

    /// Reads the body of a good answer, of either version.
    ///
    /// # Errors
    ///
    /// [`FetchError::InvalidResponse`]: it is not an answer of this endpoint.
    fn decode(body: &[u8], labels: &LabelTexts) -> Result<SnapshotOf<Self>, FetchError> {
        Self::decode_from(Pass::Quick, body, labels)
    }

    /// The same, beginning with this pass. The result does not depend on it.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`].
    fn decode_from(first: Pass, body: &[u8], labels: &LabelTexts) -> Result<SnapshotOf<Self>, FetchError>;

    /// How often it may be requested for this community in this version of the API.
    #[must_use]
    fn plan(community: &CommunityConfig, version: ApiVersion) -> Plan {
        Plan::new(Self::NAME, &Self::RATE, community, version)
    }
}

/// What one answer of an endpoint says.
pub type SnapshotOf<E> = <<E as Endpoint>::Tracker as Track>::Snapshot;

/// What a request to an endpoint asks for.
pub type QueryOf<E> = <<E as Endpoint>::Tracker as Track>::Query;

/// Dispatch, emergency and closed calls.
#[derive(Debug)]
pub enum Calls {}

impl Endpoint for Calls {
    const NAME: ApiEndpoint = ApiEndpoint::Calls;
    const RATE: Rate = Rate {
        v1_budget: 12,
        v2_limit: 5,
    };

    type Tracker = CallTracker;

    fn v1_request(http: &reqwest::Client, api: &ApiConfig, server_id: u32, query: CallQuery) -> RequestBuilder {
        let data = CallsRequest {
            server_id,
            closed_limit: query.closed_limit,
            closed_offset: query.closed_offset,
        };
        v1::post(http, api, "emergency/get_calls", "GET_CALLS", &[data])
    }

    fn v2_request(http: &reqwest::Client, api: &ApiConfig, server_id: u32, query: CallQuery) -> RequestBuilder {
        let path = format!("v2/emergency/servers/{server_id}/calls");
        // The type 100 stands for dispatch and emergency calls.
        let CallQuery {
            closed_limit,
            closed_offset,
        } = query;
        let query = format!("closedLimit={closed_limit}&closedOffset={closed_offset}&type=100");
        v2::get(http, api, &path, Some(&query))
    }

    fn decode_from(first: Pass, body: &[u8], labels: &LabelTexts) -> Result<CallSnapshot, FetchError> {
        wire::decode_calls(body, first, &labels.call_codes).map_err(|error| invalid_response(&error, Self::NAME))
    }
}

/// Units and dispatchers on duty.
#[derive(Debug)]
pub enum Units {}

impl Endpoint for Units {
    const NAME: ApiEndpoint = ApiEndpoint::Units;
    const RATE: Rate = Rate {
        v1_budget: 6,
        v2_limit: 3,
    };

    type Tracker = UnitTracker;

    fn v1_request(http: &reqwest::Client, api: &ApiConfig, server_id: u32, query: UnitQuery) -> RequestBuilder {
        let data = UnitsRequest {
            server_id,
            // The default leaves out dispatchers.
            only_units: false,
            include_offline: false,
            limit: UNITS_PER_PAGE,
            offset: query.offset,
        };
        v1::post(http, api, "emergency/get_active_units", "GET_ACTIVE_UNITS", &[data])
    }

    fn v2_request(http: &reqwest::Client, api: &ApiConfig, server_id: u32, query: UnitQuery) -> RequestBuilder {
        let path = format!("v2/emergency/servers/{server_id}/units");
        let offset = query.offset;
        let query = format!("includeOffline=false&onlyUnits=false&limit={UNITS_PER_PAGE}&offset={offset}");
        v2::get(http, api, &path, Some(&query))
    }

    fn decode_from(first: Pass, body: &[u8], labels: &LabelTexts) -> Result<UnitSnapshot, FetchError> {
        wire::decode_units(body, first, &labels.departments).map_err(|error| invalid_response(&error, Self::NAME))
    }
}

/// The parser's own message can quote the answer.
fn invalid_response(error: &serde_json::Error, endpoint: ApiEndpoint) -> FetchError {
    let detail = format!(
        "not JSON with a list of {} (line {}, column {})",
        endpoint.label(),
        error.line(),
        error.column()
    );
    FetchError::InvalidResponse(detail)
}
