//! One subscriber has one identity, however a number is spelled, and two never share one.

use std::collections::HashMap;

use countersign::domain::{Phone, phone_input};
use serde_json::json;

use crate::{
    browser::{redeem, redirect_parameters, reply},
    codes::{code, validate, wrong},
    daemon::{TestStore, WAHA, World},
    login_flow::{link_in, on_both_stores},
};

on_both_stores! {
    a_code_for_a_similar_number_gives_no_access
    a_message_from_a_similar_number_proves_nothing
    the_proved_number_is_reported_in_its_current_form
    common_spellings_of_numbers_are_accepted
}

/// A mobile of today and the fixed line of the same digits without the 9: both valid in Brazil.
const VICTIM: &str = "5511941234567";
const SIMILAR: &str = "551141234567";

async fn a_code_for_a_similar_number_gives_no_access(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (_, theirs) = code(&daemon, json!({"chatId": VICTIM})).await;
    let (_, mut mine) = code(&daemon, json!({"chatId": SIMILAR})).await;
    if mine == theirs {
        mine = code(&daemon, json!({"chatId": SIMILAR})).await.1;
    }
    let stolen = validate(&daemon, VICTIM, &mine).await;
    assert_eq!((stolen.status, &stolen.json["code"]), (422, &json!("code_wrong")), "{}", stolen.text);
    for _ in 0..4 {
        validate(&daemon, SIMILAR, &wrong(&mine)).await;
    }
    let owner = validate(&daemon, VICTIM, &theirs).await;
    assert_eq!(owner.status, 200, "neither the new code nor the wrong ones of a neighbour count: {}", owner.text);
    daemon.finish().await;
}

async fn a_message_from_a_similar_number_proves_nothing(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "completions_allowed = [\"prove_phone\", \"anywhere\"]\n".to_owned();
    let daemon = world.start().await;
    for (index, completion) in ["same_browser", "prove_phone", "anywhere"].iter().enumerate() {
        let link = daemon.create_link(json!({"chatId": VICTIM, "completion": completion})).await;
        daemon.send_message(SIMILAR, &format!("N{index}"), &link.text).await;
        assert_eq!(daemon.status(&link.uuid).await, "pending", "{completion}");
        daemon.send_message(VICTIM, &format!("V{index}"), &link.text).await;
        assert_eq!(daemon.status(&link.uuid).await, "verified", "{completion}");
    }
    daemon.finish().await;
}

async fn the_proved_number_is_reported_in_its_current_form(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "completions_allowed = [\"anywhere\"]\n".to_owned();
    let daemon = world.start().await;
    for (index, (asked, reported, today)) in [
        ("+55 11 98765-4321", "551187654321", "+5511987654321"),
        ("551187654321", "5511987654321", "+5511987654321"),
        ("229 61 12 34 56", "2290161123456", "+2290161123456"),
        ("+229 01 61 12 34 56", "22961123456", "+2290161123456"),
        ("+52 55 1234 5678", "5215512345678", "+525512345678"),
        ("5491123456789", "541123456789", "+541123456789"),
    ]
    .iter()
    .enumerate()
    {
        let link = daemon.create_link(json!({"chatId": asked, "completion": "anywhere"})).await;
        daemon.send_message(reported, &format!("S{index}"), &link.text).await;
        let subject = json!({"kind": "phone", "value": today, "reported": format!("+{reported}")});
        let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await;
        assert_eq!(shown.data("subject"), &subject, "{asked}");
        let page = link_in(&reply(&world, index + 1).await);
        let token = redirect_parameters(&crate::browser::Browser::default().submit_link(&daemon, &page).await).unwrap()
            ["token"]
            .clone();
        assert_eq!(redeem(&daemon, json!({"token": token})).await.data("subject"), &subject);
    }
    let (_, typed) = code(&daemon, json!({"chatId": "22961123456"})).await;
    assert_eq!(validate(&daemon, "2290161123456", &typed).await.status, 200, "one chat under both spellings");
    daemon.finish().await;
}

async fn common_spellings_of_numbers_are_accepted(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    for text in ["+44 7700 900123", "00 44 7700.900-123", "tel:+44-7700-900123", "\u{202a}+44 (7700) 900123\u{202c}"] {
        let link = daemon.create_link(json!({"chatId": text})).await;
        daemon.send_message("447700900123", &link.uuid, &link.text).await;
        assert_eq!(daemon.status(&link.uuid).await, "verified", "{text:?}");
    }
    for (text, way_out) in [
        ("+44 (0)7700 900123", "write +44 7700 900123 for +44 (0)7700 900123"),
        ("+4407700900123", "leave it out"),
        ("07700 900123", "write the country code instead"),
        ("+44 7700 900123 ext 4", "holds 'E'"),
    ] {
        for path in ["generate-link", "request-code"] {
            let refused = daemon.post(&format!("/api/otp/v2/{WAHA}/{path}"), json!({"chatId": text})).await;
            assert_eq!(refused.status, 422, "{path} {text}");
            assert_eq!(refused.json["errors"][0]["field"], "chatId");
            assert!(refused.json["errors"][0]["detail"].as_str().unwrap().contains(way_out), "{}", refused.text);
        }
    }
    daemon.finish().await;
}

/// `COUNTERSIGN_NUMBERS` names the output of `tests/numbers.py`.
#[test]
#[ignore = "needs libphonenumber's metadata; tests/run --long numbers"]
fn no_two_valid_numbers_are_equal() {
    let path = std::env::var_os("COUNTERSIGN_NUMBERS").expect("COUNTERSIGN_NUMBERS");
    let text = std::fs::read_to_string(path).unwrap();
    let mut owners: HashMap<String, &str> = HashMap::new();
    let (mut count, mut argentine) = (0, 0);
    for line in text.lines() {
        let (kind, digits) = line.split_once(' ').unwrap();
        let Ok(phone) = digits.parse::<Phone>() else { continue };
        count += 1;
        assert_eq!(phone.current().parse::<Phone>().unwrap(), phone);
        if matches!(kind, "fixed_line" | "mobile") {
            assert!(phone_input::parse_phone(&format!("+{digits}")).is_ok(), "{line} is refused");
            // Mexico's 1 and the old form of Benin are no numbers any more: what is valid is of today.
            assert_eq!(phone.current(), format!("+{digits}"), "{line} is not of today");
        }
        if let Some(other) = owners.insert(phone.canonical(), digits) {
            let spellings = [other, digits].map(|digits| digits.replacen("549", "54", 1));
            assert!(other.starts_with("54") && spellings[0] == spellings[1], "{other} and {digits} are one");
            argentine += 1;
        }
    }
    assert!(count > 100_000 && argentine > 0, "{count} numbers, {argentine} pairs of Argentina");
    println!("{count} numbers, {argentine} pairs of Argentina");
}
