//! What a worker says about its jobs.

use std::time::Duration;

use shared::v1::{Nonce, RefusalCode, Verdict};
use smallvec::smallvec;
use tokio::time::Instant;

use super::{V1, V1Actions};
use crate::{
    backplane::{Settlement, Unavailable},
    session::Action,
};

impl V1 {
    /// Passes the verdict of a worker to the backplane.
    pub(super) fn settle(&mut self, receipt: &str, verdict: Verdict, nonce: Option<Nonce>, now: Instant) -> V1Actions {
        let Ok(delivery) = receipt.parse() else {
            let mut actions: V1Actions = smallvec![Action::Drop("receipt_over")];
            if let Some(nonce) = nonce {
                self.answer(nonce, Err(RefusalCode::ReceiptOver.into()), &mut actions, now);
            }
            return actions;
        };
        let settlement = match verdict {
            Verdict::Ack => Settlement::Ack,
            Verdict::Nack { delay_ms } => Settlement::Nack {
                delay: delay_ms.map(|ms| Duration::from_millis(ms.into())),
            },
        };
        let mut actions = smallvec![
            Action::Count,
            Action::Settle {
                delivery,
                settlement,
                number: nonce.map_or(0, |nonce| self.answers().expect(nonce)),
            }
        ];
        self.slow_down(&mut actions, now);
        actions
    }

    /// Tells a worker whether its verdict has had an effect.
    pub(super) fn answer_settlement(&mut self, number: u64, result: Result<bool, Unavailable>) -> V1Actions {
        let outcome = match result {
            Ok(true) => Ok("{}".to_owned()),
            Ok(false) => Err(RefusalCode::ReceiptOver.into()),
            Err(Unavailable) => Err(RefusalCode::Unavailable.into()),
        };
        let mut actions = V1Actions::new();
        if matches!(result, Ok(false)) {
            actions.push(Action::Drop("receipt_over"));
        }
        if number > 0 {
            self.answers().settle(number, outcome);
            self.send_answers(&mut actions);
        }
        actions
    }
}
