//! Sends requests and replies, and tells the requester the outcome.

use std::{rc::Rc, sync::Arc, time::Duration};

use shared::{
    routing::object_of,
    v1::{Nonce, Refusal, RefusalCode, Rejection, ReplyFailure, payload},
};
use smallvec::smallvec;

use super::{
    V1, V1Actions,
    answers::refusal,
    requests::{ReplyPacket, Requests},
};
use crate::{
    backplane::Publication,
    requests::RequestError,
    session::{Action, Cx},
};

impl V1 {
    /// Sends a request, if the session may have another one in flight.
    pub(super) fn request(&mut self, event: Publication, timeout: Duration, nonce: Nonce, cx: &Cx<'_>) -> V1Actions {
        let requests = self.requests.get_or_insert_with(Box::<Requests>::default);
        if requests.len() >= self.settings.requests_in_flight {
            return self.refuse(nonce, RefusalCode::Overloaded.into(), cx.now);
        }
        let number = requests.begin(nonce);
        smallvec![Action::Count, Action::Request { event, timeout, number }]
    }

    /// Tells the client the outcome of a request.
    pub(super) fn answer_request(
        &mut self,
        name: &str,
        number: u64,
        outcome: Result<Arc<str>, RequestError>,
    ) -> V1Actions {
        let Some(nonce) = self.requests.as_mut().and_then(|requests| requests.end(number)) else {
            return V1Actions::new();
        };
        let answer = match outcome {
            Ok(d) => payload::reply(&nonce, &d),
            Err(RequestError::Failed(failure)) => payload::reply_failed(&nonce, &failure),
            Err(RequestError::Refused(error)) => payload::refused(Some(&nonce), &refusal(name, &error)),
        };
        smallvec![self.send(&answer)]
    }

    /// Passes the reply of the client to the requester. A faulty one is the end of the request too.
    pub(super) fn reply(&mut self, packet: ReplyPacket<'_>, cx: &Cx<'_>) -> V1Actions {
        let ReplyPacket {
            receipt,
            d,
            is_error,
            nonce,
        } = packet;
        let open = receipt.parse().ok().and_then(|receipt| cx.take_request(receipt));
        let Some(open) = open else {
            let mut actions: V1Actions = smallvec![Action::Drop("receipt_over")];
            if let Some(nonce) = nonce {
                self.answer(nonce, Err(RefusalCode::ReceiptOver.into()), &mut actions, cx.now);
            }
            return actions;
        };
        let is_too_large = d.is_some_and(|d| d.get().len() > self.settings.event_bytes);
        let checked = if is_too_large {
            Err(RefusalCode::TooLarge.into())
        } else {
            let settings = Rc::clone(&self.settings);
            let mut table = settings.events.lock();
            // An error has a form of its own, which no schema describes.
            let checked = if is_error {
                object_of(d)
            } else {
                table.current().check_reply(&open.name, d)
            };
            checked.map_err(Refusal::of)
        };
        match (checked, nonce) {
            (Ok(d), nonce) => {
                let d: Arc<str> = d.get().into();
                let reply = if is_error { Err(ReplyFailure::Error(d)) } else { Ok(d) };
                let mut actions = smallvec![Action::Count, Action::Reply(open, reply)];
                if let Some(nonce) = nonce {
                    self.answer(nonce, Ok("{}".to_owned()), &mut actions, cx.now);
                }
                actions
            }
            (Err(refusal), nonce) => {
                let mut actions: V1Actions = smallvec![Action::Reply(open, Err(ReplyFailure::InvalidReply))];
                actions.extend(match nonce {
                    Some(nonce) => self.refuse(nonce, refusal, cx.now),
                    None if is_too_large => self.too_big(),
                    None => self.fail(&Rejection::malformed(refusal.problems)),
                });
                actions
            }
        }
    }
}
