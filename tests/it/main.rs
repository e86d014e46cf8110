mod app;
mod fakes;
mod flow;
mod redis_server;
mod store;
