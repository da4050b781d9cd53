//! Pagination.

use actix_web::web;
use serde::Deserialize;

use super::ApiError;

/// Default page size.
const USUAL: usize = 100;
/// Maximum page size.
const MOST: usize = 1000;

/// The query of a paginated list: `?after=ID&limit=N`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

/// A page: up to `limit` items with ids greater than `after`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageBody {
    pub(super) after: Option<u64>,
    pub(super) limit: usize,
}

impl PageBody {
    /// Returns the page that a query asks for.
    ///
    /// # Errors
    /// 400 if the query is invalid.
    pub(super) fn of(query: Result<web::Query<PageQuery>, actix_web::Error>) -> Result<Self, ApiError> {
        match query.map(web::Query::into_inner) {
            Ok(PageQuery { after, limit }) => Self::new(after, limit),
            Err(_) => Err(malformed()),
        }
    }

    /// Returns the page after an id, of the usual size if `limit` is `None`.
    ///
    /// # Errors
    /// 400 if the limit is 0 or too large.
    pub(super) fn new(after: Option<u64>, limit: Option<usize>) -> Result<Self, ApiError> {
        match limit.unwrap_or(USUAL) {
            limit @ 1..=MOST => Ok(Self { after, limit }),
            _ => Err(malformed()),
        }
    }

    /// Returns how many items to fetch: one more than the page holds, to find out whether there is a next page.
    pub(super) const fn wanted(self) -> usize {
        self.limit + 1
    }

    /// Truncates the fetched items to the page. Returns the `after` of the next page, or `None` if this is the last.
    pub(super) fn cut<T>(self, found: &mut Vec<T>, id: impl FnOnce(&T) -> u64) -> Option<String> {
        let is_last = found.len() <= self.limit;
        found.truncate(self.limit);
        found.last().filter(|_| !is_last).map(|last| id(last).to_string())
    }
}

fn malformed() -> ApiError {
    ApiError::Malformed(format!(
        "expected ?after=ID&limit=N, both optional: an id of the list, and 1 to {MOST}"
    ))
}
