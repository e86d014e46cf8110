//! Support for one person: `explain`, what happened to a message, and `erase`, deletion of what is stored about a chat.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};

use super::{PublicState, auth, context::Cx, problem::Problem, query, view};
use crate::{
    api::{
        explanation::{Erased, ExplanationView},
        limits::MAX_QUESTION_LEN,
    },
    domain::{Chat, scope::Scope, subject::InvalidChat},
    service::explain::Question,
};

const EXPECTED: &str = "expected, once, a uuid, a message id, a chat id or the last digits of a phone";

/// `GET …/explain?q=`: a uuid, a message id, a chat id or the last digits of a phone number.
pub(super) async fn explain(
    state: Data<PublicState>,
    cx: Cx,
    instance: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = auth::authenticate(&state, &cx, &request, &instance, Scope::Read).await?;
    let query = query::parse_query(&request);
    let mut f = query::reader(&query);
    if !f.has("q") {
        f.fault("q", EXPECTED);
    }
    let text = f.read("q", |text| {
        let fits = (1..=MAX_QUESTION_LEN).contains(&text.trim().len());
        fits.then(|| text.to_owned()).ok_or(EXPECTED)
    });
    let text = f.finish(text)?;
    let question = Question::parse(&text);
    let mut answer = state.services.support.explain(&cx, &caller.instance, &question).await?;
    if !caller.may_read_secrets() {
        answer.messages.iter_mut().for_each(|message| message.webhook = None);
    }
    let requests = answer.requests.into_iter();
    let requests =
        requests.map(|(record, callbacks)| view::explained_request(&state.services, &record, callbacks)).collect();
    let data =
        ExplanationView { read_as: question.kind(), sentence: answer.sentence, messages: answer.messages, requests };
    Ok(view::success("Explanation", &data))
}

/// `DELETE …/subjects/{chat_id}`
pub(super) async fn erase(
    state: Data<PublicState>,
    cx: Cx,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = auth::authenticate(&state, &cx, &request, &path.0, Scope::Admin).await?;
    let chat: Chat = path.1.parse().map_err(|why: InvalidChat| Problem::field("chat_id", &why.to_string()))?;
    let erased = state.services.support.erase(&cx, &caller.instance, &chat).await?;
    Ok(view::success("Erased", &Erased { erased }))
}
