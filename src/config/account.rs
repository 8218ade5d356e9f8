//! What communities share: the account of a key, and the memory of the process.

use std::collections::BTreeMap;

use enum_map::EnumMap;

use super::{ApiEndpoint, CommunityConfig, Draft, Problems, VersionChoice, variable};

/// How many ids of calls and units the process keeps in each list, of all servers together. With the other bounds, a hostile
/// API can so fill about 300 MB, however many communities it has.
const MAX_IDS_IN_ALL: usize = 400_000;

/// How many of these one server keeps at most.
pub(super) const MAX_IDS: usize = 10_000;

/// How many one server may always keep: more than a busy community has open at once.
const MIN_IDS: usize = 100;

/// One key at one address of the API, however many communities use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountConfig {
    /// How many servers are read with the key.
    pub servers: u32,
    /// What its servers share of each endpoint.
    pub endpoints: EnumMap<ApiEndpoint, EndpointConfig>,
    /// Whether any of them is read in version v2 of the API only. The limits of that version are the lower ones.
    pub uses_v2: bool,
}

/// One endpoint of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointConfig {
    /// `SONORANCAD_REQUESTS_PER_MINUTE`, `SONORANCAD_UNIT_REQUESTS_PER_MINUTE`: the budget, if it is set.
    pub requests_per_minute: Option<u32>,
    /// For how many servers it is requested.
    pub servers: u32,
}

/// Divides the ids that the process may keep among all servers.
pub(super) fn share_ids<'a>(drafts: impl Iterator<Item = &'a mut Draft>) {
    let drafts: Vec<_> = drafts.collect();
    let servers: usize = drafts.iter().map(|draft| draft.community.servers.len()).sum();
    let max_ids = (MAX_IDS_IN_ALL / servers.max(1)).clamp(MIN_IDS, MAX_IDS);
    for draft in drafts {
        draft.community.max_ids = max_ids;
    }
}

/// Assigns the same account to all communities that use the same key; each comes with its alias if it has one.
pub(super) fn share_accounts<'a>(
    drafts: impl Iterator<Item = (Option<&'a str>, &'a mut Draft)>,
    problems: &mut Problems,
) {
    let mut drafts: Vec<_> = drafts.collect();
    let mut accounts: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, (_, draft)) in drafts.iter().enumerate() {
        accounts.entry(draft.community.api.account()).or_default().push(index);
    }
    let mut accounts: Vec<_> = accounts.into_values().collect();
    // In the order of the file.
    accounts.sort_unstable();
    for account in accounts {
        let members: Vec<_> = account
            .iter()
            .map(|&index| (drafts[index].0, &*drafts[index].1))
            .collect();
        report_conflicts(&members, problems);
        let shared = shared_account(&members);
        for index in account {
            drafts[index].1.community.account = shared;
        }
    }
}

/// Reports communities of one account that set different budgets.
fn report_conflicts(members: &[(Option<&str>, &Draft)], problems: &mut Problems) {
    for (endpoint, variable) in [
        (ApiEndpoint::Calls, &variable::REQUESTS_PER_MINUTE),
        (ApiEndpoint::Units, &variable::UNIT_REQUESTS_PER_MINUTE),
    ] {
        let mut budgets: Vec<_> = members
            .iter()
            .filter_map(|(_, draft)| draft.requests_per_minute[endpoint])
            .collect();
        budgets.dedup();
        if budgets.len() <= 1 {
            continue;
        }
        let names: Vec<_> = members
            .iter()
            .map(|(alias, _)| alias.unwrap_or("the environment's own"))
            .collect();
        let reason = format!(
            "differs between communities that use the same key, and so share one budget: {}",
            names.join(", ")
        );
        if members.iter().any(|(alias, _)| alias.is_none()) {
            problems.report_without_example(variable, reason);
        } else {
            problems.report_other(variable.key.to_owned(), reason);
        }
    }
}

/// The account of these communities, with the budgets that one of them sets.
fn shared_account(members: &[(Option<&str>, &Draft)]) -> AccountConfig {
    let count = |is_read: fn(&CommunityConfig) -> bool| {
        let communities = members.iter().map(|(_, draft)| &draft.community);
        let servers: usize = communities
            .filter(|community| is_read(community))
            .map(|community| community.servers.len())
            .sum();
        u32::try_from(servers).unwrap_or(u32::MAX)
    };
    let servers = count(|_| true);
    let endpoints = EnumMap::from_fn(|endpoint| EndpointConfig {
        requests_per_minute: members
            .iter()
            .find_map(|(_, draft)| draft.requests_per_minute[endpoint]),
        servers: match endpoint {
            ApiEndpoint::Calls => servers,
            ApiEndpoint::Units => count(|community| community.collects_units),
        },
    });
    AccountConfig {
        servers,
        endpoints,
        uses_v2: members
            .iter()
            .any(|(_, draft)| matches!(draft.community.api.version, VersionChoice::V2 { .. })),
    }
}
