//! JSON Schemas.
//!
//! The validator is generic, so it is compiled with the crate that names its type. This crate exists to be that one:
//! the release profile optimises it for size, which saves more than a megabyte.

use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
}

/// The error for a schema that does not compile, or that refers to another document, which is never fetched.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidSchema(Box<jsonschema::ValidationError<'static>>);

/// What is wrong with a value.
#[derive(Debug)]
pub struct Violation {
    /// The path of the part that is wrong, and why. Without that part, which may be large.
    pub message: String,
    /// The part that is wrong.
    pub data: Option<Box<RawValue>>,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When the schema is invalid.
    pub fn compile(schema: &Value) -> Result<Self, InvalidSchema> {
        // A schema must not make the node fetch URLs.
        match jsonschema::options().offline().build(schema) {
            Ok(validator) => Ok(Self { validator }),
            Err(error) => Err(InvalidSchema(Box::new(error))),
        }
    }

    /// Whether a value is valid. Faster than listing the violations.
    pub fn is_valid(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Lists what is wrong with a value.
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.validator.iter_errors(value).map(|error| {
            let message = error.masked();
            let path = error.instance_path().as_str();
            Violation {
                message: if path.is_empty() {
                    message.to_string()
                } else {
                    format!("{path}: {message}")
                },
                // A `Value` always serialises.
                data: to_raw_value(&**error.instance()).ok(),
            }
        });
        errors.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_violation_names_the_part_that_is_wrong() {
        let schema = Schema::compile(&json!({"properties": {"text": {"maxLength": 3}}})).unwrap();
        assert!(schema.is_valid(&json!({"text": "abc"})));
        let violations = schema.violations(&json!({"text": "abcd"}));
        let [violation] = violations.as_slice() else {
            panic!("{violations:?}");
        };
        assert!(violation.message.starts_with("/text: "), "{violation:?}");
        assert_eq!(violation.data.as_ref().unwrap().get(), "\"abcd\"");
    }

    #[test]
    fn a_schema_that_refers_to_another_document_is_invalid() {
        let error = Schema::compile(&json!({"$ref": "http://127.0.0.1:1/schema.json"})).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
