//! Random walks: replicas learn of a new look-up key, are killed and restarted in any order, while people log in
//! through any of them.

use std::{collections::HashMap, pin::pin, sync::Arc, task::Poll, time::Duration};

use countersign::{
    app::Application,
    config::{self, Config},
    domain::{Reason, Sender, chat_state::LockoutPolicy, quota::LimitName},
    gateway::WebhookEvent,
    ops::Ops,
    service::{
        Idempotency, Instance, LinkRequest, Outcome, RequestContext, ServiceError, Services, code_request,
        code_request::{CodeSelector, ValidationRequest},
        link_request,
    },
};
use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, json};

use crate::daemon::{TestStore, WAHA, World, build};

const REPLICAS: usize = 3;
const COOLDOWN: SignedDuration = SignedDuration::from_secs(90);

#[derive(Clone, Copy, Debug)]
enum ModelStep {
    /// A person sends the message of this number, perhaps again.
    Message {
        by: usize,
        message: usize,
    },
    /// An app repeats a request with this idempotency key.
    Claim {
        by: usize,
        key: usize,
    },
    /// A code is requested for this chat.
    Code {
        by: usize,
        chat: usize,
    },
    /// The last code of this chat is typed, or another one.
    Type {
        by: usize,
        chat: usize,
        right: bool,
    },
    /// The replica looks at the keys, and is cut off after so many steps.
    Look {
        by: usize,
        steps: usize,
    },
    /// The replica is killed and restarted.
    Restart {
        by: usize,
    },
    /// It is given the next number.
    Ask {
        by: usize,
    },
    Minutes(u64),
    Days(u64),
}

fn step() -> impl Strategy<Value = ModelStep> {
    let by = 0..REPLICAS;
    prop_oneof![
        8 => (by.clone(), 0usize..6).prop_map(|(by, message)| ModelStep::Message { by, message }),
        5 => (by.clone(), 0usize..4).prop_map(|(by, key)| ModelStep::Claim { by, key }),
        4 => (by.clone(), 0usize..2).prop_map(|(by, chat)| ModelStep::Code { by, chat }),
        6 => (by.clone(), 0usize..2, any::<bool>()).prop_map(|(by, chat, right)| ModelStep::Type { by, chat, right }),
        6 => (by.clone(), 1usize..40).prop_map(|(by, steps)| ModelStep::Look { by, steps }),
        2 => by.clone().prop_map(|by| ModelStep::Restart { by }),
        3 => by.prop_map(|by| ModelStep::Ask { by }),
        3 => (0u64..3).prop_map(ModelStep::Minutes),
        3 => (1u64..34).prop_map(ModelStep::Days),
    ]
}

/// What must be so, whichever replica is asked.
#[derive(Default)]
struct Model {
    /// Text and time of each message that was handled.
    messages: HashMap<usize, (String, Timestamp)>,
    claims: HashMap<usize, (String, Timestamp)>,
    chats: HashMap<usize, ChatModel>,
}

struct ChatModel {
    asked_at: Timestamp,
    code: String,
    /// Wrong tries at this code; `None` when it has ended.
    misses: Option<u32>,
}

struct ReplicaSet {
    world: World,
    config: Config,
    replicas: Vec<Application>,
    asked: u32,
    model: Model,
}

impl ReplicaSet {
    async fn start(world: World) -> Self {
        let text = world.config("127.0.0.1:0", "127.0.0.1:0");
        let config = config::load_text(&text, [], &[]).into_result();
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            replicas.push(build(&config, &world.clock).await);
        }
        Self { world, config, replicas, asked: 1, model: Model::default() }
    }

    fn service(&self, by: usize) -> (Arc<Services>, Arc<Instance>) {
        let services = Arc::clone(&self.replicas[by].services);
        let instance = services.env.instances.get(WAHA.parse().unwrap()).unwrap();
        (services, instance)
    }

    async fn check_keys(&self) {
        for replica in &self.replicas {
            Ops::new(&replica.services).observe().await.unwrap();
        }
    }

    async fn apply(&mut self, step: ModelStep) {
        match step {
            ModelStep::Message { by, message } => self.message(by, message).await,
            ModelStep::Claim { by, key } => self.claim(by, key).await,
            ModelStep::Code { by, chat } => self.code(by, chat).await,
            ModelStep::Type { by, chat, right } => self.type_code(by, chat, right).await,
            ModelStep::Look { by, steps } => {
                let ops = Ops::new(&self.replicas[by].services);
                let mut looking = pin!(ops.observe());
                let mut left = steps;
                std::future::poll_fn(|context| {
                    left -= 1;
                    if left == 0 { Poll::Ready(()) } else { looking.as_mut().poll(context).map(|_| ()) }
                })
                .await;
            }
            ModelStep::Restart { by } => self.replicas[by] = build(&self.config, &self.world.clock).await,
            ModelStep::Ask { by } => {
                self.asked += 1;
                self.config.look_up_key_number = self.asked;
                self.replicas[by].services.shared.key_state.request_look_up_key(self.asked);
            }
            // Never exactly at an end of something.
            ModelStep::Minutes(minutes) => self.world.clock.advance(Duration::from_secs(minutes * 60 + 7)),
            // Each of them looks every few seconds.
            ModelStep::Days(days) => {
                for _ in 0..days {
                    self.check_keys().await;
                    self.world.clock.advance(Duration::from_hours(24));
                }
                self.check_keys().await;
            }
        }
    }

    async fn message(&mut self, by: usize, message: usize) {
        let (services, instance) = self.service(by);
        let now = services.env.store.now();
        let known = self.model.messages.get(&message).cloned();
        let text = match &known {
            Some((text, _)) => text.clone(),
            None => {
                let input = mint(&instance, &Map::new());
                let record = services
                    .links
                    .create(&RequestContext::new(&services.env.store), &instance, "walk", input, None)
                    .await
                    .outcome
                    .unwrap();
                format!("[{}]", record.link_code(&services.env.keys).unwrap().as_str())
            }
        };
        let number = format!("44770090012{message}");
        let event = WebhookEvent {
            message_id: Some(format!("W{message}")),
            chat_id: Some(format!("{number}@c.us")),
            sender: Sender::new(Some(number.parse().unwrap()), None, None),
            text: Some(text.clone()),
            ..WebhookEvent::default()
        };
        let outcome =
            services.inbound.receive(&RequestContext::new(&services.env.store), &instance, &event).await.unwrap();
        match known {
            None => {
                assert_eq!(outcome, Outcome::Verified, "message {message}");
                self.model.messages.insert(message, (text, now));
            }
            // A record is kept for seven days, and no shorter than that its message is remembered.
            Some((_, at)) if now.duration_since(at) < SignedDuration::from_hours(7 * 24) => {
                assert_eq!(outcome, Outcome::Duplicate, "message {message}");
            }
            Some(_) => assert_ne!(outcome, Outcome::Verified, "message {message}"),
        }
    }

    async fn claim(&mut self, by: usize, key: usize) {
        let (services, instance) = self.service(by);
        let body = json!({"client_ref": format!("cart {key}")});
        let input = mint(&instance, body.as_object().unwrap());
        let idempotency = Idempotency { key: format!("key {key}"), body: body.to_string() };
        let record = services
            .links
            .create(&RequestContext::new(&services.env.store), &instance, "walk", input, Some(idempotency))
            .await
            .outcome
            .unwrap();
        let (uuid, now) = (record.id.to_string(), services.env.store.now());
        let held = self.model.claims.get(&key).filter(|(_, at)| now < *at + Duration::from_hours(24));
        if let Some((first, _)) = held {
            assert_eq!(&uuid, first, "key {key}");
            return;
        }
        self.model.claims.insert(key, (uuid, now));
    }

    async fn code(&mut self, by: usize, chat: usize) {
        let (services, instance) = self.service(by);
        let body = json!({"chatId": chat_id(chat)});
        let mut input = code_request::parse(body.as_object().unwrap(), &instance).unwrap();
        input.cooldown = Some(COOLDOWN);
        let asked = services
            .codes
            .request(&RequestContext::new(&services.env.store), &instance, "walk", input, None)
            .await
            .outcome;
        let now = services.env.store.now();
        let cooling = self.model.chats.get(&chat).is_some_and(|chat| now < chat.asked_at + COOLDOWN);
        match asked {
            Ok(record) => {
                assert!(!cooling, "chat {chat} has been given a code too early");
                let code = services.codes.otp_code(&record, services.env.store.now()).unwrap().as_str().to_owned();
                self.model.chats.insert(chat, ChatModel { asked_at: now, code, misses: Some(0) });
            }
            Err(ServiceError::LimitExhausted(status)) => {
                assert!(cooling && status.name == LimitName::Cooldown, "chat {chat} may ask: {status:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn type_code(&mut self, by: usize, chat: usize, right: bool) {
        let (services, instance) = self.service(by);
        let Some(model) = self.model.chats.get_mut(&chat) else { return };
        let code = if right { model.code.clone() } else { crate::codes::wrong(&model.code) };
        let typed = ValidationRequest { selector: CodeSelector::Chat(chat_id(chat).parse().unwrap()), code };
        let guard = LockoutPolicy { lockout: None, max_per_window: None, full_window: false };
        let outcome = services
            .codes
            .validate(&RequestContext::new(&services.env.store), &instance, "walk", &typed, guard, None)
            .await
            .outcome;
        let live = services.env.store.now() < model.asked_at + Duration::from_mins(30);
        match (model.misses, outcome) {
            (Some(_), Ok(_)) => {
                assert!(right && live, "chat {chat}");
                model.misses = None;
            }
            (Some(misses), Err(ServiceError::CodeWrong { attempts_remaining })) => {
                assert!(!right && live && misses + 1 + attempts_remaining == 5, "chat {chat}: {misses} before");
                model.misses = Some(misses + 1);
            }
            (Some(misses), Err(ServiceError::Code(Reason::AttemptsExhausted))) => {
                assert!(!right && live && misses == 4, "chat {chat}: {misses} before");
                model.misses = None;
            }
            (Some(_), Err(ServiceError::Code(Reason::CodeExpired | Reason::CodeNotActive))) => {
                assert!(!live, "chat {chat}");
                model.misses = None;
            }
            (None, Err(ServiceError::Code(_))) => {}
            (misses, outcome) => panic!("chat {chat}, {misses:?} before: {outcome:?}"),
        }
    }
}

fn chat_id(chat: usize) -> String {
    format!("44770090045{chat}@c.us")
}

fn mint(instance: &Instance, body: &Map<String, serde_json::Value>) -> LinkRequest {
    link_request::parse(body, instance).unwrap_or_else(|faults| panic!("{faults:?}"))
}

#[test]
fn random_key_changes_lose_and_repeat_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = crate::redis_server::start();
    let test_store = TestStore::Redis(Arc::new(server));
    let config =
        ProptestConfig { cases: 24, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(step(), 10..60);
    let walk = |steps: Vec<ModelStep>| {
        runtime.block_on(async {
            let TestStore::Redis(server) = &test_store else { unreachable!() };
            let _: () = redis::cmd("FLUSHALL").query(&mut server.connection()).unwrap();
            let mut world = World::new(TestStore::Redis(server.clone()));
            world.instance_lines = "[instance.limits]\ncodes_per_chat_10m = 0\ncodes_per_country_10m = 0\ncodes_per_prefix_10m = 0\nsuccess_replies_per_10m = 0\n".to_owned();
            let mut fleet = ReplicaSet::start(world).await;
            for step in steps {
                fleet.apply(step).await;
            }
        });
        Ok(())
    };
    TestRunner::new(config).run(&steps, walk).unwrap();
}
