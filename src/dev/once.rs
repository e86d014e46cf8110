//! `dev --once`: one login by link and one by code, and what must not work, over HTTP. Prints one line for each step
//! and stops at the first that fails.

mod codes;
mod person;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use url::Url;

use self::person::{SimulatedPerson, hidden_field};
use super::phone::{DeliveryMode, FakePhone, ReceivedCallback};
use crate::telemetry::stdout;

/// The maximum time until a reply or callback arrives.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before asserting that nothing more has arrived.
const QUIET_PERIOD: Duration = Duration::from_millis(300);
const STATE: &str = "rehearsal";

/// Runs all steps. The exit code is 0 if all succeeded, else 1.
pub(super) async fn run(phone: &Arc<FakePhone>) -> ExitCode {
    let start = Instant::now();
    match run_steps(&SimulatedPerson { phone }).await {
        Ok(()) => {
            print(&format!("\nall steps passed in {} ms", start.elapsed().as_millis()));
            ExitCode::SUCCESS
        }
        Err(StepFailed) => {
            print("\nstopped at the failed step");
            ExitCode::FAILURE
        }
    }
}

/// The steps run on if the output is closed.
fn print(line: &str) {
    let _ = stdout::print(line);
}

/// A step failed; its error is already printed.
struct StepFailed;

/// Runs a step and prints its result and duration.
async fn step<T>(what: &str, action: impl Future<Output = anyhow::Result<T>>) -> Result<T, StepFailed> {
    let start = Instant::now();
    let outcome = action.await;
    let millis = start.elapsed().as_millis();
    match outcome {
        Ok(done) => {
            print(&format!("✓ {millis:>5} ms  {what}"));
            Ok(done)
        }
        Err(error) => {
            print(&format!("✗ {millis:>5} ms  {what}: {error:#}"));
            Err(StepFailed)
        }
    }
}

async fn run_steps(person: &SimulatedPerson<'_>) -> Result<(), StepFailed> {
    let phone = person.phone;
    let link = step("the app mints a link", mint(phone)).await?;
    let message = step("the person sends the prepared message", person.send(&link.text, DeliveryMode::Plain)).await?;
    let reply = step("a reply with a link arrives", wait_for_link(person)).await?;
    step(
        "the app receives the callback link.verified, signature valid",
        check_callback(person, "link.verified", &link.uuid),
    )
    .await?;
    let form = step("opening the link changes nothing", open_link(phone, &reply, &link)).await?;
    let token = step("its button redirects to the app, with a token", tap(phone, &reply, &form)).await?;
    step("the app redeems the token and receives the subject", redeem(person, &token)).await?;
    step("redeeming it again is refused", redeem_again(phone, &token)).await?;
    step(
        "the app receives the callback link.redeemed, signature valid",
        check_callback(person, "link.redeemed", &link.uuid),
    )
    .await?;
    step("a webhook with a wrong signature is refused", post_forged(person, &link.text)).await?;
    step("replaying the first webhook has no effect", replay(person, &message)).await?;
    codes::run_steps(person).await
}

struct MintedLink {
    uuid: String,
    text: String,
}

async fn mint(phone: &FakePhone) -> anyhow::Result<MintedLink> {
    let response = phone.daemon.post("/generate-link", &json!({ "expires": 600, "state": STATE })).await?;
    ensure!(response.status == 200, "generate-link answered {}: {}", response.status, response.text());
    let body = response.json();
    let member = |name: &str| {
        let value = body.pointer(&format!("/data/{name}")).and_then(Value::as_str);
        value.map(str::to_owned).with_context(|| format!("the response has no data.{name}"))
    };
    let whatsapp = Url::parse(&member("whatsapp_link")?).context("whatsapp_link is not a URL")?;
    let text = member("text")?;
    let prefilled = whatsapp.query_pairs().find(|(name, _)| name == "text").map(|(_, value)| value.into_owned());
    ensure!(whatsapp.host_str() == Some("wa.me"), "whatsapp_link does not lead to wa.me");
    ensure!(prefilled.as_ref() == Some(&text), "the text in whatsapp_link differs from `text`");
    Ok(MintedLink { uuid: member("uuid")?, text })
}

async fn wait_for_link(person: &SimulatedPerson<'_>) -> anyhow::Result<String> {
    let text = person.wait_for_reply().await?;
    let below = format!("{}/o/", person.phone.daemon.base);
    let link = text.split_whitespace().find(|word| word.starts_with(&below));
    link.map(str::to_owned).context("the reply contains no link of this daemon")
}

async fn check_callback(person: &SimulatedPerson<'_>, kind: &str, uuid: &str) -> anyhow::Result<()> {
    let ReceivedCallback { genuine, body, .. } = person.wait_for_callback(kind).await?;
    ensure!(genuine, "its signature is invalid");
    let body: Value = serde_json::from_str(&body).context("its body is not JSON")?;
    ensure!(body.pointer("/data/uuid") == Some(&json!(uuid)), "it is about another request");
    Ok(())
}

/// The current state of the request.
async fn snapshot(phone: &FakePhone, link: &MintedLink) -> anyhow::Result<Value> {
    let response = phone.daemon.get(&format!("/requests/{}", link.uuid)).await?;
    ensure!(response.status == 200, "the request cannot be read: {}", response.status);
    Ok(response.json())
}

/// Opens the link twice, as a preview bot and then a person would. Returns the form's hidden field.
async fn open_link(phone: &FakePhone, url: &str, link: &MintedLink) -> anyhow::Result<String> {
    let before = snapshot(phone, link).await?;
    phone.daemon.get_page(url).await?;
    let page = phone.daemon.get_page(url).await?;
    ensure!(page.status == 200, "the page answered {}", page.status);
    ensure!(before == snapshot(phone, link).await?, "the request has changed");
    hidden_field(&page.text(), "form").context("the page has no form to submit")
}

async fn tap(phone: &FakePhone, url: &str, form: &str) -> anyhow::Result<String> {
    let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("form", form).finish();
    let response = phone.daemon.submit_form(url, body).await?;
    ensure!(response.status == 303, "expected 303, got {}", response.status);
    let landing = Url::parse(response.location.as_deref().unwrap_or_default()).context("303 without a Location")?;
    ensure!(landing.as_str().starts_with(&phone.identity.origin), "it redirects to another site");
    let parameter = |name: &str| {
        let found = landing.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).with_context(|| format!("the redirect URL has no `{name}`"))
    };
    ensure!(parameter("state")? == STATE, "`state` has changed");
    parameter("token")
}

async fn redeem(person: &SimulatedPerson<'_>, token: &str) -> anyhow::Result<()> {
    let response = person.phone.daemon.post("/redeem", &json!({ "token": token })).await?;
    ensure!(response.status == 200, "redeem answered {}: {}", response.status, response.text());
    let subject = response.json().pointer("/data/subject").cloned().unwrap_or_default();
    ensure!(
        subject == json!({ "kind": "phone", "value": person::NUMBER, "reported": person::NUMBER }),
        "it has another subject"
    );
    Ok(())
}

async fn redeem_again(phone: &FakePhone, token: &str) -> anyhow::Result<()> {
    let response = phone.daemon.post("/redeem", &json!({ "token": token })).await?;
    ensure!(response.status == 410, "expected 410, got {}", response.status);
    Ok(())
}

async fn post_forged(person: &SimulatedPerson<'_>, text: &str) -> anyhow::Result<()> {
    let status = person.post(text, DeliveryMode::Forged).await?.response?.status;
    ensure!(status == 401, "expected 401, got {status}");
    Ok(())
}

async fn replay(person: &SimulatedPerson<'_>, first: &super::phone::PostedWebhook) -> anyhow::Result<()> {
    let before = person.received();
    let response = person.phone.daemon.post_webhook(&first.body, &first.headers).await?;
    ensure!(response.status == 200, "expected 200, so that the gateway does not retry, got {}", response.status);
    tokio::time::sleep(QUIET_PERIOD).await;
    let (replies, callbacks) = person.received();
    ensure!(replies == before.0, "a second reply was sent");
    ensure!(callbacks == before.1, "a second callback was sent");
    Ok(())
}
