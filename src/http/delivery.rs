//! The delivery log under `…/callbacks`.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::Deserialize;
use serde_json::Value;

use super::{App, auth, body, problem::Problem, view};
use crate::{
    api::{
        callback::{CallbackDetails, CallbackPage, Header, LastAnswer, Replayed},
        problem::FieldFault,
    },
    domain::{redirect, scope::Scope},
    service::{
        Instance, ServiceError,
        delivery::{Cursor, STANDINGS, word},
    },
    store::Standing,
};

type Answer = Result<HttpResponse, Problem>;

#[derive(Default, Deserialize)]
struct Filter {
    status: Option<String>,
    uuid: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET …/callbacks`: on their way, delivered lately, given up, in pages.
pub(super) async fn list(app: Data<App>, instance: Path<String>, request: HttpRequest) -> Answer {
    let caller = auth::caller(&app, &request, &instance, Scope::Read).await?;
    let filter = Query::<Filter>::from_query(request.query_string());
    let Ok(filter) = filter.map(Query::into_inner) else { return Err(faulty("status", "is given twice")) };
    let standing = filter.status.as_deref().map(|name| STANDINGS.into_iter().find(|one| word(*one) == name));
    if standing == Some(None) {
        return Err(faulty("status", "expected pending, delivered or dead"));
    }
    let standing: Option<Standing> = standing.flatten();
    let limit = filter.limit.as_deref().map_or(Some(100), |text| text.parse().ok());
    let Some(limit) = limit.filter(|limit: &usize| (1..=200).contains(limit)) else {
        return Err(faulty("limit", "expected a whole number from 1 to 200"));
    };
    let cursor = filter.cursor.as_deref().map(Cursor::parse);
    if cursor == Some(None) {
        return Err(faulty("cursor", "expected next_cursor of the page before"));
    }
    let (callbacks, next) = match &filter.uuid {
        Some(uuid) => {
            let id = uuid.parse().map_err(|_| faulty("uuid", "expected the uuid of a request"))?;
            let record = app.service.get(&caller.instance, id).await?;
            let mut callbacks = app.service.callbacks_of(&caller.instance, &record).await?;
            callbacks.retain(|callback| standing.is_none_or(|standing| callback.status == word(standing)));
            callbacks.truncate(limit);
            (callbacks, None)
        }
        None => app.service.callbacks(&caller.instance, standing, cursor.flatten().as_ref(), limit).await?,
    };
    let next_cursor = next.map(|next| next.to_string());
    Ok(view::success("Callbacks", &CallbackPage { callbacks, next_cursor }))
}

/// `GET …/callbacks/{id}`: one, with the body as it is sent.
pub(super) async fn get(app: Data<App>, path: Path<(String, String)>, request: HttpRequest) -> Answer {
    let caller = auth::caller(&app, &request, &path.0, Scope::Read).await?;
    let (entry, body, answer) = app.service.callback(&caller.instance, &path.1).await?;
    let last_answer = answer.map(|(at, answer)| LastAnswer {
        at: at.into(),
        status: answer.status,
        headers: answer.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
        body: answer.body,
    });
    let data = CallbackDetails { entry, body, last_answer };
    Ok(view::success("Callback", &data))
}

/// `POST …/callbacks/{id}/replay`
pub(super) async fn replay(app: Data<App>, path: Path<(String, String)>, request: HttpRequest) -> Answer {
    let caller = auth::caller(&app, &request, &path.0, Scope::Admin).await?;
    app.service.replay(&caller.instance, &path.1).await?;
    Ok(view::success("Callback queued again", &Replayed { id: path.into_inner().1 }))
}

/// `POST …/callbacks/test`: a signed event about nothing, tried once.
pub(super) async fn test(app: Data<App>, instance: Path<String>, request: HttpRequest, payload: Payload) -> Answer {
    let caller = auth::caller(&app, &request, &instance, Scope::Admin).await?;
    let repeat = super::api::idempotency_key(&request)?;
    let body = if request.headers().contains_key("content-type") {
        body::object(&request, payload).await?
    } else {
        serde_json::Map::new()
    };
    let url = receiver(&caller.instance, body.get("url"))?;
    let callback = app.service.test_callback(&caller.instance, &url, repeat.as_deref()).await?;
    Ok(view::success("Test callback queued", &callback))
}

/// Where the test goes: as asked, under the rules of a mint, else where the instance's events go.
fn receiver(instance: &Instance, asked: Option<&Value>) -> Result<String, Problem> {
    let url = match asked {
        None | Some(Value::Null) => instance.config.callback_url.clone(),
        Some(Value::String(text)) => redirect::parse(text),
        Some(_) => None,
    };
    match url {
        Some(url) if url.fragment().is_none() && (url.scheme() == "https" || instance.config.allow_http_callbacks) => {
            Ok(url.into())
        }
        _ => Err(faulty("url", "expected an https:// URL; without it the instance needs a callback_url")),
    }
}

fn faulty(field: &str, detail: &str) -> Problem {
    ServiceError::Invalid(vec![FieldFault { field: field.to_owned(), detail: detail.to_owned() }]).into()
}
