// cargo add standardwebhooks; it also refuses what is older than five minutes.
pub fn verify(secret: &str, headers: &http::HeaderMap, body: &[u8]) -> bool {
    standardwebhooks::Webhook::new(secret).is_ok_and(|webhook| webhook.verify(body, headers).is_ok())
}
