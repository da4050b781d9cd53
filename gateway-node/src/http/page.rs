//! Long lists in pages.

use actix_web::web;
use serde::Deserialize;

use super::ApiError;

/// How many items a page has where the request does not say.
const USUAL: usize = 100;
/// How many it may have.
const MOST: usize = 1000;

/// Which items are asked for: `?after=ID&limit=N`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

/// A page: items behind this id, so many of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageBody {
    pub(super) after: Option<u64>,
    pub(super) limit: usize,
}

impl PageBody {
    /// The page that a query asks for.
    ///
    /// # Errors
    /// 400 where it asks for none.
    pub(super) fn of(query: Result<web::Query<PageQuery>, actix_web::Error>) -> Result<Self, ApiError> {
        let query = query.map(web::Query::into_inner);
        match query.map(|query| (query.after, query.limit.unwrap_or(USUAL))) {
            Ok((after, limit @ 1..=MOST)) => Ok(Self { after, limit }),
            _ => Err(ApiError::Malformed(format!(
                "expected ?after=ID&limit=N, both optional: an id of the list, and 1 to {MOST}"
            ))),
        }
    }

    /// How many items to look for: one more than asked for tells whether there is a next page.
    pub(super) const fn wanted(self) -> usize {
        self.limit + 1
    }

    /// Cuts the items that were found to the page. Answers what `after` is to be for the next page; none where this is
    /// the last.
    pub(super) fn cut<T>(self, found: &mut Vec<T>, id: impl FnOnce(&T) -> u64) -> Option<String> {
        let is_last = found.len() <= self.limit;
        found.truncate(self.limit);
        found.last().filter(|_| !is_last).map(|last| id(last).to_string())
    }
}
