<?php
// $body is the raw body, file_get_contents('php://input'); $headers have lower-case names.
function verify(string $secret, array $headers, string $body): bool
{
    [$id, $at] = [$headers['webhook-id'], $headers['webhook-timestamp']];
    if (abs(time() - (int) $at) > 300) {
        return false;
    }
    $key = base64_decode(substr($secret, strlen('whsec_')));
    $mine = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$at.$body", $key, true));
    $given = explode(' ', $headers['webhook-signature']);
    return array_filter($given, fn ($one) => hash_equals($mine, $one)) !== [];
}
