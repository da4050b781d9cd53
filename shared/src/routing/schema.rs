//! JSON Schemas of event data and replies.
//!
//! Without the feature `schema` no schema compiles, so a table that has one is refused.

use serde_json::Value;
#[cfg(feature = "schema")]
use serde_json::value::to_raw_value;

use crate::problem::Problem;

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Schema {
    #[cfg(feature = "schema")]
    validator: jsonschema::Validator,
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
    Invalid(Box<jsonschema::ValidationError<'static>>),
    /// The program was built without the feature `schema`.
    #[cfg(not(feature = "schema"))]
    #[error("this program was built without support for schemas")]
    Unsupported,
}

#[cfg(feature = "schema")]
impl Schema {
    pub(super) fn compile(schema: &Value) -> Result<Self, SchemaError> {
        // A schema must not make the node fetch URLs.
        let compiled = jsonschema::options().offline().build(schema);
        match compiled {
            Ok(validator) => Ok(Self { validator }),
            Err(error) => Err(SchemaError::Invalid(Box::new(error))),
        }
    }

    /// Records what is wrong with a value.
    pub(super) fn check(&self, value: &Value, problems: &mut Vec<Problem>) {
        // Most data is valid, and `is_valid` is cheaper than listing the errors.
        if self.validator.is_valid(value) {
            return;
        }
        for error in self.validator.iter_errors(value) {
            // The message leaves the value out: it is in `data` already, and may be large.
            let message = error.masked();
            let path = error.instance_path().as_str();
            let text = if path.is_empty() {
                message.to_string()
            } else {
                format!("{path}: {message}")
            };
            problems.push(Problem {
                // A `Value` always serialises.
                data: to_raw_value(&**error.instance()).ok(),
                ..Problem::absent(text)
            });
        }
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
