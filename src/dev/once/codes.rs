//! The steps of a login by code: the app sends a code, the person types it.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{
    StepFailed, check_callback,
    person::{NUMBER, SimulatedPerson},
    step,
};
use crate::dev::{
    client::DaemonResponse,
    phone::{Bubble, CodeForm},
};

/// The number of a person without WhatsApp.
const NUMBER_WITHOUT_WHATSAPP: &str = "+447700900456";

pub(super) async fn run_steps(person: &SimulatedPerson<'_>) -> Result<(), StepFailed> {
    let uuid = step("the app requests a code", request_code(person, NUMBER, false)).await?;
    let code = step("the code arrives in the chat", wait_for_code(person, NUMBER, false)).await?;
    step("a wrong code is refused, and counted", try_wrong_code(person, &uuid, &code)).await?;
    step("the right code is accepted", validate_code(person, NUMBER, &code)).await?;
    step("using it again is refused", reuse_code(person, &code)).await?;
    let called = check_callback(person, "code.validated", &uuid);
    step("the app receives the callback code.validated, signature valid", called).await?;
    // Settings of an older release may have no SMS gateway.
    if person.phone.identity.sms_api_key.is_some() {
        step(
            "the app requests a code for a person without WhatsApp",
            request_code(person, NUMBER_WITHOUT_WHATSAPP, true),
        )
        .await?;
        let code = step("the code arrives by SMS", wait_for_code(person, NUMBER_WITHOUT_WHATSAPP, true)).await?;
        step("the code by SMS is accepted", validate_code(person, NUMBER_WITHOUT_WHATSAPP, &code)).await?;
    }
    Ok(())
}

/// Requests a code and returns the uuid.
async fn request_code(person: &SimulatedPerson<'_>, chat: &str, no_whatsapp: bool) -> anyhow::Result<String> {
    let fields = json!({ "chatId": chat, "length": 6 }).as_object().cloned().unwrap_or_default();
    let response = person.phone.request_code(CodeForm { no_whatsapp, fields }).await?;
    ensure!(response.status == 200, "request-code answered {}: {}", response.status, response.text());
    let body = response.json();
    let uuid = body.pointer("/data/uuid").and_then(Value::as_str);
    uuid.map(str::to_owned).context("the response has no data.uuid")
}

/// Waits for the message and reads its code: the only six digits in a row.
async fn wait_for_code(person: &SimulatedPerson<'_>, chat: &str, sms: bool) -> anyhow::Result<String> {
    let wanted = |bubble: &&Bubble| bubble.code && bubble.sms == sms && bubble.chat == chat;
    let text = person.wait_for_message("no code", wanted).await?;
    let mut words = text.split(|letter: char| !letter.is_ascii_digit());
    words.find(|word| word.len() == 6).map(str::to_owned).context("the message contains no code of six digits")
}

async fn try_wrong_code(person: &SimulatedPerson<'_>, uuid: &str, code: &str) -> anyhow::Result<()> {
    let other = if code.starts_with('0') { "1" } else { "0" };
    expect_problem(&person.phone.type_code(NUMBER, &format!("{other}{}", &code[1..])).await?, 422, "code_wrong")?;
    let response = person.phone.daemon.get(&format!("/requests/{uuid}")).await?;
    let attempts = response.json().pointer("/data/attempts").cloned();
    ensure!(attempts == Some(json!(1)), "the attempt was not counted");
    Ok(())
}

async fn validate_code(person: &SimulatedPerson<'_>, chat: &str, code: &str) -> anyhow::Result<()> {
    let response = person.phone.type_code(chat, code).await?;
    ensure!(response.status == 200, "validate-code answered {}: {}", response.status, response.text());
    let body = response.json();
    ensure!(body.pointer("/data/status") == Some(&json!("validated")), "it is not validated");
    Ok(())
}

async fn reuse_code(person: &SimulatedPerson<'_>, code: &str) -> anyhow::Result<()> {
    expect_problem(&person.phone.type_code(NUMBER, code).await?, 409, "code_used")
}

fn expect_problem(response: &DaemonResponse, status: u16, why: &str) -> anyhow::Result<()> {
    let code = response.json().get("code").cloned().unwrap_or_default();
    ensure!(
        (response.status, &code) == (status, &json!(why)),
        "expected {status} {why}, got {} {code}",
        response.status
    );
    Ok(())
}
