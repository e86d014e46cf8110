//! One measured program: requests per second, and what a request costs whom.

use std::{net::SocketAddr, time::Duration};

use crate::{
    client::{Supply, closed_loop},
    process::Process,
    report::{Report, after_warm_up, median},
};

/// Rounds of one program, each with its three figures.
#[derive(Default)]
pub(crate) struct Series {
    per_second: Vec<f64>,
    server_micros: Vec<f64>,
    store_micros: Vec<f64>,
}

impl Series {
    pub(crate) fn rate(&self) -> f64 {
        median(after_warm_up(&self.per_second))
    }

    /// What a request costs, the server and its store together.
    pub(crate) fn micros(&self) -> f64 {
        median(after_warm_up(&self.server_micros)) + median(after_warm_up(&self.store_micros))
    }

    pub(crate) fn print(&self, name: &str) {
        Report::row(
            name,
            [&self.per_second, &self.server_micros, &self.store_micros].map(|values| median(after_warm_up(values))),
        );
    }
}

/// A server and the Redis behind it.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) server: &'a Process,
    pub(crate) store: &'a Process,
}

impl Pair<'_> {
    /// A closed loop and, still on its account, whatever `afterwards` waits for.
    pub(crate) async fn round(
        self,
        series: &mut Series,
        supply: Supply<'_>,
        limit: Duration,
        afterwards: impl AsyncFnOnce(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let before = (self.server.cpu_seconds()?, self.store.cpu_seconds()?);
        let round = closed_loop(self.address, supply, limit).await?;
        afterwards(round.bodies.len()).await?;
        let micros = |seconds: f64| seconds / (round.per_second() * round.elapsed.as_secs_f64()) * 1e6;
        series.per_second.push(round.per_second());
        series.server_micros.push(micros(self.server.cpu_seconds()? - before.0));
        series.store_micros.push(micros(self.store.cpu_seconds()? - before.1));
        Ok(round.bodies)
    }
}

/// Nothing to wait for.
pub(crate) async fn nothing(_count: usize) -> anyhow::Result<()> {
    Ok(())
}
