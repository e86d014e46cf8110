//! Webhooks with a `Content-Encoding`.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::{SETUPS, daemon::ClockedDaemon};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// A coding, as a header and as a function.
type Coding = (&'static str, fn(&[u8]) -> Vec<u8>);

/// Every gateway may be behind something that encodes: with the signature over the plain bytes, or over the encoded ones.
#[tokio::test(flavor = "multi_thread")]
async fn encoded_webhooks_of_every_gateway_verify() {
    let daemon = ClockedDaemon::start().await;
    let codings: [Coding; 4] = [("gzip", gzip), ("X-GZIP", gzip), ("deflate", zlib), ("deflate", deflate)];
    for (index, name) in SETUPS.iter().map(|setup| setup.kind).enumerate() {
        let mut verified = daemon.metric("webhook_events_total", index, "result=\"verified\"");
        for (number, (coding, encode)) in codings.into_iter().enumerate() {
            let (url, mut webhook) = daemon.webhook(index).await;
            let signed_encoded = number % 2 == 0;
            // Twilio signs the decoded parameters.
            webhook.body = encode(&webhook.body);
            if signed_encoded && name != "twilio" {
                daemon.sign(index, &mut webhook);
            }
            webhook.headers.push(("content-encoding".to_owned(), coding.to_owned()));
            assert_eq!(ClockedDaemon::post(&url, &webhook).await, 200, "{name} {coding}");
            let now = daemon.metric("webhook_events_total", index, "result=\"verified\"");
            assert_eq!(now, verified + 1, "{name} {coding} {signed_encoded}");
            verified = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_encodings_and_bombs_are_refused() {
    // 4 MB in 4 kB, and 40 MB in 40 kB.
    let bombs = [4_000_000, 40_000_000].map(|size| gzip(&vec![b' '; size]));
    let daemon = ClockedDaemon::start().await;
    for (index, name) in SETUPS.iter().map(|setup| setup.kind).enumerate() {
        for coding in ["br", "zstd", "gzip, gzip", "compress"] {
            let (url, mut webhook) = daemon.webhook(index).await;
            webhook.headers.push(("content-encoding".to_owned(), coding.to_owned()));
            assert_eq!(ClockedDaemon::post(&url, &webhook).await, 415, "{name} {coding}");
        }
        let (url, mut webhook) = daemon.webhook(index).await;
        webhook.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
        let plain = webhook.body.clone();
        webhook.body = gzip(&plain);
        webhook.body.truncate(webhook.body.len() / 2);
        let cut = ClockedDaemon::post(&url, &webhook).await;
        assert!(cut == 400 || cut == 401, "{name}: {cut}");
        for bomb in &bombs {
            webhook.body.clone_from(bomb);
            let refused = ClockedDaemon::post(&url, &webhook).await;
            assert!([400, 401, 413].contains(&refused), "{name}: {refused}");
        }
        // Decoded by a proxy that left the header.
        webhook.body = plain;
        assert_eq!(ClockedDaemon::post(&url, &webhook).await, 200, "{name}");
    }
}
