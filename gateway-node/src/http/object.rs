//! JSON objects in request bodies.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that must be a JSON object. A struct on its own would also be read from an array of its fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body<'a> {
        t: String,
        #[serde(borrow)]
        d: &'a RawValue,
    }

    #[test]
    fn only_objects_are_read() {
        let Object(Body { t, d }) = serde_json::from_str(r#"{"d":{"a": 1.0},"t":"x"}"#).unwrap();
        assert_eq!((&*t, d.get()), ("x", r#"{"a": 1.0}"#));
        for wrong in [r#"["x",{}]"#, "null", "\"x\"", "{}"] {
            assert!(serde_json::from_str::<Object<Body<'_>>>(wrong).is_err(), "{wrong}");
        }
    }
}
