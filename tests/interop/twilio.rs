//! Twilio's own library against us: its validator agrees with the daemon about every request, and its client sends
//! what our adapter sends. Only with `COUNTERSIGN_INTEROP=1`.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use countersign::hash::sha256;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    daemon::{TOKEN, client},
    every_gateway::{Serve, id, index_of, instances, secret},
    judges,
    wait::until,
};

type Pairs = Vec<(String, String)>;

/// A request as it arrives, and where Twilio believes to have sent it.
#[derive(Clone)]
struct SignedRequest {
    name: &'static str,
    query: String,
    /// A form, or the text of a JSON body.
    form: Option<Pairs>,
    json: String,
    signature: String,
}

impl SignedRequest {
    fn given(&self) -> Value {
        self.form.as_ref().map_or_else(|| json!(self.json), |form| json!(form))
    }

    fn body(&self) -> (&'static str, String) {
        match &self.form {
            Some(form) => {
                let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
                ("application/x-www-form-urlencoded", form)
            }
            None => ("application/json", self.json.clone()),
        }
    }
}

fn hex(text: &str) -> String {
    sha256(text.as_bytes()).iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"))
}

fn message(text: &str) -> Pairs {
    [
        ("SmsMessageSid", "SM0123456789abcdef0123456789abcdef"),
        ("MessageSid", "SM0123456789abcdef0123456789abcdef"),
        ("AccountSid", "AC1"),
        ("From", "whatsapp:+447700900123"),
        ("To", "whatsapp:+12025550142"),
        ("Body", text),
        ("NumMedia", "0"),
        ("SmsStatus", "received"),
        ("ProfileName", "Zoë ☕"),
        ("ChannelMetadata", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn sign(url: &str, given: &Value, token: &str) -> String {
    let claim = json!({ "sign": [url, given], "token": token });
    judges::twilio(&[claim]).remove(0)
}

/// Genuine requests and altered copies of them.
fn cases(url: &str, token: &str) -> Vec<SignedRequest> {
    let form = message("hello [K7QXM2PD] +&=%");
    let signed = |name, query: &str, form: Pairs| {
        let full = if query.is_empty() { url.to_owned() } else { format!("{url}?{query}") };
        let signature = sign(&full, &json!(form), token);
        SignedRequest { name, query: query.to_owned(), form: Some(form), json: String::new(), signature }
    };
    let genuine = signed("a message", "", form.clone());
    let with = |name, change: &dyn Fn(&mut SignedRequest)| {
        let mut case = SignedRequest { name, ..genuine.clone() };
        change(&mut case);
        case
    };
    let mut twice = form.clone();
    twice.push(("Body".to_owned(), "another".to_owned()));
    twice.push(("Body".to_owned(), "another".to_owned()));
    let body = r#"{"a":"é ☕","b":[1,2]}"#;
    let hash = format!("bodySHA256={}", hex(body));
    let json_body = |name, query: String, body: &str| {
        let signature = sign(&format!("{url}?{hash}"), &json!(""), token);
        SignedRequest { name, query, form: None, json: body.to_owned(), signature }
    };
    let change = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        move |case: &mut SignedRequest| {
            for (known, old) in case.form.iter_mut().flatten() {
                if *known == name {
                    old.clone_from(&value);
                }
            }
        }
    };
    let port = |name, port: &str| {
        let full = url.replacen("wa.example.org", &format!("wa.example.org{port}"), 1);
        SignedRequest { name, signature: sign(&full, &json!(form), token), ..genuine.clone() }
    };
    vec![
        genuine.clone(),
        signed("a message to a URL with a query", "a=b&c=%20d", form.clone()),
        signed("a repeated parameter", "", twice),
        signed("a message without text", "", message("")),
        with("the parameters in another order", &|case| case.form.iter_mut().for_each(|form| form.reverse())),
        json_body("JSON", hash.clone(), body),
        json_body("JSON, changed", hash.clone(), r#"{"a":"é ☕","b":[1,3]}"#),
        json_body("JSON with another hash", format!("bodySHA256={}", hex("{}")), body),
        json_body("JSON with an empty hash", "bodySHA256=".to_owned(), body),
        port("signed with the standard port", ":443"),
        port("signed with another port", ":8443"),
        with("another sender", &change("From", "whatsapp:+447700900124")),
        with("another text", &change("Body", "hello [K7QXM2PE] +&=%")),
        with("a space more", &change("Body", "hello [K7QXM2PD] +&=% ")),
        with("a parameter more", &|case| {
            case.form.iter_mut().for_each(|form| form.push(("Zeta".to_owned(), "1".to_owned())));
        }),
        with("a parameter less", &|case| case.form.iter_mut().for_each(|form| drop(form.pop()))),
        with("a parameter less that says something", &|case| {
            case.form.iter_mut().for_each(|form| form.retain(|(name, _)| name != "ProfileName"));
        }),
        with("a query more", &|case| case.query = "x=1".to_owned()),
        with("no signature", &|case| case.signature.clear()),
        with("a shorter signature", &|case| case.signature.truncate(27)),
        with("a longer signature", &|case| case.signature.push('=')),
        with("a signature in lower case", &|case| case.signature.make_ascii_lowercase()),
        with("a signature with another token", &|case| {
            case.signature = sign(url, &json!(case.form), "12345678901234567890123456789012");
        }),
        with("a signature for another host", &|case| {
            case.signature = sign(&url.replace("wa.example.org", "wa.example.com"), &json!(case.form), token);
        }),
        with("a signature for http", &|case| {
            case.signature = sign(&url.replace("https:", "http:"), &json!(case.form), token);
        }),
        with("a signature for another path", &|case| {
            case.signature = sign(&format!("{url}/"), &json!(case.form), token);
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validator_of_twilio_agrees_about_every_request() {
    if !judges::asked() {
        eprintln!("skipped: COUNTERSIGN_INTEROP is not 1");
        return;
    }
    let index = index_of("twilio");
    let serve = Serve::start(&instances("http://127.0.0.1:1", "", secret)).await;
    let (url, token) = (format!("https://wa.example.org/webhooks/{}", id(index)), secret(index));
    let cases = cases(&url, &token);
    let claims: Vec<Value> = cases
        .iter()
        .map(|case| {
            let full = if case.query.is_empty() { url.clone() } else { format!("{url}?{}", case.query) };
            json!({ "validate": [full, case.given(), case.signature], "token": token })
        })
        .collect();
    let theirs: BTreeMap<&str, String> = cases.iter().map(|case| case.name).zip(judges::twilio(&claims)).collect();
    let mut ours = BTreeMap::new();
    for case in &cases {
        let (kind, body) = case.body();
        let query = if case.query.is_empty() { String::new() } else { format!("?{}", case.query) };
        let request = http::Request::post(format!("{}/webhooks/{}{query}", serve.base, id(index)))
            .header("content-type", kind)
            .header("x-twilio-signature", &case.signature)
            .body(body.into_bytes())
            .unwrap();
        let verdict = match client().send(request).await.unwrap().status().as_u16() {
            200 => "accepted",
            401 => "refused",
            other => panic!("{}: {other}", case.name),
        };
        ours.insert(case.name, verdict.to_owned());
    }
    assert_eq!(ours, theirs);
    let accepted = ours.values().filter(|verdict| *verdict == "accepted").count();
    assert!(accepted >= 7 && ours.len() - accepted >= 15, "{ours:#?}");
}

/// What arrived at the place of api.twilio.com.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Arrived {
    method: String,
    path: String,
    authorization: String,
    content_type: String,
    fields: Pairs,
}

async fn take(seen: web::Data<Mutex<Vec<Arrived>>>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut fields: Pairs = form_urlencoded::parse(&body).into_owned().collect();
    fields.sort();
    let (method, path) = (request.method().to_string(), request.uri().to_string());
    let (authorization, content_type) = (header("authorization"), header("content-type"));
    seen.lock().unwrap().push(Arrived { method, path, authorization, content_type, fields });
    HttpResponse::Created().json(json!({ "sid": "SM1", "status": "queued" }))
}

fn body_of(arrived: &Arrived) -> String {
    arrived.fields.iter().find(|(name, _)| name == "Body").unwrap().1.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_twilio_sends_what_we_send() {
    const TEXT: &str = "Welcome, Zoë & Söhne: 100% + \"a=b\" 👍\nhttps://a.example/?x=1";
    if !judges::asked() {
        eprintln!("skipped: COUNTERSIGN_INTEROP is not 1");
        return;
    }
    let seen = web::Data::new(Mutex::new(Vec::<Arrived>::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let data = web::Data::clone(&seen);
    let server = HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(take)));
    let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).unwrap().run();
    let handle = server.handle();
    tokio::spawn(server);
    let index = index_of("twilio");
    let (token, serve) = (secret(index), Serve::start(&instances(&base, "", secret)).await);

    let mint = http::Request::post(format!("{}/api/otp/v2/{}/generate-link", serve.base, id(index)))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(json!({ "message": { "success": TEXT } }).to_string().into_bytes())
        .unwrap();
    let minted: Value = serde_json::from_slice(client().send(mint).await.unwrap().body()).unwrap();
    let form = message(minted["data"]["text"].as_str().unwrap());
    let url = format!("https://wa.example.org/webhooks/{}", id(index));
    let case = SignedRequest {
        name: "",
        query: String::new(),
        json: String::new(),
        signature: sign(&url, &json!(form), &token),
        form: Some(form),
    };
    let webhook = http::Request::post(format!("{}/webhooks/{}", serve.base, id(index)))
        .header("content-type", case.body().0)
        .header("x-twilio-signature", &case.signature)
        .body(case.body().1.into_bytes())
        .unwrap();
    assert_eq!(client().send(webhook).await.unwrap().status(), 200);
    until("the reply is sent", async || !seen.lock().unwrap().is_empty()).await;

    // The text of the request, below which a reply has lines of ours.
    let reply = body_of(&seen.lock().unwrap()[0]);
    assert!(reply.starts_with(TEXT), "{reply}");
    let create = json!({ "to": "whatsapp:+447700900123", "from_": "whatsapp:+12025550142", "body": reply });
    let claim = json!({ "create": create, "base": base, "account": "AC1", "token": token });
    let said = tokio::task::spawn_blocking(move || judges::twilio(&[claim])).await.unwrap();
    assert_eq!(said, ["SM1"]);
    let seen: Vec<Arrived> = seen.lock().unwrap().clone();
    let [ours, theirs] = &seen[..] else { panic!("{seen:#?}") };
    assert_eq!(ours, theirs);
    drop(handle.stop(false));
    drop(Arc::new(serve));
}
