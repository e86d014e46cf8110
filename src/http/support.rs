//! Support for one person: `explain`, what became of a message, and `erase`, deletion of what is stored about a chat.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Query},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PublicState, auth, problem::Problem, view};
use crate::{
    domain::{Chat, scope::Scope, subject::InvalidChat},
    service::{FieldFault, ServiceError, explain::Question},
};

/// Bytes of `q`: longer than any gateway's message id.
const MAX_QUESTION_LEN: usize = 512;

#[derive(Deserialize)]
struct ExplainQuery {
    q: Option<String>,
}

/// `GET …/explain?q=`: a uuid, a message id, a chat id or the last digits of a phone number.
pub(super) async fn explain(
    app: Data<PublicState>,
    instance: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = auth::authenticate(&app, &request, &instance, Scope::Read).await?;
    let query = Query::<ExplainQuery>::from_query(request.query_string()).ok().and_then(|query| query.into_inner().q);
    let Some(text) = query.filter(|text| (1..=MAX_QUESTION_LEN).contains(&text.trim().len())) else {
        return Err(invalid_field(
            "q",
            "expected, once, a uuid, a message id, a chat id or the last digits of a phone",
        ));
    };
    let question = Question::parse(&text);
    let answer = app.service.explain(&caller.instance, &question).await?;
    let requests: Vec<Value> = answer
        .requests
        .iter()
        .map(|(record, callbacks)| {
            let mut shown = view::brief(&app.service, record);
            shown["callbacks"] = json!(callbacks);
            shown
        })
        .collect();
    let data = json!({
        "read_as": question.kind(), "sentence": answer.sentence, "messages": answer.messages, "requests": requests,
    });
    Ok(view::success("Explanation", &data))
}

/// `DELETE …/subjects/{chat_id}`
pub(super) async fn erase(
    app: Data<PublicState>,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = auth::authenticate(&app, &request, &path.0, Scope::Admin).await?;
    let chat: Chat = path.1.parse().map_err(|why: InvalidChat| invalid_field("chat_id", &why.to_string()))?;
    let erased = app.service.erase(&caller.instance, &chat).await?;
    Ok(view::success("Erased", &json!({ "erased": erased })))
}

fn invalid_field(field: &str, detail: &str) -> Problem {
    ServiceError::Invalid(vec![FieldFault { field: field.to_owned(), detail: detail.to_owned() }]).into()
}
