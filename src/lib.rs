//! Login links over WhatsApp: the map of the house.
//!
//! An app asks for a link; a person taps it and presses Send; the gateway posts the message here; the code in
//! it is matched once; the person is answered in the chat and the app by a signed callback.
//!
//! # Layers
//!
//! Imports flow down, and a test fails when one does not.
//!
//! | layer | what it is | what it must never know |
//! |---|---|---|
//! | [`domain`] | the protocol: records, [`domain::decide()`], codes, texts, keys | I/O, time, randomness, JSON |
//! | [`api`] | the wire: structs of answers and callbacks with their schemas, problem codes, limits | what is decided |
//! | [`reader`] | reads what others wrote: configuration, bodies, forms; every fault at once | what it is for |
//! | [`clock`], [`random`], [`audit`] | the only access to the wall clock, to random bytes, to the audit stream | its callers |
//! | [`trace_context`] | the W3C trace context of the current task | what the task does |
//! | [`config`], [`metrics`] | the configuration and generated credentials; metric families | connections; which code increments a metric |
//! | [`store`] | atomic bytes on disk or in Redis | why a state follows another |
//! | [`gateway`] | one dialect per file: bytes to events, texts to requests | sockets, verifications |
//! | [`egress`] | outgoing connections, and which addresses they may reach | what is sent |
//! | [`jobs`] | what a job is, how much may be in flight, when it is tried again | why a job exists |
//! | [`service`] | use cases: load, decide, commit | HTTP, HTML, Redis, SQLite |
//! | [`worker`] | lease, attempt, settle | why a job exists |
//! | [`http`] | two listeners, problems, pages | how anything is stored or signed |
//! | [`telemetry`] | logs and span export | rules |
//! | [`app`] | wiring, listeners, signals, exit status | rules |
//! | [`dev`], [`doctor`] | the fake phone; webhooks in every dialect, genuine and forged | how a message is matched |
//! | [`cli`] | subcommands | |
//!
//! # A message arrives
//!
//! 1. `http::webhook` reads at most 3 MiB and hands bytes and headers to the instance's [`gateway::Gateway`],
//!    which authenticates the raw bytes before it parses them.
//! 2. [`service::Service::receive`] extracts at most three codes, looks them up in one round trip, and asks
//!    [`domain::decide()`] what the message does to the record it found.
//! 3. One [`store::Records::commit`] writes the record (if nobody moved first), the message's id, and the jobs:
//!    the reply, the callback. The gateway hears 200 only now. Jobs for which this process has a
//!    [`jobs::permits::Permit`] are leased to it in the same step and start at once.
//! 4. [`worker::Worker`] attempts them and settles. Every replica looks once a second for what came due, and leases as
//!    much of each [`store::Lane`] as it has permits for. A process that dies loses the lease, never the job.
//!
//! # A link is minted
//!
//! [`service::input::mint`] names every faulty field; [`service::Service::mint`] takes from the quota and claims
//! the idempotency key in one round trip, then commits the record with its expiry timer. The code is derived
//! from the uuid, a nonce and the key, so the same link can be shown again and is stored nowhere.
//!
//! # A code is sent
//!
//! 1. [`service::Service::request_code`] commits three records at once: the new verification, the one it replaces, and
//!    the chat's own, which names the code that counts and holds the wrong tries ([`domain::target`]). A job sends it.
//! 2. [`worker::Worker`] renders the message when it is sent, and writes down how it fared; [`domain::decide()`] says
//!    whether another channel takes over.
//! 3. [`service::Service::validate`] compares what was typed, commits the try with the chat's count, and only then
//!    answers.
//!
//! [`decisions`] says why, for what a newcomer would ask.
//!
//! # Invariants
//!
//! - Every rule of the protocol is written once, in [`domain::decide()`]. Lua and SQL know none.
//! - What leaves the process leaves as a job, committed together with its cause.
//! - GET changes nothing.
//! - Everything personal at rest is sealed; codes and tokens are only there as keyed digests.
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
pub mod http;
pub mod jobs;
pub mod metrics;
pub mod random;
pub mod reader;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod trace_context;
pub mod worker;
