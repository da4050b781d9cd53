//! Settings: the rules of their types, their documentation, and the macro that declares both beside the field.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Serialize, de::DeserializeOwned};
use shared::{
    client_type::ClientType,
    routing::{DeliverMode, ReceiverType},
};

/// How the text of an environment variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SettingKind {
    /// Decimal digits.
    Number,
    /// `true` or `false`.
    Switch,
    /// The text itself.
    Text,
    /// Comma-separated texts.
    List,
}

/// A type that a setting can have.
pub(super) trait Setting: Serialize + DeserializeOwned {
    /// How an environment variable spells the value.
    const KIND: SettingKind;
    /// What errors say was expected. For numbers, errors use the unit and range of the field instead.
    const EXPECTED: &'static str;
    /// Whether an empty environment variable clears the value.
    const OPTIONAL: bool = false;
    /// Whether the value must never be shown.
    const SECRET: bool = false;
}

/// Implements [`Setting`] for types that need only a kind and an expectation.
macro_rules! setting {
    ($($type:ty: $kind:ident, $expected:literal;)+) => {
        $(impl $crate::config::setting::Setting for $type {
            const KIND: $crate::config::setting::SettingKind = $crate::config::setting::SettingKind::$kind;
            const EXPECTED: &'static str = $expected;
        })+
    };
}
pub(super) use setting;

setting! {
    u64: Number, "a whole number";
    u32: Number, "a whole number";
    usize: Number, "a whole number";
    bool: Switch, "true or false";
    String: Text, "a string";
    PathBuf: Text, "a path";
    SocketAddr: Text, "an address and port such as 127.0.0.1:8080";
    Vec<String>: List, "a list of strings";
    Vec<IpNet>: List, "a list of networks such as 10.0.0.0/8";
    Vec<ClientType>: List, "a list of bot, website, service";
    Vec<ReceiverType>: List, "a list of bot, website, service, discord";
    DeliverMode: Text, "\"all\", \"any\", { guild = \"/pointer\" } or { user = \"/pointer\" }";
}

impl<T: Setting> Setting for Option<T> {
    const KIND: SettingKind = T::KIND;
    const EXPECTED: &'static str = T::EXPECTED;
    const OPTIONAL: bool = true;
    const SECRET: bool = T::SECRET;
}

/// One setting as the reference, `print-config` and errors describe it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SettingDoc {
    /// The full key, such as `limits.message_bytes`. Fields of a list of tables look like `keys[].id`.
    pub key: String,
    /// The default as TOML; `none` if there is none, `required` if the operator must give a value.
    pub default: String,
    /// What the setting does, with its unit, in one paragraph.
    pub meaning: String,
    /// What a value must be, in the words of errors.
    pub expected: String,
    pub(super) kind: SettingKind,
    pub(super) optional: bool,
    pub(super) required: bool,
    pub(super) secret: bool,
    pub(super) accepts: fn(&serde_json::Value) -> bool,
}

/// A section, or an entry of a list of tables.
pub(super) trait Section {
    /// Appends the documentation of every field, with `prefix` in front of its key.
    fn describe(prefix: &str, out: &mut Vec<SettingDoc>);
}

/// Describes the expected number: its unit, taken from the setting's name, and its range.
pub(super) fn number_words(key: &str, min: Option<u64>, max: Option<u64>) -> String {
    let unit = if key.ends_with("_ms") {
        "a number of milliseconds"
    } else if key.ends_with("_bytes") {
        "a number of bytes"
    } else {
        "a whole number"
    };
    match max {
        Some(max) => format!("{unit} from {} to {max}", min.unwrap_or(0)),
        None => format!("{unit} from {}", min.unwrap_or(0)),
    }
}

/// Returns whether `value` is in the range. Anything but a non-negative integer passes.
pub(super) fn in_range(value: &serde_json::Value, min: Option<u64>, max: Option<u64>) -> bool {
    value
        .as_u64()
        .is_none_or(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max))
}

/// Returns a default as TOML.
pub(super) fn default_text<T: Serialize>(value: &T) -> String {
    toml::Value::try_from(value).map_or_else(|_| "none".to_owned(), |value| value.to_string())
}

/// Declares a section: the documentation, type, default and rules of each field in one place.
///
/// `= value` is the default; the operator must give a value for a field without one. After it may follow, in this
/// order, `from` and `to` (the range of a number), `check` (a predicate on the parsed value) and `expect` (the words of
/// an error, if those of the type do not fit).
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde(rename = $rename:literal)])?
                $field:ident: $type:ty $(= $default:expr)?
                    $(, from $min:literal)?
                    $(, to $max:literal)?
                    $(, check $check:path)?
                    $(, expect $expect:literal)?
                ;
            )+
        }
        $(sections { $( $(#[doc = $sub_doc:literal])+ $sub:ident: $sub_type:ty; )+ })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                ///
                $(#[doc = concat!("Default: `", stringify!($default), "`.")])?
                $(#[serde(rename = $rename)])?
                pub $field: $type,
            )+
            $($( $(#[doc = $sub_doc])+ pub $sub: $sub_type, )+)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: section!(@default $($default)?), )+
                    $($( $sub: <$sub_type>::default(), )+)?
                }
            }
        }

        impl $crate::config::setting::Section for $name {
            fn describe(prefix: &str, out: &mut Vec<$crate::config::setting::SettingDoc>) {
                #[allow(unused_imports, reason = "not every section uses every rule")]
                use $crate::config::setting::{SettingKind, Setting, SettingDoc, default_text, in_range, number_words};
                let defaults = Self::default();
                $({
                    const MIN: Option<u64> = section!(@optional $($min)?);
                    const MAX: Option<u64> = section!(@optional $($max)?);
                    let name = section!(@name $field $($rename)?);
                    let expected: Option<&str> = section!(@optional $($expect)?);
                    let required = section!(@required $($default)?);
                    out.push(SettingDoc {
                        key: format!("{prefix}.{name}"),
                        default: if required { "required".to_owned() } else { default_text(&defaults.$field) },
                        meaning: concat!($($doc),+).trim().to_owned(),
                        expected: match expected {
                            Some(words) => words.to_owned(),
                            None if <$type>::KIND == SettingKind::Number => number_words(name, MIN, MAX),
                            None => <$type>::EXPECTED.to_owned(),
                        },
                        kind: <$type>::KIND,
                        optional: <$type>::OPTIONAL,
                        required,
                        secret: <$type>::SECRET,
                        accepts: |value| {
                            let Ok(parsed) = <$type as serde::Deserialize>::deserialize(value) else {
                                return false;
                            };
                            let _ = &parsed;
                            in_range(value, MIN, MAX) $(&& $check(&parsed))?
                        },
                    });
                })+
                $($( <$sub_type>::describe(&format!("{prefix}.{}", stringify!($sub)), out); )+)?
            }
        }
    };
    (@default $default:expr) => { $default };
    (@default) => { Default::default() };
    (@optional $value:expr) => { Some($value) };
    (@optional) => { None };
    (@required $default:expr) => { false };
    (@required) => { true };
    (@name $field:ident $rename:literal) => { $rename };
    (@name $field:ident) => { stringify!($field) };
}
pub(super) use section;
