//! The daemon from outside, on real sockets, over real stores.
#![expect(clippy::unwrap_used, reason = "what cannot go on has failed")]

mod api;
mod app;
mod callbacks;
mod codes;
mod codes_protocol;
mod codes_races;
mod contract;
mod doctor;
mod events;
mod every_gateway;
mod fakes;
mod flow;
mod gateways;
mod gateways_answers;
mod gateways_fuzz;
mod gateways_generic;
mod gateways_guide;
mod gateways_order;
mod gateways_parse;
mod gateways_presets;
mod gateways_replies;
mod gateways_send;
mod gateways_senders;
mod gateways_wire;
mod layers;
mod matching;
mod operate_metrics;
mod operate_reload;
mod operate_status;
mod process;
mod promises;
mod protocol;
mod redis_faults;
mod redis_server;
mod store;
