//! Delivery status of the messages that carry a code, and the fallback to the next channel.

use super::{CodeState, CodeVerdict, DeliveryReport, Fate, Leg, SentCode};
use crate::domain::{
    DeliveryFailure, Event, Reason, TimelineEvent,
    decision::{Decision, Draft, Effect},
};

impl Draft<SentCode> {
    pub(super) fn reported(self, leg: usize, report: DeliveryReport) -> Decision<SentCode> {
        match report {
            DeliveryReport::Accepted => self.arrived(leg, Fate::Accepted),
            DeliveryReport::Delivered => self.arrived(leg, Fate::Delivered),
            DeliveryReport::Undelivered(why) => self.undelivered(leg, why),
            DeliveryReport::Unknown(why) => self.unknown(leg, why),
        }
    }

    pub(super) fn queue(&mut self, leg: Leg) {
        self.effects.push(Effect::Code { leg: self.next.kind.otp.legs.len() });
        self.next.kind.otp.legs.push(leg);
    }

    /// However many channels and reports there are, the app gets at most one report of each kind per send, in order.
    fn arrived(mut self, index: usize, fate: Fate) -> Decision<SentCode> {
        let code = &mut self.next.kind;
        let Some(leg) = code.otp.legs.get_mut(index) else { return self.unchanged(CodeVerdict::Refused) };
        let news = match leg.fate {
            Fate::Queued | Fate::Unknown => true,
            Fate::Accepted => fate == Fate::Delivered,
            Fate::Delivered | Fate::Failed => false,
        };
        if !news {
            return self.unchanged(CodeVerdict::Unchanged);
        }
        leg.fate = fate;
        let Leg { send, channel, .. } = *leg;
        if code.state == CodeState::Pending {
            code.state = CodeState::Sent { at: self.now };
        }
        let sent = code.otp.tell_sent(send);
        let delivered = fate == Fate::Delivered && code.otp.tell_delivered(send);
        if sent {
            self.next.note(self.now, TimelineEvent::Sent(channel), None);
            self.effects.push(Effect::CallbackOfSend { event: Event::CodeSent, send });
        }
        if delivered {
            self.next.note(self.now, TimelineEvent::Delivered(channel), None);
            self.effects.push(Effect::CallbackOfSend { event: Event::CodeDelivered, send });
        }
        self.changed(CodeVerdict::Unchanged)
    }

    /// Switches to the next channel unless a later send exists or this message was already replaced. If every message
    /// failed and no channel is left, the verification ends.
    fn undelivered(mut self, index: usize, why: DeliveryFailure) -> Decision<SentCode> {
        let (now, expired) = (self.now, self.is_expired());
        let otp = &mut self.next.kind.otp;
        let latest = otp.send();
        let Some(leg) = otp.legs.get_mut(index) else { return self.unchanged(CodeVerdict::Refused) };
        let replaced = match leg.fate {
            Fate::Failed | Fate::Delivered => return self.unchanged(CodeVerdict::Unchanged),
            Fate::Unknown => true,
            Fate::Queued | Fate::Accepted => false,
        };
        leg.fate = Fate::Failed;
        let Leg { send, channel, .. } = *leg;
        let lost = otp.legs.iter().all(|leg| leg.fate == Fate::Failed);
        let next = otp.next_channel(channel).filter(|_| send == latest && !expired && !replaced);
        let reason = Reason::ReplyUndeliverable;
        self.next.note(now, TimelineEvent::NotDelivered(channel, why), Some(reason));
        match next {
            Some(channel) => self.queue(Leg::queued(send, channel)),
            None if lost && !expired => return self.fail(reason),
            None => {}
        }
        self.changed(CodeVerdict::Unchanged)
    }

    /// Switches to the next channel as well. Without one, the verification waits for the person to type the code.
    fn unknown(mut self, index: usize, why: DeliveryFailure) -> Decision<SentCode> {
        let (now, expired) = (self.now, self.is_expired());
        let otp = &mut self.next.kind.otp;
        let latest = otp.send();
        let Some(leg) = otp.legs.get_mut(index) else { return self.unchanged(CodeVerdict::Refused) };
        if leg.fate != Fate::Queued {
            return self.unchanged(CodeVerdict::Unchanged);
        }
        leg.fate = Fate::Unknown;
        let Leg { send, channel, .. } = *leg;
        let next = otp.next_channel(channel).filter(|_| send == latest && !expired);
        self.next.note(now, TimelineEvent::PerhapsSent(channel, why), None);
        if let Some(channel) = next {
            self.queue(Leg::queued(send, channel));
        }
        self.changed(CodeVerdict::Unchanged)
    }
}
