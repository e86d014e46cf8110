//! Delivery status of the messages that carry a code, and the fallback to the next channel.

use super::{ChannelMessage, CodeState, CodeVerdict, DeliveryReport, MessageStatus, SentCode};
use crate::domain::{
    DeliveryFailure, Event, Reason, TimelineEvent,
    decision::{Decision, Effect, Transition},
};

impl Transition<SentCode> {
    pub(super) fn apply_report(self, message: usize, report: DeliveryReport) -> Decision<SentCode> {
        match report {
            DeliveryReport::Accepted => self.advance(message, MessageStatus::Accepted),
            DeliveryReport::Delivered => self.advance(message, MessageStatus::Delivered),
            DeliveryReport::Undelivered(failure) => self.undelivered(message, failure),
            DeliveryReport::Unknown(failure) => self.unknown(message, failure),
        }
    }

    pub(super) fn queue_message(&mut self, message: ChannelMessage) {
        self.effects.push(Effect::SendCode { message: self.next.details.delivery.messages.len() });
        self.next.details.delivery.messages.push(message);
    }

    /// However many channels and reports there are, the app gets at most one report of each kind per send, in order.
    fn advance(mut self, index: usize, status: MessageStatus) -> Decision<SentCode> {
        let code = &mut self.next.details;
        let Some(message) = code.delivery.messages.get_mut(index) else { return self.unchanged(CodeVerdict::Refused) };
        let news = match message.status {
            MessageStatus::Queued | MessageStatus::Unknown => true,
            MessageStatus::Accepted => status == MessageStatus::Delivered,
            MessageStatus::Delivered | MessageStatus::Failed => false,
        };
        if !news {
            return self.unchanged(CodeVerdict::Unchanged);
        }
        message.status = status;
        let ChannelMessage { send, channel, .. } = *message;
        if code.state == CodeState::Pending {
            code.state = CodeState::Sent { at: self.now };
        }
        let sent = code.delivery.mark_sent(send);
        let delivered = status == MessageStatus::Delivered && code.delivery.mark_delivered(send);
        if sent {
            self.next.add_event(self.now, TimelineEvent::Sent(channel), None);
            self.effects.push(Effect::CallbackForSend { event: Event::CodeSent, send });
        }
        if delivered {
            self.next.add_event(self.now, TimelineEvent::Delivered(channel), None);
            self.effects.push(Effect::CallbackForSend { event: Event::CodeDelivered, send });
        }
        self.changed(CodeVerdict::Unchanged)
    }

    /// Switches to the next channel unless a later send exists or this message was already replaced. If every message
    /// failed and no channel is left, the verification ends.
    fn undelivered(mut self, index: usize, failure: DeliveryFailure) -> Decision<SentCode> {
        let (now, expired) = (self.now, self.is_expired());
        let otp = &mut self.next.details.delivery;
        let latest = otp.send();
        let Some(message) = otp.messages.get_mut(index) else { return self.unchanged(CodeVerdict::Refused) };
        let replaced = match message.status {
            MessageStatus::Failed | MessageStatus::Delivered => return self.unchanged(CodeVerdict::Unchanged),
            MessageStatus::Unknown => true,
            MessageStatus::Queued | MessageStatus::Accepted => false,
        };
        message.status = MessageStatus::Failed;
        let ChannelMessage { send, channel, .. } = *message;
        let lost = otp.messages.iter().all(|message| message.status == MessageStatus::Failed);
        let next = otp.next_channel(channel).filter(|_| send == latest && !expired && !replaced);
        let reason = Reason::ReplyUndeliverable;
        self.next.add_event(now, TimelineEvent::NotDelivered(channel, failure), Some(reason));
        match next {
            Some(channel) => self.queue_message(ChannelMessage::queued(send, channel)),
            None if lost && !expired => return self.fail(reason),
            None => {}
        }
        self.changed(CodeVerdict::Unchanged)
    }

    /// Switches to the next channel as well. Without one, the verification waits for the person to type the code.
    fn unknown(mut self, index: usize, failure: DeliveryFailure) -> Decision<SentCode> {
        let (now, expired) = (self.now, self.is_expired());
        let otp = &mut self.next.details.delivery;
        let latest = otp.send();
        let Some(message) = otp.messages.get_mut(index) else { return self.unchanged(CodeVerdict::Refused) };
        if message.status != MessageStatus::Queued {
            return self.unchanged(CodeVerdict::Unchanged);
        }
        message.status = MessageStatus::Unknown;
        let ChannelMessage { send, channel, .. } = *message;
        let next = otp.next_channel(channel).filter(|_| send == latest && !expired);
        self.next.add_event(now, TimelineEvent::PerhapsSent(channel, failure), None);
        if let Some(channel) = next {
            self.queue_message(ChannelMessage::queued(send, channel));
        }
        self.changed(CodeVerdict::Unchanged)
    }
}
