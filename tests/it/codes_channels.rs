//! Channels of codes: which gateway sends them, the fallback when one fails, and the effect of delivery receipts.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    domain::{Language, Subject},
    gateway::{CodeMessage, Gateway, ReceiptStatus, Refusal, Webhook},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    codes::{CHAT, code, events, validate},
    daemon::{Daemon, InstanceBlock, ReceivedResponse, TestStore, WAHA, World},
    fakes::RecordingServer,
    gateways, gateways_send,
    login_flow::on_both_stores,
};

on_both_stores! {
    sms_is_used_if_the_number_is_not_on_whatsapp
    a_code_fails_if_every_channel_fails
    delivery_receipts_update_a_code
    a_failure_receipt_moves_to_the_next_channel
    sms_is_preferred_to_resending_an_uncertain_whatsapp_message
    a_code_of_uncertain_delivery_can_still_be_validated
    without_another_channel_an_uncertain_message_is_resent_once
    a_retry_after_beyond_the_expiry_moves_to_the_next_channel
    a_code_that_would_wait_in_a_queue_moves_to_the_next_channel
}

const SMS: &str = "5f0c2a90-0000-4000-8000-000000000009";

/// The first instance hands codes on to an SMS gateway.
fn with_sms(test_store: TestStore, sms: &RecordingServer) -> World {
    let mut world = World::new(test_store);
    world.instance_lines = format!("sms_instance = \"{SMS}\"");
    let gateway = format!(
        "kind = \"twilio\"\nurl = \"{}\"\naccount_sid = \"AC00000000000000000000000000000777\"\n\
         from = \"+12025550143\"\nwebhook_secret = \"a-twilio-auth-token-of-32-bytes-0\"",
        sms.url
    );
    let block = InstanceBlock { id: SMS, name: "SMS", number: "+12025550143", token: "", lines: "", gateway: &gateway };
    world.more_instances = block.to_string();
    world
}

fn form(body: &[u8]) -> HashMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

async fn timeline(daemon: &Daemon, uuid: &str) -> Vec<String> {
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
    let entries = shown.data("timeline").as_array().unwrap().clone();
    entries.iter().map(|entry| entry["event"].as_str().unwrap().to_owned()).collect()
}

async fn sms_is_used_if_the_number_is_not_on_whatsapp(test_store: TestStore) {
    let sms = RecordingServer::start();
    sms.answer(json!({"sid": "SM18365e3244136420d77c3b378dceb234", "status": "queued"}));
    let world = with_sms(test_store, &sms);
    let daemon = world.start().await;
    world.gateway.fail(404, 1);
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let message = &sms.wait_for(1).await[0];
    assert_eq!(message.path, "/2010-04-01/Accounts/AC00000000000000000000000000000777/Messages.json");
    let sent = form(&message.body);
    assert_eq!((sent["To"].as_str(), sent["From"].as_str()), ("+447700900123", "+12025550143"));
    assert_eq!(sent["Body"], world.gateway.wait_for(1).await[0].json()["text"].as_str().unwrap(), "one code");
    daemon.settle().await;
    assert_eq!(daemon.status(&uuid).await, "sent");
    assert_eq!(timeline(&daemon, &uuid).await, ["created", "not delivered by whatsapp: permanent", "sent by sms"]);
    let callbacks = world.receiver.wait_for(1).await;
    assert_eq!(events(&world), ["code.sent"]);
    assert_eq!(callbacks[0].json()["data"]["channel"], "sms");
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);

    // Logged out: refused once, and left alone for the next one.
    world.gateway.fail(401, 1);
    code(&daemon, json!({"chatId": "447700900124"})).await;
    sms.wait_for(2).await;
    daemon.settle().await;
    code(&daemon, json!({"chatId": "447700900125"})).await;
    sms.wait_for(3).await;
    assert_eq!(world.gateway.requests().len(), 2, "the number is silent");
    daemon.finish().await;
}

async fn sms_is_preferred_to_resending_an_uncertain_whatsapp_message(test_store: TestStore) {
    let sms = RecordingServer::start();
    let world = with_sms(test_store, &sms);
    let daemon = world.start().await;
    world.gateway.fail(504, 100);
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    assert!(form(&sms.wait_for(1).await[0].body)["Body"].starts_with(&right));
    daemon.settle().await;
    daemon.advance(Duration::from_secs(120)).await;
    assert_eq!((world.gateway.requests().len(), sms.requests().len()), (1, 1));
    let expected = ["created", "perhaps sent by whatsapp: gateway_timeout", "sent by sms"];
    assert_eq!(timeline(&daemon, &uuid).await, expected);
    assert_eq!(events(&world), ["code.sent"]);
    let metrics = http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    let metrics = daemon.send(metrics).await.text;
    let counted = format!("codes_sent_total{{instance_id=\"{WAHA}\",gateway=\"waha\",result=\"unknown\"}} 1");
    assert!(metrics.contains(&counted), "{metrics}");
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    daemon.finish().await;
}

async fn a_code_of_uncertain_delivery_can_still_be_validated(test_store: TestStore) {
    let sms = RecordingServer::start();
    let world = with_sms(test_store, &sms);
    let daemon = world.start().await;
    world.gateway.fail(504, 1);
    sms.fail(400, 1);
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    sms.wait_for(1).await;
    daemon.settle().await;
    assert_eq!(daemon.status(&uuid).await, "pending", "it may have arrived over WhatsApp");
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    daemon.finish().await;
}

async fn a_code_that_would_wait_in_a_queue_moves_to_the_next_channel(test_store: TestStore) {
    const GREEN: &str = "5f0c2a90-0000-4000-8000-00000000000a";
    let sms = RecordingServer::start();
    let mut world = with_sms(test_store, &sms);
    let gateway = format!(
        "kind = \"green-api\"\nurl = \"{}\"\ninstance = \"1100000777\"\napi_key = \"token\"\n\
         webhook_secret = \"Bearer a-secret-of-green-api-0123456789\"",
        world.gateway.url
    );
    let lines = format!("sms_instance = \"{SMS}\"");
    let (number, token) = ("+447700900998", "cst_test-token-of-green-api");
    let block = InstanceBlock { id: GREEN, name: "Green", number, token, lines: &lines, gateway: &gateway };
    world.more_instances += &block.to_string();
    let daemon = world.start().await;
    let request = async |chat: &str| {
        let path = format!("/api/otp/v2/{GREEN}/request-code");
        let bearer = format!("Bearer {token}");
        let answer = daemon.post_with(&path, json!({ "chatId": chat }), &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        daemon.settle().await;
    };
    world.gateway.answer(json!({ "stateInstance": "yellowCard" }));
    request("447700900123").await;
    sms.wait_for(1).await;
    let paths = |world: &World| world.gateway.requests().into_iter().map(|one| one.path).collect::<Vec<_>>();
    assert_eq!(paths(&world), ["/waInstance1100000777/getStateInstance/token"], "nothing is queued");
    world.gateway.answer(json!({ "stateInstance": "authorized", "idMessage": "A" }));
    request("447700900124").await;
    assert_eq!(paths(&world)[2..], ["/waInstance1100000777/sendMessage/token"]);
    assert_eq!(sms.requests().len(), 1);
    daemon.finish().await;
}

async fn without_another_channel_an_uncertain_message_is_resent_once(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    world.gateway.fail(504, 100);
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    daemon.settle().await;
    for seconds in [3, 7, 19, 37] {
        daemon.advance(Duration::from_secs(seconds)).await;
    }
    assert_eq!(world.gateway.requests().len(), 2);
    let expected = ["created", "perhaps sent by whatsapp: gateway_timeout"];
    assert_eq!(timeline(&daemon, &uuid).await, expected);
    assert_eq!(daemon.status(&uuid).await, "pending");
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    daemon.finish().await;
}

async fn a_retry_after_beyond_the_expiry_moves_to_the_next_channel(test_store: TestStore) {
    let sms = RecordingServer::start();
    let world = with_sms(test_store, &sms);
    let daemon = world.start().await;
    let hence = (world.clock.wall() + jiff::SignedDuration::from_hours(1)).to_zoned(jiff::tz::TimeZone::UTC);
    let dates = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let dates = dates.map(|format| hence.strftime(format).to_string());
    let wishes = ["3600", "18446744073709551615"].map(str::to_owned).into_iter().chain(dates);
    for (index, wish) in wishes.enumerate() {
        world.gateway.fail(429, 1);
        world.gateway.fail_with("retry-after", &wish);
        let start = Instant::now();
        let (uuid, _) = code(&daemon, json!({"chatId": format!("44770090010{index}")})).await;
        sms.wait_for(index + 1).await;
        // Every schedule of ours takes longer, on whatever machine.
        assert!(start.elapsed() < Duration::from_secs(30), "{wish}: {:?}", start.elapsed());
        daemon.settle().await;
        assert_eq!(daemon.status(&uuid).await, "sent", "{wish}");
    }
    daemon.finish().await;
}

async fn a_code_fails_if_every_channel_fails(test_store: TestStore) {
    let sms = RecordingServer::start();
    let world = with_sms(test_store, &sms);
    let daemon = world.start().await;
    world.gateway.fail(404, 1);
    sms.fail(400, 1);
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    sms.wait_for(1).await;
    daemon.settle().await;
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{uuid}")).await;
    assert_eq!((shown.data("status"), shown.data("reason")), (&json!("failed"), &json!("reply_undeliverable")));
    assert_eq!(events(&world), ["code.failed"]);
    assert_eq!(world.receiver.wait_for(1).await[0].json()["data"]["reason"], "reply_undeliverable");
    assert_eq!(validate(&daemon, CHAT, &right).await.json["code"], "code_not_active");
    daemon.finish().await;
}

pub(crate) async fn ack(daemon: &Daemon, id: &str, ack: i64) -> ReceivedResponse {
    let payload = json!({"id": id, "from": CHAT, "to": CHAT, "participant": null, "fromMe": true, "ack": ack});
    daemon.post_waha(&json!({"id": "evt_1", "event": "message.ack", "session": "default", "payload": payload})).await
}

async fn delivery_receipts_update_a_code(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    world.gateway.wait_for(1).await;
    daemon.settle().await;
    assert_eq!(ack(&daemon, "true_447700900123@c.us_OTHER", 2).await.status, 200, "the receipt of another message");
    assert_eq!(ack(&daemon, "true_447700900123@c.us_REPLY", 1).await.status, 200);
    daemon.settle().await;
    assert_eq!(events(&world), ["code.sent"]);
    // The same message under its other name, and then again as read.
    for level in [2, 3, 2] {
        assert_eq!(ack(&daemon, "true_190000000000117@lid_REPLY", level).await.status, 200);
    }
    daemon.settle().await;
    assert_eq!(events(&world), ["code.sent", "code.delivered"], "once");
    assert_eq!(timeline(&daemon, &uuid).await, ["created", "sent by whatsapp", "delivered by whatsapp"]);
    assert_eq!(daemon.status(&uuid).await, "sent");
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    assert_eq!(ack(&daemon, "true_447700900123@c.us_REPLY", 3).await.status, 200);
    daemon.finish().await;
}

async fn a_failure_receipt_moves_to_the_next_channel(test_store: TestStore) {
    let sms = RecordingServer::start();
    let world = with_sms(test_store, &sms);
    let daemon = world.start().await;
    let (uuid, right) = code(&daemon, json!({"chatId": CHAT})).await;
    world.gateway.wait_for(1).await;
    daemon.settle().await;
    for _ in 0..2 {
        assert_eq!(ack(&daemon, "true_447700900123@c.us_REPLY", -1).await.status, 200);
    }
    assert!(form(&sms.wait_for(1).await[0].body)["Body"].starts_with(&right));
    daemon.settle().await;
    assert_eq!(events(&world), ["code.sent"], "one send, whichever way it goes");
    let expected = ["created", "sent by whatsapp", "not delivered by whatsapp: permanent"];
    assert_eq!(timeline(&daemon, &uuid).await, expected);
    assert_eq!(validate(&daemon, CHAT, &right).await.status, 200);
    daemon.finish().await;
}

/// As its documentation writes it.
fn progress_in(kind: &str, name: &str) -> Option<(String, ReceiptStatus)> {
    let case = gateways::cases(kind).into_iter().find(|case| case.name == format!("{kind}/{name}")).unwrap();
    let gateway = gateways::build(kind, &case.expect);
    let headers = gateways::headers(&case.expect);
    let method = http::Method::POST;
    let webhook = Webhook {
        method: &method,
        path_suffix: None,
        query: "",
        headers: &headers,
        body: &case.body,
        now: Timestamp::from_second(1_788_256_800).unwrap(),
    };
    let events = gateway.parse(&webhook).unwrap();
    assert_eq!(events.len(), 1);
    events.into_iter().next().unwrap().receipt.map(|receipt| (receipt.message_id, receipt.status))
}

#[test]
fn recorded_receipts_are_parsed() {
    let (delivered, closed) = (ReceiptStatus::Delivered, ReceiptStatus::Failed(Refusal::WindowClosed));
    for (kind, name, id, progress) in [
        ("cloud-api", "status_delivered", "wamid.HBgMNDQ3NzAwOTAwMTIzFQIAERgUOTU1OEM4QTkxMzNGMEExMzZEMDMA", delivered),
        ("360dialog", "status_failed", "wamid.HBgMNDQ3NzAwOTAwMTIzFQIAERgUNzc0RThCRjZBOTkwRUY3NTE0MDcA", closed),
        ("gupshup-v3", "status_failed", "wamid.HBgMNDQ3NzAwOTAwMTIzFQIAERgUNzc0RThCRjZBOTkwRUY3NTE0MDcA", closed),
        ("twilio", "status_callback", "SM18365e3244136420d77c3b378dceb234", delivered),
        ("green-api", "status", "8B78C9D17EB7C0850821", delivered),
        ("green-api", "status_no_active_session", "44379F2B1A5611F62559", closed),
        ("vonage", "status_read", "3c30eb85-6518-4ec1-8009-3b0b6d25189d", delivered),
        ("whapi", "status", "PsqX5BF784E318CCE47593-wBGHaXh", delivered),
        ("z-api", "status", "3EB0D7551C4B500546378C", delivered),
        ("gowa", "ack", "3EB0D34250E216C6850B77", delivered),
        ("hypersender", "ack", "true_447700900123@c.us_3EB0008E1EDA4C0A6A5824", delivered),
        ("waha", "ack_read", "true_447700900123@c.us_3EB05738EDD94995930BF2", delivered),
        ("wawp", "ack", "true_447700900123@c.us_3EB0E9F96C60C95920DC18", delivered),
        ("wppconnect", "ack", "true_447700900123@c.us_BA00F4E2365C9924126F3E1A34613A0E", delivered),
        ("evolution", "update_read", "3EB0A6856B58E8BED26669", delivered),
        ("wuzapi", "receipt_json", "3EB0B255069DB73046D51D", delivered),
        ("bird", "outgoing", "f2f8d3f5-d4cc-43ed-80de-c718738bd1d1", ReceiptStatus::Accepted),
        ("bird", "delivered", "f2f8d3f5-d4cc-43ed-80de-c718738bd1d1", delivered),
        ("bird", "delivery_failed", "f2f8d3f5-d4cc-43ed-80de-c718738bd1d1", closed),
        ("infobip", "delivery_report", "fb469d73-d362-463f-b30f-1e959b53badc", delivered),
        ("infobip", "seen_report", "fb469d73-d362-463f-b30f-1e959b53badc", delivered),
        ("ultramsg", "ack_device", "311777", delivered),
        ("ultramsg", "ack_server", "true_447700900123@c.us_3EB0FF54790702367270", ReceiptStatus::Accepted),
        ("gupshup", "event_delivered", "e04af40c-faa1-4517-8e5f-61f96c89b920", delivered),
    ] {
        assert_eq!(progress_in(kind, name), Some((id.to_owned(), progress)), "{kind} {name}");
    }
}

fn code_request(gateway: &Arc<dyn Gateway>, subject: &Subject) -> Option<(String, Value)> {
    let language = Language::find("pt-BR").unwrap();
    let message = CodeMessage { subject, code: "508214", text: "508214 is your code", language };
    let request = gateway.code_message(&message)?;
    let body = String::from_utf8(request.body().clone()).unwrap();
    let json = serde_json::from_str(&body).unwrap_or_else(|_| json!(form(body.as_bytes())));
    Some((request.uri().to_string(), json))
}

#[test]
fn each_gateway_gets_its_own_code_request() {
    let phone = Subject::Phone("+447700900123".parse().unwrap());
    let key =
        json!({ "url": "http://gw.test", "api_key": "k", "account": "a", "from": "12025550142", "api_secret": "s" });
    let with = |kind: &str, more: Value| {
        let mut settings = key.clone();
        settings["kind"] = json!(kind);
        for (name, value) in more.as_object().unwrap() {
            settings[name] = value.clone();
        }
        settings
    };
    for (settings, pointer, to) in [
        (json!({ "kind": "waha", "url": "http://gw.test", "api_key": "k" }), "/chatId", "447700900123@c.us"),
        (
            json!({ "kind": "gowa", "url": "http://gw.test", "basic_auth": "u:p" }),
            "/phone",
            "447700900123@s.whatsapp.net",
        ),
        (
            json!({ "kind": "vonage", "channel": "sms", "from": "Harbour", "api_key": "k", "api_secret": "s" }),
            "/to",
            "447700900123",
        ),
        (
            json!({ "kind": "twilio", "account_sid": "AC1", "from": "whatsapp:+12025550142" }),
            "/To",
            "whatsapp:+447700900123",
        ),
        (
            json!({ "kind": "twilio", "account_sid": "AC1", "messaging_service_sid": "MG1", "channel": "sms" }),
            "/To",
            "+447700900123",
        ),
        (
            json!({ "kind": "bird", "workspace_id": "w", "channel_id": "c", "access_key": "k" }),
            "/receiver/contacts/0/identifierValue",
            "+447700900123",
        ),
        (with("gupshup", json!({})), "/destination", "447700900123"),
        (with("z-api", json!({})), "/phone", "447700900123"),
        (json!({ "kind": "ultramsg", "account": "a", "api_key": "k" }), "/to", "447700900123@c.us"),
    ] {
        let gateway = gateways_send::build(settings.clone());
        let (_, body) = code_request(&gateway, &phone).unwrap();
        assert_eq!(body.pointer(pointer), Some(&json!(to)), "{settings}");
        assert!(body.to_string().contains("508214 is your code"), "{body}");
    }
    let chatwoot = json!({ "kind": "chatwoot", "url": "http://gw.test", "account_id": "1", "api_key": "k" });
    assert_eq!(code_request(&gateways_send::build(chatwoot), &phone), None, "it can only answer");
}

#[test]
fn meta_sends_codes_as_an_approved_template() {
    let phone = Subject::Phone("+447700900123".parse().unwrap());
    let parameters = json!([{ "type": "text", "text": "508214" }]);
    let components = json!([
        { "type": "body", "parameters": parameters },
        { "type": "button", "sub_type": "url", "index": "0", "parameters": parameters },
    ]);
    for (settings, url) in [
        (
            json!({ "kind": "cloud-api", "phone_number_id": "777", "access_token": "t", "template": "login_code" }),
            "https://graph.facebook.com/v26.0/777/messages",
        ),
        (
            json!({ "kind": "360dialog", "api_key": "k", "template": "login_code" }),
            "https://waba-v2.360dialog.io/messages",
        ),
        (
            json!({ "kind": "gupshup-v3", "app_id": "a", "api_key": "k", "template": "login_code" }),
            "https://partner.gupshup.io/partner/app/a/v3/message",
        ),
    ] {
        let (asked_url, body) = code_request(&gateways_send::build(settings.clone()), &phone).unwrap();
        assert_eq!(asked_url, url);
        let template = json!({ "name": "login_code", "language": { "code": "pt_BR" }, "components": components });
        assert_eq!(
            body,
            json!({
                "messaging_product": "whatsapp", "recipient_type": "individual", "to": "447700900123",
                "type": "template", "template": template,
            })
        );
        let mut plain = settings;
        plain.as_object_mut().unwrap().remove("template");
        let (_, body) = code_request(&gateways_send::build(plain), &phone).unwrap();
        assert_eq!((&body["type"], &body["to"]), (&json!("text"), &json!("447700900123")));
    }
}

#[tokio::test]
async fn a_channel_without_a_gateway_is_a_fault() {
    let faults = |extra: &str| {
        let mut world = World::new(TestStore::directory());
        world.instance_lines = extra.to_owned();
        let text = world.config("127.0.0.1:0", "127.0.0.1:0");
        let files = countersign::config::ConfigFiles::from_text(&text, []).unwrap();
        countersign::app::load(&files).err().map(|faults| faults.to_string()).unwrap_or_default()
    };
    assert_eq!(faults("channels = [\"whatsapp\"]"), "");
    assert!(faults("channels = [\"whatsapp\", \"sms\"]").contains("no gateway sends over sms"));
    assert!(faults(&format!("sms_instance = \"{WAHA}\"")).contains("names no [[instance]] whose gateway sends SMS"));
    assert!(faults("channels = [\"sms\", \"sms\"]").contains("stands there twice"));
    assert!(faults("channels = [\"pigeon\"]").contains("pigeon"));
}
