//! Who a message is from: all that one message says about it, held against itself.

use super::{Event, Ignored};
use crate::domain::{
    Phone, Sender,
    subject::{lid_of_jid, phone_of_jid},
};

/// What a message names as ids of its sender, the most trusted first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ids {
    phones: Vec<Phone>,
    /// Digits.
    lids: Vec<String>,
    bsuids: Vec<String>,
}

impl Ids {
    /// An id that tells its kind by its server; devices are left out, and other servers name no person.
    pub(super) fn jid(mut self, id: &str) -> Self {
        self.phones.extend(phone_of_jid(id));
        self.lids.extend(lid_of_jid(id));
        self
    }

    pub(super) fn phone(mut self, phone: Option<Phone>) -> Self {
        self.phones.extend(phone);
        self
    }

    /// Digits, with or without a server.
    pub(super) fn lid(mut self, id: Option<&str>) -> Self {
        let lid = Sender::new(None, id, None);
        self.lids.extend(lid.lid().map(str::to_owned));
        self
    }

    /// What does not look like one is left out.
    pub(super) fn bsuid(mut self, id: Option<&str>) -> Self {
        let bsuid = Sender::new(None, None, id);
        self.bsuids.extend(bsuid.bsuid().map(str::to_owned));
        self
    }

    /// One person, or `None` where two ids of one kind differ. Digits that are also the LID are no phone: some
    /// gateways write a LID where the phone used to stand.
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

impl Event {
    /// Names the sender. Ids that contradict each other verify nobody.
    pub(super) fn sent_by(mut self, ids: Ids) -> Self {
        if self.from_me {
            return self;
        }
        match ids.sender() {
            Some(sender) => self.sender = sender,
            None => self.ignored = self.ignored.or(Some(Ignored::SendersDiffer)),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(ids: &[&str]) -> Option<Sender> {
        ids.iter().fold(Ids::default(), |all, id| all.jid(id)).sender()
    }

    #[test]
    fn digits_of_the_lid_are_no_phone() {
        for phones_server in ["c.us", "s.whatsapp.net", "hosted"] {
            let sender = of(&[&format!("190997547974788:3@{phones_server}"), "190997547974788@lid"]).unwrap();
            assert_eq!((sender.phone.is_none(), sender.lid()), (true, Some("190997547974788")));
        }
    }

    #[test]
    fn two_phones_are_nobody_and_two_spellings_are_one() {
        assert_eq!(of(&["4477009001233@c.us", "447700900123:3@s.whatsapp.net"]), None);
        let sender = of(&["551187654321@c.us", "5511987654321:3@s.whatsapp.net"]).unwrap();
        assert_eq!(sender.phone.unwrap().e164(), "+551187654321", "as the most trusted one is spelled");
        assert_eq!(of(&["447700900123:99@hosted"]).unwrap().phone.unwrap().e164(), "+447700900123");
    }

    #[test]
    fn a_phone_and_a_user_id_stand_side_by_side() {
        let ids = Ids::default().phone("447700900123".parse().ok()).bsuid(Some("GB.10000000000001"));
        let sender = ids.sender().unwrap();
        assert!(sender.phone.is_some() && sender.bsuid() == Some("GB.10000000000001"));
        let ids = Ids::default().bsuid(Some("GB.10000000000001")).bsuid(Some("GB.10000000000002"));
        assert_eq!(ids.sender(), None);
    }

    proptest! {
        /// Whatever stands in a message, in whatever order: one phone at most, and never the LID's digits.
        #[test]
        fn order_changes_nobody(ids in prop::collection::vec(("[1-9][0-9]{7}", 0..4_usize), 1..5), turn in 0..5_usize) {
            const SERVERS: [&str; 4] = ["c.us", "s.whatsapp.net", "lid", "g.us"];
            let mut ids: Vec<String> = ids.iter().map(|(user, server)| format!("{user}@{}", SERVERS[*server])).collect();
            let sender = of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
            if let Some(Sender { phone: Some(phone), .. }) = &sender {
                let lid = format!("{}@lid", phone.digits());
                prop_assert!(!ids.contains(&lid));
            }
            let turn = turn % ids.len();
            ids.rotate_left(turn);
            prop_assert_eq!(of(&ids.iter().map(String::as_str).collect::<Vec<_>>()), sender);
        }
    }
}
