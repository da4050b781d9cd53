//! What a setting is: its type's rules, its documentation, and the macro that states both with the field, once.

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
    /// Texts between commas.
    List,
}

/// A type that a setting can have.
pub(super) trait Setting: Serialize + DeserializeOwned {
    /// How the environment spells it.
    const KIND: SettingKind;
    /// What an error says was expected; for numbers the unit and range of the field say more.
    const EXPECTED: &'static str;
    /// Whether an empty environment variable takes the value away.
    const OPTIONAL: bool = false;
    /// Whether the value must never be shown.
    const SECRET: bool = false;
}

/// States the rules of types that need no more than their words.
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
    String: Text, "a text";
    PathBuf: Text, "a path";
    SocketAddr: Text, "an address and port such as 127.0.0.1:8080";
    Vec<String>: List, "a list of texts";
    Vec<IpNet>: List, "a list of networks such as 10.0.0.0/8";
    Vec<ClientType>: List, "a list of bot, website, service";
    Vec<ReceiverType>: List, "a list of bot, website, service, discord";
    DeliverMode: Text, "\"all\", \"any\" or { guild = \"/pointer\" }";
}

impl<T: Setting> Setting for Option<T> {
    const KIND: SettingKind = T::KIND;
    const EXPECTED: &'static str = T::EXPECTED;
    const OPTIONAL: bool = true;
    const SECRET: bool = T::SECRET;
}

/// One setting as the reference, `print-config` and error lines describe it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SettingDoc {
    /// The full key, such as `limits.message_bytes`; fields of a list of tables are `keys[].id`.
    pub key: String,
    /// The default as TOML, `none` where there is none, `required` where the operator must give one.
    pub default: String,
    /// What it does, with its unit; one paragraph.
    pub meaning: String,
    /// What a value must be, as error lines say it.
    pub expected: String,
    pub(super) kind: SettingKind,
    pub(super) optional: bool,
    pub(super) required: bool,
    pub(super) secret: bool,
    pub(super) accepts: fn(&serde_json::Value) -> bool,
}

/// A section, or the entries of a list of tables.
pub(super) trait Section {
    /// Adds the documentation of every field, each key after `prefix`.
    fn describe(prefix: &str, out: &mut Vec<SettingDoc>);
}

/// The words for a number, from the unit in its name and its range.
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

/// Whether the number `value` is in the range; anything else has none.
pub(super) fn in_range(value: &serde_json::Value, min: Option<u64>, max: Option<u64>) -> bool {
    value
        .as_u64()
        .is_none_or(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max))
}

/// A default as TOML.
pub(super) fn default_text<T: Serialize>(value: &T) -> String {
    toml::Value::try_from(value).map_or_else(|_| "none".to_owned(), |value| value.to_string())
}

/// Declares a section: for every field its documentation, type, default and rules, in one place.
///
/// `= value` is the default; a field without one must be given by the operator. After it may come `from` and `to` (the range of a
/// number), `check` (a function of the parsed value) and `expect` (the words of an error, where the type's own do not do).
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
                #[allow(unused_imports, reason = "not every section has every rule")]
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
