//! A minimal browser for the pages: cookies and forms.

use std::collections::HashMap;

use http::Request;
use url::form_urlencoded;

use crate::daemon::{Daemon, ReceivedResponse, WAHA, World};

#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) cookie: Option<String>,
    /// Sent with every request.
    pub(crate) headers: Vec<(&'static str, &'static str)>,
}

impl Browser {
    async fn send(&mut self, daemon: &Daemon, request: http::request::Builder, body: Vec<u8>) -> ReceivedResponse {
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        let answer = daemon.send(request.header("accept", "text/html").body(body).unwrap()).await;
        if let Some(set) = answer.headers.get("set-cookie") {
            self.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        answer
    }

    pub(crate) async fn get(&mut self, daemon: &Daemon, path: &str) -> ReceivedResponse {
        self.send(daemon, Request::get(format!("{}{path}", daemon.base)), Vec::new()).await
    }

    pub(crate) async fn post(&mut self, daemon: &Daemon, path: &str, fields: &[(&str, &str)]) -> ReceivedResponse {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(format!("{}{path}", daemon.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        self.send(daemon, request, body.into_bytes()).await
    }

    /// Loads a page and submits its form with additional fields.
    pub(crate) async fn submit(
        &mut self,
        daemon: &Daemon,
        page: &str,
        to: &str,
        fields: &[(&str, &str)],
    ) -> ReceivedResponse {
        let field = field(&self.get(daemon, page).await.text);
        let mut all = vec![("form", field.as_str())];
        all.extend(fields);
        self.post(daemon, to, &all).await
    }

    /// The answer after redirects to pages of the daemon.
    pub(crate) async fn follow(&mut self, daemon: &Daemon, answer: ReceivedResponse) -> ReceivedResponse {
        match answer.header("location").to_owned() {
            page if answer.status == 303 && page.starts_with('/') => self.get(daemon, &page).await,
            _ => answer,
        }
    }

    /// Taps the button of the start page, and loads the page that it leads to.
    pub(crate) async fn tap(&mut self, daemon: &Daemon, page: &str, place: &str) -> ReceivedResponse {
        let answer = self.submit(daemon, page, page, &[("place", place)]).await;
        self.follow(daemon, answer).await
    }

    /// Taps the link in the reply.
    pub(crate) async fn submit_link(&mut self, daemon: &Daemon, link: &str) -> ReceivedResponse {
        let answer = self.submit(daemon, link, link, &[]).await;
        self.follow(daemon, answer).await
    }

    pub(crate) async fn type_code(&mut self, daemon: &Daemon, page: &str, code: &str) -> ReceivedResponse {
        self.submit(daemon, page, &format!("{page}/code"), &[("code", code)]).await
    }

    /// The stage that its waiting page receives.
    pub(crate) async fn stage(&mut self, daemon: &Daemon, page: &str) -> String {
        let answer = self.get(daemon, &format!("{page}/events?now")).await;
        answer.json["state"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
    }
}

/// The hidden form field, from any part of the page.
pub(crate) fn field(page: &str) -> String {
    let after = page.split("data-form=\"").nth(1).or_else(|| page.split("name=\"form\" value=\"").nth(1));
    after.unwrap_or_default().split('"').next().unwrap().to_owned()
}

/// The code on a page or in a reply.
pub(crate) fn code_in(text: &str) -> Option<String> {
    let six = |word: &&str| {
        word.len() == 6
            && word.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
            && !word.contains(['I', 'L', 'O', 'U'])
    };
    text.split(|c: char| !c.is_ascii_alphanumeric()).find(six).map(str::to_owned)
}

/// The parameters that the app's redirect page receives.
pub(crate) fn redirect_parameters(answer: &ReceivedResponse) -> Option<HashMap<String, String>> {
    let url = url::Url::parse(answer.headers.get("location")?.to_str().ok()?).ok()?;
    url.as_str().starts_with("https://app.example.org/in").then(|| url.query_pairs().into_owned().collect())
}

/// The path of a start page.
pub(crate) fn start_path(minted: &ReceivedResponse) -> String {
    url::Url::parse(&minted.text_of("start_url")).unwrap().path().to_owned()
}

/// The path of "this wasn't me" in a reply.
pub(crate) fn dispute_in(reply: &str) -> String {
    let start = reply.find("/d/").unwrap_or_else(|| panic!("{reply}"));
    reply[start..].split_whitespace().next().unwrap().to_owned()
}

pub(crate) async fn reply(world: &World, count: usize) -> String {
    world.gateway.wait_for(count).await[count - 1].json()["text"].as_str().unwrap().to_owned()
}

pub(crate) async fn redeem(daemon: &Daemon, body: serde_json::Value) -> ReceivedResponse {
    daemon.post(&format!("/api/otp/v2/{WAHA}/redeem"), body).await
}
