<?php
// The calls of Hypersender's Laravel package, with its headers and its JSON: one client, three methods with positional
// arguments. The base URL, the instance and the key are what its configuration holds.

final class OtpClient
{
    public function requestCode(string $chatId, int $length, bool $useLetter, bool $useNumber, bool $allCapital, string $name, int $expires): array
    {
        return $this->post('request-code', compact('chatId', 'length', 'useLetter', 'useNumber', 'allCapital', 'name', 'expires'));
    }

    public function validateCode(string $chatId, string $code): array
    {
        return $this->post('validate-code', compact('chatId', 'code'));
    }

    public function generateLink(string $chatId, int $expires, string $name, array $message, array $callback): array
    {
        return $this->post('generate-link', compact('chatId', 'expires', 'name', 'message', 'callback'));
    }

    private function post(string $path, array $body): array
    {
        $request = curl_init(getenv('OTP_BASE_URL') . '/' . getenv('OTP_INSTANCE_ID') . '/' . $path);
        curl_setopt_array($request, [
            CURLOPT_POST => true,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_POSTFIELDS => json_encode($body),
            CURLOPT_HTTPHEADER => [
                'Accept: application/json',
                'Content-Type: application/json',
                'User-Agent: Hypersender Laravel SDK',
                'Authorization: Bearer ' . getenv('OTP_API_KEY'),
            ],
        ]);
        $text = curl_exec($request);
        if ($text === false) {
            throw new RuntimeException(curl_error($request));
        }
        return ['status' => curl_getinfo($request, CURLINFO_RESPONSE_CODE), 'json' => json_decode($text, true, 512, JSON_THROW_ON_ERROR)];
    }
}

/** What an app shows of a failed call. */
function reason(array $answer): string
{
    return $answer['json']['message'] ?? 'unknown error';
}

$client = new OtpClient();
$chat = '447700900123@c.us';
$requested = $client->requestCode($chat, 6, false, true, false, 'Café "Harbour" / 2', 600);
$wrong = $client->validateCode($chat, 'not it');
$right = $client->validateCode($chat, $requested['json']['data']['code'] ?? '');
$again = $client->validateCode($chat, $requested['json']['data']['code'] ?? '');
$empty = $client->generateLink($chat, 1800, 'Harbour', [], []);
$texts = ['prompt' => 'Sign me in – Harbour', 'success' => 'Welcome to {name}: {link}', 'failed' => 'No.', 'expired' => 'Too late.'];
$calls = ['success' => 'https://app.example.org/wa/ok', 'failed' => 'https://app.example.org/wa/bad'];
$full = $client->generateLink($chat, 3600, 'Harbour', $texts, $calls);
$bad = $client->generateLink('not a chat', 5, 'Harbour', $texts, $calls);

echo json_encode([
    'requested' => $requested, 'wrong' => $wrong['status'], 'wrong_reason' => reason($wrong), 'right' => $right,
    'again' => $again['status'], 'again_reason' => reason($again), 'empty' => $empty, 'full' => $full,
    'bad' => $bad['status'], 'bad_reason' => reason($bad),
], JSON_PRETTY_PRINT), "\n";
