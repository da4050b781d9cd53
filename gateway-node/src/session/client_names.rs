//! What clients call themselves.

use std::{cell::RefCell, rc::Rc};

use rustc_hash::FxHashSet;

/// The most names that a worker shares. Further ones are stored for each session.
const NAMES: usize = 1024;
/// The most bytes of a name that are kept.
const NAME_BYTES: usize = 200;

/// What a client calls itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientName {
    /// The header `User-Agent` of its handshake.
    pub user_agent: Option<Box<str>>,
    /// The library in the connection properties of its Identify.
    pub library: Option<Box<str>>,
}

/// The names of the clients of a worker. Each is stored once, for all sessions that have it.
#[derive(Debug, Default)]
pub struct ClientNames(RefCell<FxHashSet<Rc<ClientName>>>);

impl ClientNames {
    /// Returns the shared copy of a name, each part cut to 200 bytes. `None` if both parts are missing or empty.
    pub fn intern(&self, user_agent: Option<&str>, library: Option<&str>) -> Option<Rc<ClientName>> {
        let name = ClientName {
            user_agent: user_agent.and_then(cut),
            library: library.and_then(cut),
        };
        if name == ClientName::default() {
            return None;
        }
        let mut names = self.0.borrow_mut();
        if let Some(known) = names.get(&name) {
            return Some(Rc::clone(known));
        }
        if names.len() >= NAMES {
            names.retain(|name| Rc::strong_count(name) > 1);
        }
        let name = Rc::new(name);
        if names.len() < NAMES {
            names.insert(Rc::clone(&name));
        }
        Some(name)
    }
}

fn cut(text: &str) -> Option<Box<str>> {
    let mut ends = (0..=text.len().min(NAME_BYTES)).rev();
    let end = ends.find(|end| text.is_char_boundary(*end))?;
    let text = &text[..end];
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_stored_once() {
        let names = ClientNames::default();
        let [first, second] = ["a", "a"].map(|name| names.intern(Some(name), None).unwrap());
        assert!(Rc::ptr_eq(&first, &second));
        let other = names.intern(Some("a"), Some("b")).unwrap();
        assert_eq!(
            (other.user_agent.as_deref(), other.library.as_deref()),
            (Some("a"), Some("b"))
        );
        assert_eq!(names.intern(None, Some("")), None);
        let long = names.intern(Some(&"ä".repeat(150)), None).unwrap();
        assert_eq!(long.user_agent.as_ref().map(|name| name.len()), Some(NAME_BYTES));
    }

    #[test]
    fn names_without_a_session_make_room() {
        let names = ClientNames::default();
        let intern = |name: &str| names.intern(Some(name), None).unwrap();
        let kept: Vec<_> = (0..NAMES).map(|number| intern(&number.to_string())).collect();
        assert!(!Rc::ptr_eq(&intern("x"), &intern("x")), "there is no room");
        drop(kept);
        assert!(Rc::ptr_eq(&intern("y"), &intern("y")));
        assert_eq!(names.0.borrow().len(), 1);
    }
}
