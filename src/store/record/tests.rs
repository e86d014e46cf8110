//! Records of this and of earlier versions are read; damaged ones are refused.

use std::fmt::Write as _;

use super::*;
use crate::{
    domain::{
        Channel, NewVerification, Reason, Sender, Subject,
        approval::Approval,
        binding::{Binding, WhatsAppDevice},
        link::{Completion, LoginProgress, Proof, Redemption},
        oidc::{Authorization, ClaimScopes, ResponseMode, ReturnAddress},
        otp::CodeFormat,
        risk::Risk,
        timeline::{TimelineEntry, TimelineEvent},
    },
    store::RecordId,
};

/// The name, id and bytes of records as the first version of their format wrote them. Lines are only ever added: every
/// later version must read them all.
const GOLDEN: &str = include_str!("golden.txt");

fn keys() -> KeyRing {
    KeyRing::new(&[[7; 32]]).unwrap()
}

fn birth(place: u8) -> NewVerification {
    let now = from_millis(1_795_168_830_123);
    NewVerification {
        id: VerificationId::new(1_795_168_830_120, [place; 10]),
        instance: InstanceId::from_random([1; 16]),
        key: keys().current_id(),
        nonce: [3; 16],
        created_at: now,
        expires_at: now + std::time::Duration::from_secs(300),
        max_attempts: 5,
    }
}

fn pending() -> Verification<Link> {
    Verification::link(birth(1), 14, Request { name: "Acme".to_owned(), lang: "en".to_owned(), ..Request::default() })
}

/// A record with every field of a request.
fn rich() -> Verification<Link> {
    let text = |text: &str| Some(text.to_owned());
    let request = Request {
        name: "Acme".to_owned(),
        lang: "de".to_owned(),
        chat: Some("+447700900123".parse().unwrap()),
        texts: Texts { prompt: text("p"), success: text("s"), failed: text("f"), expired: text("e"), code: text("c") },
        callbacks: Callbacks { success: text("https://s"), failed: text("https://f"), expired: text("https://e") },
        link: text("https://l"),
        redirect_url: text("https://r"),
        challenge: text("challenge"),
        completion: Some(Mode::SameBrowser),
        purpose: text("login"),
        client_ref: text("ref"),
        metadata: text("{}"),
        state: text("state"),
        client_ip: text("192.0.2.1"),
        user_agent: text("agent"),
        qr: true,
        renews: Some(VerificationId::from_bytes([9; 16])),
        renewals: 2,
        ..Request::default()
    };
    let mut record = Verification::link(birth(2), 14, request);
    let browser = Digest::from_bytes([5; 16]);
    record.details.binding = Some(Binding {
        browser,
        whatsapp_device: WhatsAppDevice::Other,
        ip: text("192.0.2.2"),
        user_agent: None,
        automatic: false,
    });
    record
}

fn finished() -> Verification<Link> {
    let mut record = pending();
    record.id = birth(3).id;
    record.attempts = 1;
    let phone: crate::domain::Phone = "447700900123".parse().unwrap();
    let at = record.created_at + std::time::Duration::from_millis(9_001);
    record.details.state = LinkState::Verified {
        at,
        proof: Some(Proof {
            subject: Subject::Phone(phone.clone()),
            sender: Sender::new(Some(phone), None, None),
            push_name: Some("Ann".to_owned()),
        }),
        completion: Completion::Redeemed { at, by: None },
    };
    let reason = Some(crate::domain::Reason::CodeWrong);
    record.timeline.push(TimelineEntry::new(at, TimelineEvent::Verified { edited: false, unbound: false }, reason));
    record
}

/// As written when codes had the length of a link's code, too: what is not known is kept.
fn sent() -> Verification<SentCode> {
    let shape = CodeFormat { length: 6, letters: false, digits: true, upper_case: false };
    let otp = Delivery::new(shape, vec![Channel::WhatsApp, Channel::Sms], None, birth(4).created_at);
    let mut record = Verification::code(birth(4), otp, Request::default());
    record.details.state = CodeState::Sent { at: record.created_at };
    record.unknown = vec![number::CODE_LENGTH, 1, 14];
    record
}

/// A record with all that documents consent.
fn disputed() -> Verification<Link> {
    let mut record = finished();
    record.id = birth(5).id;
    (record.request.final_expiry, record.request.exact) = (true, true);
    record.details.prefilled = Some(Digest::from_bytes([6; 16]));
    record.details.risk = Some(Risk {
        same_network: Some(true),
        same_country: Some(false),
        same_device: None,
        started_country: Some("DE".to_owned()),
        finished_country: Some("FR".to_owned()),
    });
    let browser = Digest::from_bytes([5; 16]);
    record.details.binding =
        Some(Binding { browser, whatsapp_device: WhatsAppDevice::Other, ip: None, user_agent: None, automatic: true });
    record.details.text_changed = true;
    if let LinkState::Verified { at, completion, .. } = &mut record.details.state {
        *completion = Completion::Disputed { at: *at, after: LoginProgress::Redeemed };
    }
    record
}

/// A login of the OpenID provider, whose code was used twice.
fn revoked() -> Verification<Link> {
    let mut record = finished();
    record.id = birth(6).id;
    let text = |text: &str| Some(text.to_owned());
    record.request.completion = Some(Mode::SameBrowser);
    record.request.authorization = Some(Authorization {
        client: "shop".to_owned(),
        to: ReturnAddress {
            redirect_uri: "https://shop.example.org/in".to_owned(),
            mode: ResponseMode::FormPost,
            state: text("state"),
        },
        scopes: ClaimScopes { phone: true, profile: true },
        nonce: text("nonce"),
        challenge: text("challenge"),
        allow_hidden: true,
    });
    if let LinkState::Verified { at, completion, .. } = &mut record.details.state {
        let (token, until) = (Some(Digest::from_bytes([8; 16])), *at + std::time::Duration::from_secs(60));
        *completion =
            Completion::Redeemed { at: *at, by: Some(Redemption { token, claim: None, until, revoked: true }) };
    }
    record
}

/// An approval that the person rejected.
fn rejected() -> Verification<Link> {
    let mut record = pending();
    record.id = birth(7).id;
    record.request.approval = Some(Approval {
        approve: "Yes".to_owned(),
        reject: "No".to_owned(),
        description: Some("From a new device".to_owned()),
        footer: None,
    });
    let at = record.created_at + std::time::Duration::from_millis(9_001);
    record.details.state = LinkState::Failed { at, reason: Reason::Rejected };
    record
}

fn records() -> [(&'static str, Verification); 7] {
    [
        ("pending", pending().into_any()),
        ("rich", rich().into_any()),
        ("finished", finished().into_any()),
        ("sent", sent().into_any()),
        ("disputed", disputed().into_any()),
        ("revoked", revoked().into_any()),
        ("rejected", rejected().into_any()),
    ]
}

fn golden() -> impl Iterator<Item = (&'static str, RecordId, Vec<u8>)> {
    GOLDEN.lines().map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let (name, id) = (word(), word().parse::<VerificationId>().unwrap());
        let hex = word().as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16));
        (name, id.into(), hex.collect::<Result<_, _>>().unwrap())
    })
}

#[test]
fn what_the_first_version_wrote_is_read() {
    let keys = keys();
    assert_eq!(golden().count(), records().len());
    for ((name, id, bytes), (expected, record)) in golden().zip(records()) {
        assert_eq!(name, expected);
        let stored = StoredRecord { id, version: 1, bytes };
        assert_eq!(decode(&keys, &stored).unwrap(), record, "{name}");
        let format = match name {
            "revoked" => FORMAT_OIDC,
            "rejected" => FORMAT_APPROVAL,
            _ => FORMAT,
        };
        assert_eq!(stored.bytes[0], format, "{name}");
        let plain = keys.open(&context(id.into()), &stored.bytes[1..]).unwrap();
        let fields = |bytes: &[u8]| FieldMap::read(bytes).map(FieldMap::rest);
        assert_eq!(fields(&plain), fields(&write(&record)), "{name} is still written so");
        assert!(plain == write(&record) || !record.unknown.is_empty(), "{name} is still written in this order");
    }
}

#[test]
fn fields_of_a_later_version_survive_a_write_by_this_one() {
    let mut plain = write(&pending());
    plain.extend([200, 3, 1, 2, 3, 201, 0]);
    let mut record = read(pending().id, &plain).unwrap();
    assert_ne!(record, pending().into_any());
    record.attempts = 2;
    let again = FieldMap::read(&write(&record))
        .map(|mut fields| (fields.bytes(200).map(<[u8]>::to_vec), fields.bytes(201).is_some()));
    assert_eq!(again, Some((Some(vec![1, 2, 3]), true)));
}

#[test]
fn names_in_the_timeline_come_back_and_cost_nothing_where_there_are_none() {
    let keys = keys();
    let mut record = finished();
    record.attribute(1, "operator:alice");
    let mut born = pending();
    born.attribute(0, "token:shop");
    for named in [&record, &born] {
        let stored = StoredRecord { id: named.id.into(), version: 1, bytes: encode(&keys, named) };
        assert_eq!(decode(&keys, &stored).unwrap(), named.clone().into_any());
    }
    assert_eq!(record.timeline[0].by, None);
    assert_eq!(write(&born).len() - write(&pending()).len(), 2 + 2 + "token:shop".len());
}

#[test]
fn another_format_or_place_or_a_cut_is_refused() {
    let (keys, record) = (keys(), pending());
    let stored = StoredRecord { id: record.id.into(), version: 1, bytes: encode(&keys, &record) };
    assert_eq!(decode(&keys, &stored).unwrap(), record.clone().into_any());
    let mut later = stored.clone();
    later.bytes[0] = FORMAT_APPROVAL + 1;
    let moved = StoredRecord { id: RecordId::new([1; 16]), ..stored.clone() };
    assert!(matches!(decode(&keys, &later), Err(StoreError::Corrupt(_))));
    assert!(matches!(decode(&keys, &moved), Err(StoreError::Sealed(_))));
    let plain = write(&finished());
    for cut in 0..plain.len() {
        let _ = read(record.id, &plain[..cut]);
    }
    assert_eq!(read(record.id, &plain[..plain.len() - 1]), None);
}

#[test]
fn a_usual_record_is_small() {
    assert!(write(&pending()).len() <= 72, "{}", write(&pending()).len());
}

#[test]
#[ignore = "writes the lines of golden.txt"]
fn write_golden() {
    for (name, record) in records() {
        let mut hex = String::new();
        for byte in encode(&keys(), &record) {
            write!(hex, "{byte:02x}").unwrap();
        }
        println!("{name} {} {hex}", record.id);
    }
}
