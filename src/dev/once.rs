//! `--once`: one login from link to subject, one code from request to use, and what must not work, over real HTTP.
//! One line a step.
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

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

use self::person::{Person, hidden_field};
use super::phone::{Callback, How, Phone};

/// Longer than anything should take on one machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// A second effect would have shown itself by then.
const QUIET: Duration = Duration::from_millis(300);
const STATE: &str = "rehearsal";

/// Says how each step went. The first that fails is the last.
pub(super) async fn play(phone: &Arc<Phone>) -> ExitCode {
    let start = Instant::now();
    match acts(&Person { phone }).await {
        Ok(()) => {
            println!("\nall of it works, in {} ms", start.elapsed().as_millis());
            ExitCode::SUCCESS
        }
        Err(Stopped) => {
            println!("\nstopped at the step above");
            ExitCode::FAILURE
        }
    }
}

/// The line that says why is printed already.
struct Stopped;

async fn step<T>(what: &str, act: impl Future<Output = anyhow::Result<T>>) -> Result<T, Stopped> {
    let start = Instant::now();
    let outcome = act.await;
    let millis = start.elapsed().as_millis();
    match outcome {
        Ok(done) => {
            println!("✓ {millis:>5} ms  {what}");
            Ok(done)
        }
        Err(error) => {
            println!("✗ {millis:>5} ms  {what}: {error:#}");
            Err(Stopped)
        }
    }
}

async fn acts(person: &Person<'_>) -> Result<(), Stopped> {
    let phone = person.phone;
    let link = step("the app mints a link", mint(phone)).await?;
    let message = step("the person sends the prepared message", person.send(&link.text, How::Plain)).await?;
    let reply = step("a reply arrives, with a link in it", reply(person)).await?;
    step("the app is called back: link.verified, signature good", called_back(person, "link.verified", &link.uuid))
        .await?;
    let form = step("looking at the link changes nothing", look(phone, &reply, &link)).await?;
    let token = step("tapping its button leads back to the app, with a token", tap(phone, &reply, &form)).await?;
    step("the app redeems the token and learns who it was", redeem(person, &token)).await?;
    step("a second redeem is refused", redeem_again(phone, &token)).await?;
    step("the app is called back: link.redeemed, signature good", called_back(person, "link.redeemed", &link.uuid))
        .await?;
    step("a webhook with a wrong signature is refused", forge(person, &link.text)).await?;
    step("the first webhook, replayed, has no second effect", replay(person, &message)).await?;
    codes::acts(person).await
}

struct Link {
    uuid: String,
    text: String,
}

async fn mint(phone: &Phone) -> anyhow::Result<Link> {
    let answer = phone.daemon.post("/generate-link", &json!({ "expires": 600, "state": STATE })).await?;
    ensure!(answer.status == 200, "generate-link answered {}: {}", answer.status, answer.text());
    let body = answer.json();
    let member = |name: &str| {
        let value = body.pointer(&format!("/data/{name}")).and_then(Value::as_str);
        value.map(str::to_owned).with_context(|| format!("the answer holds no data.{name}"))
    };
    let whatsapp = Url::parse(&member("whatsapp_link")?).context("whatsapp_link is no URL")?;
    let text = member("text")?;
    let prefilled = whatsapp.query_pairs().find(|(name, _)| name == "text").map(|(_, value)| value.into_owned());
    ensure!(whatsapp.host_str() == Some("wa.me"), "whatsapp_link does not lead to wa.me");
    ensure!(prefilled.as_ref() == Some(&text), "whatsapp_link holds another text than `text`");
    Ok(Link { uuid: member("uuid")?, text })
}

async fn reply(person: &Person<'_>) -> anyhow::Result<String> {
    let text = person.reply().await?;
    let below = format!("{}/o/", person.phone.daemon.base);
    let link = text.split_whitespace().find(|word| word.starts_with(&below));
    link.map(str::to_owned).context("the reply holds no link of this daemon")
}

async fn called_back(person: &Person<'_>, kind: &str, uuid: &str) -> anyhow::Result<()> {
    let Callback { genuine, body, .. } = person.callback(kind).await?;
    ensure!(genuine, "its signature is not made with the callback secret");
    let body: Value = serde_json::from_str(&body).context("its body is no JSON")?;
    ensure!(body.pointer("/data/uuid") == Some(&json!(uuid)), "it is about another request");
    Ok(())
}

/// Everything about the request but the time that is left.
async fn snapshot(phone: &Phone, link: &Link) -> anyhow::Result<Value> {
    let answer = phone.daemon.get(&format!("/requests/{}", link.uuid)).await?;
    ensure!(answer.status == 200, "the request cannot be read: {}", answer.status);
    Ok(answer.json())
}

/// Twice, as a robot that makes previews and then the person would. Returns the form's hidden field.
async fn look(phone: &Phone, url: &str, link: &Link) -> anyhow::Result<String> {
    let before = snapshot(phone, link).await?;
    phone.daemon.look(url).await?;
    let page = phone.daemon.look(url).await?;
    ensure!(page.status == 200, "the page answered {}", page.status);
    ensure!(before == snapshot(phone, link).await?, "the request is not what it was");
    hidden_field(&page.text(), "form").context("the page has no form to submit")
}

async fn tap(phone: &Phone, url: &str, form: &str) -> anyhow::Result<String> {
    let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("form", form).finish();
    let answer = phone.daemon.submit(url, body).await?;
    ensure!(answer.status == 303, "expected 303, got {}", answer.status);
    let landing = Url::parse(answer.location.as_deref().unwrap_or_default()).context("303 without a Location")?;
    ensure!(landing.as_str().starts_with(&phone.identity.origin), "it leads somewhere else");
    let parameter = |name: &str| {
        let found = landing.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).with_context(|| format!("the address lacks `{name}`"))
    };
    ensure!(parameter("state")? == STATE, "`state` came back changed");
    parameter("token")
}

async fn redeem(person: &Person<'_>, token: &str) -> anyhow::Result<()> {
    let answer = person.phone.daemon.post("/redeem", &json!({ "token": token })).await?;
    ensure!(answer.status == 200, "redeem answered {}: {}", answer.status, answer.text());
    let subject = answer.json().pointer("/data/subject").cloned().unwrap_or_default();
    ensure!(
        subject == json!({ "kind": "phone", "value": person::NUMBER, "reported": person::NUMBER }),
        "it names somebody else"
    );
    Ok(())
}

async fn redeem_again(phone: &Phone, token: &str) -> anyhow::Result<()> {
    let answer = phone.daemon.post("/redeem", &json!({ "token": token })).await?;
    ensure!(answer.status == 410, "expected 410, got {}", answer.status);
    Ok(())
}

async fn forge(person: &Person<'_>, text: &str) -> anyhow::Result<()> {
    let status = person.post(text, How::Forged).await?.answer?.status;
    ensure!(status == 401, "expected 401, got {status}");
    Ok(())
}

async fn replay(person: &Person<'_>, first: &super::phone::Posted) -> anyhow::Result<()> {
    let before = person.received();
    let answer = person.phone.daemon.webhook(&first.body, &first.headers).await?;
    ensure!(answer.status == 200, "expected 200, so that the gateway stops, got {}", answer.status);
    tokio::time::sleep(QUIET).await;
    let (replies, callbacks) = person.received();
    ensure!(replies == before.0, "it was answered in the chat again");
    ensure!(callbacks == before.1, "the app was called back again");
    Ok(())
}
