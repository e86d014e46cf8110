//! A person whose number WhatsApp hides, but the link needs, is asked to share it with one tap, and the answer continues
//! the login.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Request;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    daemon::{Daemon, META, META_SECRET, META_TOKEN, TestStore, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    the_own_number_continues_the_login
    a_contact_of_another_person_proves_nothing
    another_number_is_the_wrong_sender
}

const PERSON: &str = "447700900123";
const BSUID: &str = "GB.10000000000001";

/// Posts a message of a person who is known by `user` only.
async fn write(daemon: &Daemon, user: &str, id: &str, content: Value) {
    let mut message =
        json!({ "from_user_id": user, "id": id, "timestamp": daemon.clock.wall().as_second().to_string() });
    message.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    let value = json!({
        "messaging_product": "whatsapp", "metadata": { "phone_number_id": "777" },
        "contacts": [{ "profile": { "name": "Mara" }, "user_id": user }], "messages": [message],
    });
    let body = json!({ "object": "whatsapp_business_account",
                       "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }] });
    let body = body.to_string().into_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(META_SECRET.as_bytes()).unwrap();
    mac.update(&body);
    let hex = mac.finalize().into_bytes().iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"));
    let request = Request::post(format!("{}/webhooks/{META}", daemon.base))
        .header("x-hub-signature-256", format!("sha256={hex}"));
    let answer = daemon.send(request.body(body).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    daemon.settle().await;
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": { "body": text } })
}

fn contact(number: &str, origin: &str) -> Value {
    let phones = json!([{ "phone": format!("+{number}"), "wa_id": number, "type": "CELL" }]);
    json!({ "type": "contacts", "contacts": [{ "origin": origin, "name": { "formatted_name": "Mara" }, "phones": phones }] })
}

async fn minted(daemon: &Daemon, body: Value) -> (String, String) {
    let path = format!("/api/otp/v2/{META}/generate-link");
    let answer = daemon.post_with(&path, body, &[("authorization", &format!("Bearer {META_TOKEN}"))]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (answer.text_of("uuid"), answer.text_of("text"))
}

async fn status(daemon: &Daemon, uuid: &str) -> String {
    daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/requests/{uuid}")).await.text_of("status")
}

async fn the_own_number_continues_the_login(store: TestStore) {
    let world = World::new(store);
    let daemon = world.start().await;
    let (uuid, prefilled) = minted(&daemon, json!({ "chatId": PERSON })).await;
    write(&daemon, BSUID, "A", text(&prefilled)).await;
    assert_eq!(status(&daemon, &uuid).await, "pending");
    let asked = world.gateway.wait_for(1).await[0].json();
    assert_eq!(asked["interactive"]["type"], "request_contact_info", "{asked}");
    assert_eq!(asked["recipient"], BSUID, "{asked}");
    assert!(asked["interactive"]["body"]["text"].as_str().unwrap().contains("with Meta"), "{asked}");
    write(&daemon, BSUID, "B", contact(PERSON, "contact_request")).await;
    assert_eq!(status(&daemon, &uuid).await, "verified");
    let shown = daemon.get_as(META_TOKEN, &format!("/api/otp/v2/{META}/requests/{uuid}")).await;
    assert_eq!(shown.data("subject")["value"], format!("+{PERSON}"));
    let reply = world.gateway.wait_for(2).await[1].json();
    assert_eq!(reply["recipient"], BSUID, "{reply}");
    // Delivered twice.
    write(&daemon, BSUID, "B", contact(PERSON, "contact_request")).await;
    assert_eq!(world.gateway.count(), 2);
    daemon.finish().await;
}

async fn a_contact_of_another_person_proves_nothing(store: TestStore) {
    let world = World::new(store);
    let daemon = world.start().await;
    let (uuid, prefilled) = minted(&daemon, json!({ "chatId": PERSON })).await;
    write(&daemon, BSUID, "A", text(&prefilled)).await;
    // From the address book; the contact names another person; two contacts; and from somebody who was not asked.
    write(&daemon, BSUID, "B", contact(PERSON, "other")).await;
    let mut foreign = contact(PERSON, "contact_request");
    foreign["contacts"][0]["user_id"] = json!("GB.20000000000002");
    write(&daemon, BSUID, "C", foreign).await;
    let mut two = contact(PERSON, "contact_request");
    two["contacts"] = json!([two["contacts"][0], two["contacts"][0]]);
    write(&daemon, BSUID, "D", two).await;
    let mut typed = contact(PERSON, "contact_request");
    typed["contacts"][0]["phones"][0].as_object_mut().unwrap().remove("wa_id");
    write(&daemon, BSUID, "E", typed).await;
    write(&daemon, "GB.20000000000002", "F", contact(PERSON, "contact_request")).await;
    assert_eq!(status(&daemon, &uuid).await, "pending");
    assert_eq!(world.gateway.count(), 1, "only the request for the number was sent");
    write(&daemon, BSUID, "G", contact(PERSON, "contact_request")).await;
    assert_eq!(status(&daemon, &uuid).await, "verified");
    daemon.finish().await;
}

async fn another_number_is_the_wrong_sender(store: TestStore) {
    let world = World::new(store);
    let daemon = world.start().await;
    let (uuid, prefilled) = minted(&daemon, json!({ "chatId": PERSON, "max_attempts": 1 })).await;
    write(&daemon, BSUID, "A", text(&prefilled)).await;
    write(&daemon, BSUID, "B", contact("12025550187", "contact_request")).await;
    assert_eq!(status(&daemon, &uuid).await, "failed");
    // A changed text stays a changed text.
    let (uuid, prefilled) = minted(&daemon, json!({ "chatId": PERSON, "require_exact_text": true })).await;
    let code = &prefilled[prefilled.find('[').unwrap()..=prefilled.find(']').unwrap()];
    write(&daemon, BSUID, "C", text(&format!("I was told to send {code}"))).await;
    write(&daemon, BSUID, "D", contact(PERSON, "contact_request")).await;
    assert_eq!(status(&daemon, &uuid).await, "pending");
    daemon.finish().await;
}
