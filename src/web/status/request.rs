//! What a request for the status page asks for, by the URL's query.

use url::form_urlencoded::Serializer;

/// The longest text to filter by, in characters: no alias is longer.
const MAX_FILTER: usize = 64;

/// Which part of the page is asked for. Parameters that it does not know are ignored, as is nonsense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::web) struct Request {
    /// `community`: the alias of the community to show; empty for the one that the environment describes.
    pub(in crate::web) community: Option<String>,
    /// `name`: the text that the aliases of the communities to show contain.
    pub(super) filter: String,
    /// `show`: which communities to show.
    pub(super) shown: Shown,
    /// `page`: the number of the page, from 1.
    pub(super) page: usize,
}

/// Which communities an overview shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shown {
    /// All of them.
    #[default]
    All,
    /// Those where a call waits for a dispatcher or for a unit, or a unit is in panic.
    Waiting,
    /// Those whose newest data is not there.
    Trouble,
}

impl Shown {
    /// All values, in the order of the form.
    pub(super) const ALL: [Self; 3] = [Self::All, Self::Waiting, Self::Trouble];

    /// The value of the parameter, and its meaning in words.
    pub(super) fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::All => ("all", "all"),
            Self::Waiting => ("waiting", "with waiting calls"),
            Self::Trouble => ("trouble", "in trouble"),
        }
    }
}

impl Request {
    /// Reads the parameters of a query. The first one of a name counts.
    pub(in crate::web) fn from_query(parameters: &[(String, String)]) -> Self {
        let get = |name: &str| {
            let parameter = parameters.iter().find(|(key, _)| key == name);
            parameter.map(|(_, value)| value.as_str())
        };
        let shown = get("show").and_then(|text| Shown::ALL.into_iter().find(|shown| shown.texts().0 == text));
        Self {
            community: get("community").map(str::to_owned),
            filter: get("name")
                .unwrap_or_default()
                .trim()
                .chars()
                .take(MAX_FILTER)
                .collect(),
            shown: shown.unwrap_or_default(),
            page: get("page").and_then(|text| text.parse().ok()).unwrap_or(1).max(1),
        }
    }

    /// A link to another page of the same, relative to this page.
    pub(super) fn link_to_page(&self, page: usize) -> String {
        let mut query = Serializer::for_suffix(String::from("?"), 1);
        if let Some(community) = &self.community {
            query.append_pair("community", community);
        }
        if !self.filter.is_empty() {
            query.append_pair("name", &self.filter);
        }
        if self.shown != Shown::All {
            query.append_pair("show", self.shown.texts().0);
        }
        query.append_pair("page", &page.to_string());
        query.finish()
    }
}

/// A link to the page of a community, relative to this page.
pub(super) fn link_to_community(alias: &str) -> String {
    Serializer::for_suffix(String::from("?"), 1)
        .append_pair("community", alias)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn request(query: &str) -> Request {
        let parameters: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Request::from_query(&parameters)
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        let first = Request {
            page: 1,
            ..Request::default()
        };
        for query in [
            "",
            "page=0",
            "page=-1",
            "page=x",
            "page=99999999999999999999999",
            "show=x",
            "name=+",
            "x=y",
        ] {
            assert_eq!(request(query), first, "{query}");
        }
        assert_eq!(request("page=2&page=3").page, 2);
        assert_eq!(request(&format!("name={}", "ä".repeat(1000))).filter, "ä".repeat(64));
        assert_eq!(request("community=").community.as_deref(), Some(""));
    }

    #[test]
    fn a_link_to_another_page_keeps_the_rest_of_the_request() {
        for query in [
            "",
            "community=a%26b%3D",
            "name=%22%3E%3Cscript%3E&show=trouble",
            "show=waiting",
        ] {
            let before = request(query);
            let link = before.link_to_page(7);
            let after = request(link.strip_prefix('?').unwrap());
            assert_eq!(after, Request { page: 7, ..before }, "{link}");
        }
        assert_eq!(link_to_community("a&b"), "?community=a%26b");
    }
}
