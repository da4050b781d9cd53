//! Request bodies, read only for a valid key and within limits.

use std::{collections::HashMap, ops::Deref, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest,
    http::header,
    web::{BufMut as _, Bytes, BytesMut, Payload},
};
use futures_util::StreamExt as _;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout_at};

use super::{ApiError, admit::accept_body};
use crate::{auth::Key, config::HttpSettings};

/// Limits on request bodies.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Base time to receive a body.
    pub timeout: Duration,
    /// Received bytes that extend the time by one second.
    pub bytes_per_second: u64,
    /// Maximum bytes of all bodies together.
    pub bytes: usize,
    /// Maximum bytes of all bodies of one key.
    pub bytes_per_key: usize,
    /// Maximum bytes of one body.
    pub request_bytes: usize,
}

impl From<&HttpSettings> for BodyLimits {
    fn from(settings: &HttpSettings) -> Self {
        Self {
            timeout: Duration::from_millis(settings.body_timeout_ms),
            bytes_per_second: settings.body_bytes_per_second,
            bytes: settings.body_bytes,
            bytes_per_key: settings.body_bytes_per_key,
            request_bytes: settings.request_bytes,
        }
    }
}

/// The bodies that the node holds in memory. Clones share their counts.
#[derive(Debug, Clone)]
pub struct Bodies(Arc<BodiesInner>);

#[derive(Debug)]
struct BodiesInner {
    limits: BodyLimits,
    held: Mutex<HeldBytes>,
}

#[derive(Debug, Default)]
struct HeldBytes {
    bytes: usize,
    by_key: HashMap<Arc<str>, usize>,
}

/// Bytes charged for a body, released on drop.
#[derive(Debug)]
struct BodyCharge {
    bodies: Bodies,
    key: Arc<str>,
    bytes: usize,
}

/// A complete body. Its bytes stay charged until it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    _charge: BodyCharge,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Bodies {
    /// Creates empty counts.
    pub fn new(limits: BodyLimits) -> Self {
        let held = Mutex::default();
        Self(Arc::new(BodiesInner { limits, held }))
    }

    /// Returns the number of bytes held.
    pub fn bytes(&self) -> usize {
        self.held().bytes
    }

    /// Reads the body of a request made with this key. The declared length is charged before the first byte is read.
    ///
    /// # Errors
    /// 413 if the body is too large, 429 or 503 if the key or the node already holds its maximum, 408 if the body
    /// arrives too slowly, 400 if it ends early.
    pub(super) async fn read(&self, request: &HttpRequest, mut payload: Payload, key: &Key) -> Result<Body, ApiError> {
        let (most, setting) = self.0.limits.most();
        let too_large = || ApiError::TooLarge(format!("a request may have {most} bytes, as `{setting}` says"));
        let declared = declared(request).unwrap_or(0);
        if declared > most {
            return Err(too_large());
        }
        let mut charge = self.charge(key.shared_id(), declared)?;
        accept_body(request);
        let (begun, mut bytes) = (Instant::now(), BytesMut::with_capacity(declared));
        loop {
            let deadline = begun + self.0.limits.allowed(bytes.len());
            let chunk = match timeout_at(deadline, payload.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(ApiError::Malformed("the body did not arrive whole".to_owned())),
                Err(_) => return Err(ApiError::BodyTimeout),
            };
            let length = bytes.len() + chunk.len();
            if length > most {
                return Err(too_large());
            }
            charge.grow_to(length)?;
            bytes.put(chunk);
        }
        Ok(Body {
            bytes: bytes.freeze(),
            _charge: charge,
        })
    }

    fn charge(&self, key: &Arc<str>, bytes: usize) -> Result<BodyCharge, ApiError> {
        let mut charge = BodyCharge {
            bodies: self.clone(),
            key: Arc::clone(key),
            bytes: 0,
        };
        charge.grow_to(bytes)?;
        Ok(charge)
    }

    fn held(&self) -> MutexGuard<'_, HeldBytes> {
        self.0.held.lock()
    }
}

impl BodyLimits {
    /// Returns the maximum size of one body and the setting that decides it. This is the smallest of all limits,
    /// because a body beyond any of them could never succeed, however often it is sent.
    fn most(&self) -> (usize, &'static str) {
        let limits = [
            (self.request_bytes, "http.request_bytes"),
            (self.bytes_per_key, "http.body_bytes_per_key"),
            (self.bytes, "http.body_bytes"),
        ];
        limits.into_iter().min_by_key(|(bytes, _)| *bytes).unwrap_or(limits[0])
    }

    /// Returns the time that a body may take once this many bytes have arrived.
    fn allowed(&self, bytes: usize) -> Duration {
        let earned_ms = (bytes as u64).saturating_mul(1000) / self.bytes_per_second;
        self.timeout + Duration::from_millis(earned_ms)
    }
}

impl BodyCharge {
    /// Raises the charge to this many bytes.
    fn grow_to(&mut self, bytes: usize) -> Result<(), ApiError> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let limits = &self.bodies.0.limits;
        let mut held = self.bodies.held();
        let of_key = held.by_key.get(&self.key).copied().unwrap_or(0);
        if more > limits.bytes_per_key.saturating_sub(of_key) {
            return Err(ApiError::BodiesOfKey);
        }
        if more > limits.bytes.saturating_sub(held.bytes) {
            return Err(ApiError::BodiesOfNode);
        }
        held.bytes += more;
        held.by_key.insert(Arc::clone(&self.key), of_key + more);
        drop(held);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for BodyCharge {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.bodies.held();
        held.bytes -= self.bytes;
        if let Some(of_key) = held.by_key.get_mut(&self.key) {
            *of_key -= self.bytes;
            if *of_key == 0 {
                held.by_key.remove(&self.key);
            }
        }
    }
}

/// Returns the declared length of a request's body.
fn declared(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(BodyLimits {
            timeout: Duration::from_secs(10),
            bytes_per_second: 100,
            bytes: 100,
            bytes_per_key: 60,
            request_bytes: 70,
        })
    }

    #[test]
    fn bodies_are_charged_to_their_key_and_to_the_node() {
        let bodies = bodies();
        let [one, other]: [Arc<str>; 2] = ["one".into(), "other".into()];
        let mut first = bodies.charge(&one, 50).unwrap();
        assert!(matches!(bodies.charge(&one, 11), Err(ApiError::BodiesOfKey)));
        let second = bodies.charge(&other, 50).unwrap();
        assert!(matches!(bodies.charge(&other, 1), Err(ApiError::BodiesOfNode)));
        assert_eq!(bodies.bytes(), 100);
        drop(second);
        first.grow_to(60).unwrap();
        first.grow_to(20).unwrap();
        assert!(matches!(first.grow_to(61), Err(ApiError::BodiesOfKey)));
        assert_eq!(bodies.bytes(), 60);
        drop(first);
        assert_eq!((bodies.bytes(), bodies.held().by_key.len()), (0, 0));
    }

    #[test]
    fn the_smallest_limit_of_a_body_is_named() {
        let limits = bodies().0.limits;
        assert_eq!(limits.most(), (60, "http.body_bytes_per_key"));
        let limits = BodyLimits {
            request_bytes: 60,
            ..limits
        };
        assert_eq!(limits.most(), (60, "http.request_bytes"));
        assert_eq!(BodyLimits { bytes: 50, ..limits }.most(), (50, "http.body_bytes"));
    }

    #[test]
    fn a_body_that_keeps_arriving_gets_more_time() {
        let limits = bodies().0.limits;
        assert_eq!(limits.allowed(0), Duration::from_secs(10));
        assert_eq!(limits.allowed(250), Duration::from_millis(12_500));
    }
}
