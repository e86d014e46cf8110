//! The sender of a message. A message may carry several ids of its sender, in fields that gateways fill differently;
//! they must agree.

use super::{IgnoreReason, WebhookEvent};
use crate::domain::{
    Phone, Sender,
    subject::{lid_from_jid, phone_from_jid},
};

/// The sender ids of a message, by kind, the most trusted first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct SenderIds {
    phones: Vec<Phone>,
    /// Digits, without `@lid`.
    lids: Vec<String>,
    bsuids: Vec<String>,
}

impl SenderIds {
    /// Adds a JID. Its device is dropped; JIDs of other servers, such as groups, are ignored.
    pub(super) fn jid(mut self, id: &str) -> Self {
        self.phones.extend(phone_from_jid(id));
        self.lids.extend(lid_from_jid(id));
        self
    }

    pub(super) fn phone(mut self, phone: Option<Phone>) -> Self {
        self.phones.extend(phone);
        self
    }

    /// Adds a LID: digits, with or without `@lid`.
    pub(super) fn lid(mut self, id: Option<&str>) -> Self {
        let lid = Sender::new(None, id, None);
        self.lids.extend(lid.lid().map(str::to_owned));
        self
    }

    /// Adds a business-scoped user id; a text of another form is ignored.
    pub(super) fn bsuid(mut self, id: Option<&str>) -> Self {
        let bsuid = Sender::new(None, None, id);
        self.bsuids.extend(bsuid.bsuid().map(str::to_owned));
        self
    }

    /// The sender, or `None` if two ids of one kind differ. Digits that equal the LID are not a phone: some gateways
    /// write the LID into fields that used to hold the phone.
    fn sender(self) -> Option<Sender> {
        let Self { mut phones, lids, bsuids } = self;
        phones.retain(|phone| lids.iter().all(|lid| lid != phone.digits()));
        let agree = all_equal(&phones) && all_equal(&lids) && all_equal(&bsuids);
        let (lid, bsuid) = (lids.first().map(String::as_str), bsuids.first().map(String::as_str));
        agree.then(|| Sender::new(phones.first().cloned(), lid, bsuid))
    }
}

fn all_equal<T: PartialEq>(items: &[T]) -> bool {
    items.windows(2).all(|pair| pair[0] == pair[1])
}

impl WebhookEvent {
    /// Sets the sender. An event with contradicting ids verifies nothing.
    pub(super) fn with_sender(mut self, ids: SenderIds) -> Self {
        if self.from_me {
            return self;
        }
        match ids.sender() {
            Some(sender) => self.sender = sender,
            None => self.ignored = self.ignored.or(Some(IgnoreReason::SendersDiffer)),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sender_of(ids: &[&str]) -> Option<Sender> {
        ids.iter().fold(SenderIds::default(), |all, id| all.jid(id)).sender()
    }

    #[test]
    fn digits_of_the_lid_are_not_a_phone() {
        for phones_server in ["c.us", "s.whatsapp.net", "hosted"] {
            let sender = sender_of(&[&format!("190997547974788:3@{phones_server}"), "190997547974788@lid"]).unwrap();
            assert_eq!((sender.phone.is_none(), sender.lid()), (true, Some("190997547974788")));
        }
    }

    #[test]
    fn different_phones_are_rejected_and_two_spellings_of_one_are_not() {
        assert_eq!(sender_of(&["4477009001233@c.us", "447700900123:3@s.whatsapp.net"]), None);
        let sender = sender_of(&["551187654321@c.us", "5511987654321:3@s.whatsapp.net"]).unwrap();
        assert_eq!(sender.phone.unwrap().e164(), "+551187654321", "spelled as in the most trusted field");
        assert_eq!(sender_of(&["447700900123:99@hosted"]).unwrap().phone.unwrap().e164(), "+447700900123");
    }

    #[test]
    fn a_phone_and_a_user_id_do_not_contradict() {
        let ids = SenderIds::default().phone("447700900123".parse().ok()).bsuid(Some("GB.10000000000001"));
        let sender = ids.sender().unwrap();
        assert!(sender.phone.is_some() && sender.bsuid() == Some("GB.10000000000001"));
        let ids = SenderIds::default().bsuid(Some("GB.10000000000001")).bsuid(Some("GB.10000000000002"));
        assert_eq!(ids.sender(), None);
    }

    proptest! {
        /// The order of the ids does not change the sender, and its phone never has the digits of a LID.
        #[test]
        fn the_order_of_ids_does_not_change_the_sender(ids in prop::collection::vec(("[1-9][0-9]{7}", 0..4_usize), 1..5), turn in 0..5_usize) {
            const SERVERS: [&str; 4] = ["c.us", "s.whatsapp.net", "lid", "g.us"];
            let mut ids: Vec<String> = ids.iter().map(|(user, server)| format!("{user}@{}", SERVERS[*server])).collect();
            let sender = sender_of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
            if let Some(Sender { phone: Some(phone), .. }) = &sender {
                let lid = format!("{}@lid", phone.digits());
                prop_assert!(!ids.contains(&lid));
            }
            let turn = turn % ids.len();
            ids.rotate_left(turn);
            prop_assert_eq!(sender_of(&ids.iter().map(String::as_str).collect::<Vec<_>>()), sender);
        }
    }
}
