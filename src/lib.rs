//! Login links and codes over WhatsApp. This page is the map of the code.
//!
//! An app requests a link; a person opens it and sends the prepared message; the gateway posts the message to the
//! daemon, which matches the code in it once, replies in the chat, and sends the app a signed callback.
//!
//! # Layers
//!
//! A module imports only from the rows above it; `tests/it/layers.rs` checks this.
//!
//! | layer | what it contains | what it must not depend on |
//! |---|---|---|
//! | [`hash`] | SHA-256 | what is hashed |
//! | [`domain`] | the protocol: records, [`domain::StateMachine::decide`], codes, texts, keys | I/O, time, randomness, JSON |
//! | [`api`] | the wire: structs of answers and callbacks with their schemas, problem codes, limits | what is decided |
//! | [`reader`] | reads what others wrote: configuration, bodies, forms; every fault at once | what it is for |
//! | [`clock`], [`random`], [`audit`] | the only access to the time, random bytes, the audit stream | their users |
//! | [`jose`] | signed tokens and the keys that sign them | what a token says |
//! | [`trace_context`] | the W3C trace context of the current task | what the task does |
//! | [`config`], [`metrics`] | configuration, generated credentials; metric families | connections |
//! | [`store`] | atomic changes of opaque records, in SQLite or Redis | the meaning of a record |
//! | [`gateway`] | one gateway dialect per file: webhooks to events, texts to requests | sockets, verifications |
//! | [`egress`] | outgoing connections, and which addresses they may reach | what is sent |
//! | [`jobs`] | payloads of jobs, permits, retry schedules | why a job exists |
//! | [`service`] | use cases: load, decide, commit | HTTP, HTML, Redis, SQLite |
//! | [`ops`] | what operators see: status, replicas, the store's health | how a verification proceeds |
//! | [`worker`] | leases jobs, attempts them, settles them | why a job exists |
//! | [`http`] | the API, the pages, the operator's endpoints | how records are stored or signed |
//! | [`telemetry`] | logs and span export | rules |
//! | [`app`] | wiring, listeners, signals, exit status | rules |
//! | [`dev`], [`doctor`] | the fake phone; test webhooks in every dialect, genuine and forged | how a message is matched |
//! | [`cli`] | the subcommands | |
//!
//! # A message arrives
//!
//! 1. `http::webhook` reads at most 3 MiB and hands bytes and headers to the instance's [`gateway::Gateway`],
//!    which authenticates the raw bytes before it parses them.
//! 2. [`service::Service::receive`] extracts at most three codes, looks them up in one round trip, and asks
//!    [`domain::StateMachine::decide`] how the message changes the record it found.
//! 3. One [`store::Records::commit`] writes the record (if its version is unchanged), the message's id, and the jobs:
//!    the reply, the callback. Only then does the gateway get its 200. Jobs for which this process has a
//!    [`jobs::permits::Permit`] are leased to it in the same step. They start at once, or when an attempt of their lane
//!    ends.
//! 4. [`worker::Worker`] attempts them and settles them. Every replica looks for due jobs once a second, and leases as
//!    many of each [`store::Lane`] as it has permits for. If a process dies, its leases expire and its jobs are leased
//!    again.
//!
//! # A link is created
//!
//! [`service::link_request::parse`] checks every field; [`service::Service::create_link`] takes from the quota and claims
//! the idempotency key in one round trip, then commits the record with its expiry timer. The code is derived
//! from the uuid, a nonce and the key, so the same link can be shown again and is stored nowhere.
//!
//! # A code is sent
//!
//! 1. [`service::Service::request_code`] commits three records at once: the new verification, the one it replaces, and
//!    the chat's own, which names the code that counts and holds the wrong tries ([`domain::chat_state`]). A job sends it.
//! 2. [`worker::Worker`] renders the message when it is sent, and records the result; [`domain::StateMachine::decide`]
//!    says whether another channel is tried.
//! 3. [`service::Service::validate`] compares the typed code, and commits the attempt with the chat's count before it
//!    answers.
//!
//! [`decisions`] explains the decisions that a newcomer would ask about.
//!
//! # Invariants
//!
//! - Every rule of the protocol is written once, in [`domain::StateMachine::decide`], and none in Lua or SQL.
//! - Every message and callback is sent by a job that was committed together with its cause.
//! - GET changes nothing.
//! - Personal data is stored encrypted; codes and tokens are stored only as keyed digests.
//! - Everything is bounded: sizes, times, counts, retries, queues.

pub mod api;
pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decisions;
pub mod dev;
pub mod doctor;
pub mod domain;
pub mod egress;
pub mod gateway;
pub mod hash;
pub mod http;
pub mod jobs;
pub mod jose;
pub mod metrics;
pub mod ops;
pub mod random;
pub mod reader;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod trace_context;
pub mod worker;
