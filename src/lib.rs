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
//! | [`api`] | the wire: structs of responses and callbacks with their schemas, problem codes, limits | what is decided |
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
//! # From a webhook to the callback
//!
//! 1. `http::webhook::receive` authenticates the raw bytes with [`gateway::Gateway::authenticate`] and turns them into
//!    events with [`gateway::Gateway::parse`].
//! 2. [`service::Inbound::receive`] extracts at most three codes ([`domain::message_codes::find_codes`]) and finds their
//!    links in one round trip ([`store::Records::find`]).
//! 3. [`domain::StateMachine::decide`] returns the next record, and as effects the reply and the callback.
//! 4. [`service::Verifications::apply`] makes one [`store::Change`] of them: the record, the message's id, and the jobs
//!    with their bodies.
//! 5. [`store::Records::commit`] writes the change if the record's version is still the one that was read; after a
//!    conflict, step 3 is repeated. Only after the commit does the gateway get its 200.
//! 6. [`jobs::permits::LocalDispatch::dispatch`] starts the jobs that this process has a permit for. [`worker::Worker::poll`]
//!    of any replica leases the others.
//! 7. `worker::callback::deliver` signs the body and sends it through [`egress::Egress::send`].
//!
//! # From a request to the stored link
//!
//! 1. `http::api::generate_link` authenticates the caller (`http::auth::authenticate`) and reads the body
//!    (`http::body::fields`).
//! 2. [`service::link_request::parse`] checks every field and reports all faults at once.
//! 3. [`service::Links::create`] draws a nonce. Key and nonce yield the code ([`domain::KeyRing::link_code`]), and
//!    the code yields the id, so the code is stored nowhere.
//! 4. `service::Admissions::admit` takes from the limits and claims the idempotency key, in one round trip.
//! 5. [`domain::Verification::link`] is the new record, and [`store::record::encode`] encrypts it.
//! 6. [`store::Records::commit`] writes it with its expiry timer.
//! 7. `http::view::link` renders the answer.
//!
//! # From a job to its end
//!
//! 1. A commit hands the job over with its lease, or [`worker::Worker::poll`] leases it: [`jobs::permits::Permits`] limits
//!    how many jobs of each [`store::Lane`] this process holds.
//! 2. [`worker::Worker::start`] runs it as a separate task, in the order of its lane.
//! 3. [`worker::Worker::run_supervised`] makes a settlement of a panic, and of a shutdown.
//! 4. [`worker::Worker::run_job`] decrypts the payload ([`jobs::payload::JobPayload::open_leased`]).
//! 5. `worker::callback::deliver`, `worker::reply::send`, `worker::code::send`, `worker::approval::send` or
//!    `worker::timer::fire` does the work. Messages are rendered only now.
//! 6. [`store::Jobs::settle`] records the [`store::Settlement`], unless the lease has expired and another worker has the
//!    job.
//! 7. [`worker::Worker::start_waiting_in`] starts the next job of the lane.
//!
//! A code to a chat takes the same walks: [`service::Codes::request`] commits the new verification, the one that
//! it replaces and the chat's own record ([`domain::chat_state`]) at once, and [`service::Codes::validate`] commits
//! each attempt before it answers.
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

#![allow(rustdoc::private_intra_doc_links, reason = "this page is read with --document-private-items")]

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
