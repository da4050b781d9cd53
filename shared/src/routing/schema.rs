//! JSON Schemas of event data and replies.
//!
//! Without the feature `schema` no schema compiles, so a table that has one is refused.

use serde_json::Value;

use crate::problem::Problem;

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Schema {
    #[cfg(feature = "schema")]
    schema: schema::Schema,
    #[cfg(not(feature = "schema"))]
    never: std::convert::Infallible,
}

/// Why a schema cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// It does not compile, or refers to another document, which is never fetched.
    #[cfg(feature = "schema")]
    #[error(transparent)]
    Invalid(#[from] schema::InvalidSchema),
    /// The program was built without the feature `schema`.
    #[cfg(not(feature = "schema"))]
    #[error("this program was built without support for schemas")]
    Unsupported,
}

#[cfg(feature = "schema")]
impl Schema {
    pub(super) fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let schema = schema::Schema::compile(schema)?;
        Ok(Self { schema })
    }

    /// Records what is wrong with a value.
    pub(super) fn check(&self, value: &Value, problems: &mut Vec<Problem>) {
        // Most data is valid.
        if self.schema.is_valid(value) {
            return;
        }
        problems.extend(self.schema.violations(value).into_iter().map(|violation| Problem {
            data: violation.data,
            ..Problem::absent(violation.message)
        }));
    }
}

#[cfg(not(feature = "schema"))]
impl Schema {
    pub(super) fn compile(_schema: &Value) -> Result<Self, SchemaError> {
        Err(SchemaError::Unsupported)
    }

    pub(super) fn check(&self, _value: &Value, _problems: &mut Vec<Problem>) {
        match self.never {}
    }
}
