//! Questions about people: why nothing happened, and the wish to be forgotten.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Query},
};
use serde::Deserialize;

use super::{App, auth, problem::Problem, view};
use crate::{
    api::{
        explanation::{Erased, Explanation},
        problem::FieldFault,
    },
    domain::{Chat, scope::Scope, subject::InvalidChat},
    service::{ServiceError, explain::Question},
};

/// Longer than any message id.
const LONGEST: usize = 512;

#[derive(Deserialize)]
struct Asked {
    q: Option<String>,
}

/// `GET …/explain?q=`: a uuid, a message id, a chat or the end of a phone number.
pub(super) async fn explain(
    app: Data<App>,
    instance: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = auth::caller(&app, &request, &instance, Scope::Read).await?;
    let asked = Query::<Asked>::from_query(request.query_string()).ok().and_then(|query| query.into_inner().q);
    let Some(text) = asked.filter(|text| (1..=LONGEST).contains(&text.trim().len())) else {
        return Err(faulty("q", "expected, once, a uuid, a message id, a chat id or the last digits of a phone"));
    };
    let question = Question::parse(&text);
    let answer = app.service.explain(&caller.instance, &question).await?;
    let requests = answer.requests.into_iter();
    let requests = requests.map(|(record, callbacks)| view::brief(&app.service, &record, callbacks)).collect();
    let data = Explanation { read_as: question.kind(), sentence: answer.sentence, messages: answer.messages, requests };
    Ok(view::success("Explanation", &data))
}

/// `DELETE …/subjects/{chat_id}`
pub(super) async fn erase(
    app: Data<App>,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = auth::caller(&app, &request, &path.0, Scope::Admin).await?;
    let chat: Chat = path.1.parse().map_err(|why: InvalidChat| faulty("chat_id", &why.to_string()))?;
    let erased = app.service.erase(&caller.instance, &chat).await?;
    Ok(view::success("Erased", &Erased { erased }))
}

fn faulty(field: &str, detail: &str) -> Problem {
    ServiceError::Invalid(vec![FieldFault { field: field.to_owned(), detail: detail.to_owned() }]).into()
}
