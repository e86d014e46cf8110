//! What is counted: the work of a login between its reads and writes.

use std::hint::black_box;

use anyhow::{Context as _, ensure};
use countersign::{
    app,
    config::ConfigFiles,
    domain::{
        Event, InstanceId, KeyRing, Language, NewVerification, Phone, Request, Sender, StateMachine as _, Verification,
        VerificationId,
        code::LinkCode,
        link::{Link, LinkCommand, MessageChecks},
        message_codes::find_codes,
        standard_webhooks,
        template::{self, Values},
        time::from_millis,
        token::TokenKind,
        whatsapp,
    },
    http::qr,
    service::{callback, link_request},
    store::{StoredRecord, record},
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::gateways;

const MILLIS: i64 = 1_795_168_830_123;
const CODE_LENGTH: u8 = 14;
const CONFIG: &str = r#"
public_url = "https://wa.example.org"
key = "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU="
[store]
url = "embedded:/nonexistent"
[[instance]]
id = "5f0c2a90-0000-4000-8000-000000000001"
name = "Harbour"
number = "+447700900999"
tokens = ["sha256:0000000000000000000000000000000000000000000000000000000000000000"]
callback_secrets = ["whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc="]
callback_url = "https://app.example.org/callback"
[instance.gateway]
kind = "waha"
url = "http://127.0.0.1:1"
api_key = "waha-api-key-0123456789"
webhook_secret = "waha-hmac-key-0123456789abcdef"
"#;

/// One path.
pub(crate) struct Work {
    pub(crate) name: String,
    /// So many that what differs between two starts is nothing beside them.
    pub(crate) passes: u32,
    pub(crate) pass: Box<dyn Fn()>,
}

fn work<T>(name: impl Into<String>, pass: impl Fn() -> T + 'static) -> Work {
    let pass = Box::new(move || drop(black_box(pass())));
    Work { name: name.into(), passes: 1000, pass }
}

/// One that takes many instructions, so that few passes are enough.
fn large<T>(name: &str, pass: impl Fn() -> T + 'static) -> Work {
    Work { passes: 50, ..work(name, pass) }
}

pub(crate) fn all() -> anyhow::Result<Vec<Work>> {
    let mut all = texts()?;
    all.extend(webhooks()?);
    all.extend(keys()?);
    all.extend(records()?);
    all.extend(minting()?);
    Ok(all)
}

fn ring() -> anyhow::Result<KeyRing> {
    KeyRing::new(&[[7; 32]]).context("one key makes a ring")
}

fn number() -> anyhow::Result<Phone> {
    "+447700900999".parse().context("a phone")
}

fn instance() -> InstanceId {
    InstanceId::from_random([1; 16])
}

/// The message that a link prefills.
fn prefilled(code: &LinkCode) -> anyhow::Result<String> {
    let english = Language::find("en").context("no English")?;
    let prompt = template::render(english.prompt(), Values { name: "Harbour", ..Values::default() });
    Ok(whatsapp::prefilled(&prompt, code, english.warning()))
}

fn code() -> anyhow::Result<LinkCode> {
    let ring = ring()?;
    ring.link_code(ring.current_id(), instance(), &[3; 16], CODE_LENGTH).context("the current key is there")
}

fn texts() -> anyhow::Result<Vec<Work>> {
    let (message, number) = (prefilled(&code()?)?, number()?);
    ensure!(find_codes(&message, CODE_LENGTH.into()).codes.len() == 1, "no code in {message}");
    let url = whatsapp::wa_me(&number, &message);
    let chatter = "Thank you, we shall be there at eight. ".repeat(50);
    let english = Language::find("en").context("no English")?;
    let (message2, url2) = (message.clone(), url.clone());
    Ok(vec![
        work("extract: prefilled message", move || find_codes(black_box(&message), CODE_LENGTH.into())),
        large("extract: two kilobytes without a code", move || find_codes(black_box(&chatter), CODE_LENGTH.into())),
        work("text: reply", move || {
            let values = Values { link: "https://wa.example.org/o/AAAA", name: "Harbour", ..Values::default() };
            template::render(black_box(english.success()), values)
        }),
        work("text: wa.me link", move || whatsapp::wa_me(&number, black_box(&message2))),
        large("qr: bitmap", move || qr::bmp_data_url(black_box(&url))),
        large("qr: svg", move || qr::svg(black_box(&url2), "QR")),
    ])
}

fn webhooks() -> anyhow::Result<Vec<Work>> {
    let name = |what: &str, recorded: &gateways::Recorded| format!("webhook: {what}, {}", recorded.gateway.kind());
    let proofs = gateways::all()?.into_iter().map(|recorded| {
        work(name("authenticate", &recorded), move || recorded.gateway.authenticate(black_box(&recorded.webhook())))
    });
    let parses = gateways::all()?
        .into_iter()
        .map(|recorded| work(name("parse", &recorded), move || recorded.gateway.parse(black_box(&recorded.webhook()))));
    Ok(proofs.chain(parses).collect())
}

fn keys() -> anyhow::Result<Vec<Work>> {
    let (code, nonce) = (code()?, [3; 16]);
    let id = VerificationId::new(MILLIS.unsigned_abs(), [1; 10]);
    let rings = [ring()?, ring()?, ring()?, ring()?, ring()?];
    let [deriving, finding, digesting, making, recognising] = rings;
    let token = making.token(making.current_id(), TokenKind::Link, id, &nonce).context("the current key is there")?;
    Ok(vec![
        work("keys: a link's code and id", move || {
            let code = deriving.link_code(deriving.current_id(), instance(), black_box(&nonce), CODE_LENGTH)?;
            deriving.link_id(deriving.current_id(), instance(), &code, MILLIS.unsigned_abs())
        }),
        work("keys: the ids of a code", move || finding.link_ids(instance(), black_box(&code))),
        work("keys: digest of a message's id", move || {
            digesting.look_up("message", instance(), black_box(b"false_447700900123@c.us_00788579935749167D0E"))
        }),
        work("keys: make a token", move || {
            making.token(making.current_id(), TokenKind::Link, id, black_box(&nonce)).map(|token| token.to_string())
        }),
        work("keys: recognise a token", move || {
            recognising.verify_id_mac(black_box(&token), TokenKind::Link)
                && recognising.verify_token(&token, TokenKind::Link, &nonce)
        }),
    ])
}

fn pending(ring: &KeyRing) -> Verification<Link> {
    let now = from_millis(MILLIS);
    let new = NewVerification {
        id: VerificationId::new(MILLIS.unsigned_abs(), [1; 10]),
        instance: instance(),
        key: ring.current_id(),
        nonce: [3; 16],
        created_at: now,
        expires_at: now + std::time::Duration::from_mins(5),
        max_attempts: 5,
    };
    let text = |text: &str| Some(text.to_owned());
    let request = Request {
        name: "Harbour".to_owned(),
        lang: "en".to_owned(),
        purpose: text("login"),
        metadata: text(r#"{"cart":1234,"user":"a-user-of-the-app"}"#),
        state: text("5d7d3b0b-9c1e-4f0e-8a59-2b1f6c7a9e10"),
        client_ip: text("203.0.113.7"),
        user_agent: text("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko)"),
        ..Request::default()
    };
    Verification::link(new, CODE_LENGTH, request)
}

fn receive() -> anyhow::Result<LinkCommand> {
    let sender = Sender::new(Some("+447700900123".parse().context("a phone")?), None, None);
    let (push_name, checks) = (Some("Mara".to_owned()), MessageChecks::default());
    Ok(LinkCommand::Receive { sender, push_name, checks, risk: None, may_reply: true })
}

fn records() -> anyhow::Result<Vec<Work>> {
    let at: Timestamp = from_millis(MILLIS + 20_000);
    let link = pending(&ring()?);
    let message = receive()?;
    let verified = Link::decide(&link, message.clone(), at).next.context("the message verifies")?;
    let stored = |record: &Verification<Link>| -> anyhow::Result<StoredRecord> {
        Ok(StoredRecord { id: record.id.into(), version: 1, bytes: record::encode(&ring()?, record) })
    };
    let (stored_link, stored_verified) = (stored(&link)?, stored(&verified)?);
    let (writing, writing_too, reading, reading_too) = (ring()?, ring()?, ring()?, ring()?);
    let (link2, verified2) = (link.clone(), verified.clone());
    let body = callback::body(Event::LinkVerified, &verified, at);
    let secrets = [SecretString::from("whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=")];
    Ok(vec![
        work("decide: a message", move || Link::decide(black_box(&link), message.clone(), at)),
        work("record: write a pending link", move || record::encode(&writing, black_box(&link2))),
        work("record: read a pending link", move || record::decode(&reading, black_box(&stored_link))),
        work("record: write a verified link", move || record::encode(&writing_too, black_box(&verified2))),
        work("record: read a verified link", move || record::decode(&reading_too, black_box(&stored_verified))),
        work("callback: body", move || callback::body(Event::LinkVerified, black_box(&verified), at)),
        work("callback: signature", move || {
            standard_webhooks::sign(&secrets, "msg_1", "1795168850", black_box(body.as_bytes()))
        }),
    ])
}

fn minting() -> anyhow::Result<Vec<Work>> {
    let (config, instances) = app::load(&ConfigFiles::from_text(CONFIG, [])?)?;
    let instance = instances.get(config.instances[0].id).context("the instance is there")?;
    let text = json!({
        "purpose": "login", "state": "5d7d3b0b-9c1e-4f0e-8a59-2b1f6c7a9e10",
        "metadata": { "user": "a-user-of-the-app", "cart": 1234 }, "client_ip": "203.0.113.7",
        "user_agent": "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko)",
    })
    .to_string();
    let body: Map<String, Value> = serde_json::from_str(&text)?;
    ensure!(link_request::parse(&body, &instance).is_ok(), "the request is faulty");
    Ok(vec![work("mint: read a request", move || {
        let body: Map<String, Value> = serde_json::from_str(black_box(&text)).ok()?;
        link_request::parse(&body, &instance).ok()
    })])
}
