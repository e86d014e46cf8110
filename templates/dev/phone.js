'use strict';

const $ = (id) => document.getElementById(id);
const pause = (millis) => new Promise((done) => setTimeout(done, millis));

// Text always goes in as text: what strangers wrote is never markup.
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) if (value != null && value !== false) node.setAttribute(name, value === true ? '' : value);
  node.append(...children.filter((child) => child != null));
  return node;
}

async function ask(path, body) {
  const response = await fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const text = await response.text();
  let answer = {};
  try { answer = text ? JSON.parse(text) : {}; } catch { answer = { message: text }; }
  if (!response.ok) throw new Error(answer.message || `the fake phone answered ${response.status}`);
  return answer;
}

// Keeps the nodes of `list` in step with `items`; what is open or focused stays so.
function keep(list, items, keyOf, create, update) {
  const known = new Map([...list.children].map((node) => [node.dataset.key, node]));
  let place = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = known.get(key);
    if (node) known.delete(key);
    else { node = create(item); node.dataset.key = key; }
    if (node === place) place = place.nextElementSibling;
    else list.insertBefore(node, place);
    const seen = JSON.stringify(item);
    if (update && node.dataset.seen !== seen) { update(node, item); node.dataset.seen = seen; }
  }
  for (const node of known.values()) node.remove();
}

const clock = (millis) => new Date(millis).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((part, index) =>
    index % 2 ? make('a', { href: part, target: '_blank', rel: 'noopener noreferrer' }, part) : part);
}

function pretty(text) {
  let value;
  try { value = JSON.parse(text); } catch { return [text]; }
  const parts = JSON.stringify(value, null, 2).split(/("(?:[^"\\]|\\.)*"(?:\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?)/);
  return parts.map((part, index) => {
    if (index % 2 === 0) return part;
    const kind = part.endsWith(':') ? 'key' : part.startsWith('"') ? 'text' : 'word';
    return make('span', { class: `json-${kind}` }, part);
  });
}

// The chat.

function bubble(item) {
  const parts = [make('p', { class: 'who' }), make('p', { class: 'words', dir: 'auto' }, ...linked(item.text)), make('p', { class: 'meta' })];
  const code = item.code && /[0-9A-Za-z]*[0-9][0-9A-Za-z]*/.exec(item.text)?.[0];
  if (code) {
    const type = make('button', { type: 'button', class: 'small' }, 'Type it into the app');
    type.addEventListener('click', () => { codeChat = item.chat; $('check').value = code; $('check').focus(); });
    parts.splice(2, 0, type);
  }
  return make('li', { class: `bubble ${item.side}${item.sms ? ' sms' : ''}` }, ...parts);
}

function refreshBubble(node, item) {
  const mine = item.side === 'person';
  node.querySelector('.who').textContent = [item.sms ? 'SMS' : null, mine ? nameOf(item.chat) : `to ${nameOf(item.chat)}`, item.note].filter(Boolean).join(' · ');
  const meta = [clock(item.at)];
  if (mine && item.status) meta.push(item.status === 200 ? `✓✓ webhook 200 in ${item.millis} ms` : `✗ webhook ${item.status}`);
  else if (mine) meta.push(item.millis == null ? 'on its way' : '✗ no answer');
  else if (item.millis != null && item.millis < 60000) meta.push(`${item.millis} ms after ${item.code ? 'the app asked' : 'the message'}`);
  node.querySelector('.meta').textContent = meta.join(' · ');
  node.classList.toggle('refused', mine && item.millis != null && item.status !== 200);
}

function nameOf(chat) {
  const option = [...$('sender').options].find((option) => option.value === chat);
  return option ? option.textContent : chat;
}

// Requests.

const WORDS = { pending: 'waiting', sent: 'sent', validated: 'validated', verified: 'verified', failed: 'failed', expired: 'expired', canceled: 'canceled' };
const LIVE = ['pending', 'sent'];
let fresh = null;

function request(item) {
  const write = item.text ? make('button', { type: 'button', class: 'small' }, 'Write it') : null;
  write?.addEventListener('click', () => compose(item.text));
  const actions = make('p', { class: 'row actions' }, write,
    item.start_url ? make('a', { class: 'small button', href: item.start_url, target: '_blank', rel: 'noopener noreferrer' }, 'Start page') : null);
  return make('li', { class: 'card' },
    make('p', { class: 'row head' }, make('span', { class: 'pill' }), make('span', { class: 'when' })),
    make('p', { class: 'said', dir: 'auto' }, item.text ?? `A code for ${item.chat_id ?? 'someone'}`),
    make('p', { class: 'who-proved' }), actions,
    make('details', {}, make('summary', {}, 'Timeline'), make('ol', { class: 'timeline' })));
}

function refreshRequest(node, item) {
  const pill = node.querySelector('.pill');
  pill.textContent = WORDS[item.status] ?? item.status;
  pill.className = `pill ${item.status}`;
  node.querySelector('.who-proved').textContent = [
    item.subject && `${item.subject.value}${item.subject.kind === 'phone' ? '' : ` (${item.subject.kind.toUpperCase()})`}`,
    item.completion?.state && `link ${item.completion.state}`, item.reason,
    item.otp_type !== 'link' && item.channel && `by ${item.channel === 'sms' ? 'SMS' : 'WhatsApp'}`,
    item.otp_type !== 'link' && item.attempts > 0 && `${item.attempts} of ${item.max_attempts} tries wrong`,
  ].filter(Boolean).join(' · ');
  node.querySelector('.timeline').replaceChildren(...(item.timeline ?? []).map((entry) =>
    make('li', {}, make('time', {}, clock(Date.parse(entry.at))), ` ${entry.event}${entry.reason ? `: ${entry.reason}` : ''}`)));
  node.classList.toggle('over', !LIVE.includes(item.status));
}

function refreshAges(items, now) {
  for (const [index, node] of [...$('requests').children].entries()) {
    const item = items[index];
    const left = Math.round((Date.parse(item.expires_at) - now) / 1000);
    const waiting = left > 90 ? `${Math.round(left / 60)} min left` : `${Math.max(left, 0)} s left`;
    node.querySelector('.when').textContent = LIVE.includes(item.status) ? waiting : clock(Date.parse(item.created_at));
    node.classList.toggle('fresh', item.uuid === fresh);
  }
}

// Callbacks. The newest is open.

let newest = 0;

function callback(item) {
  const headers = item.headers.map(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]).flat();
  const repeated = item.attempt > 1 ? `attempt ${item.attempt}` : null;
  return make('li', { class: 'card' },
    make('p', { class: 'row head' }, make('code', { class: 'type' }, item.kind), make('span', { class: 'when' }, clock(item.at))),
    make('p', { class: `badge ${item.genuine ? 'good' : 'bad'}` }, item.genuine ? '✓ signature verified' : '✗ signature is not made with your callback secret'),
    make('p', { class: 'quiet' }, [`answered ${item.status}`, repeated].filter(Boolean).join(' · ')),
    make('details', { open: item.id >= newest }, make('summary', {}, 'Body'), make('pre', { tabindex: '0' }, ...pretty(item.body))),
    make('details', {}, make('summary', {}, 'Headers'), make('dl', {}, ...headers)));
}

// What the person does.

function compose(text) {
  $('composer-text').value = text;
  $('composer-text').focus();
}

function sender() {
  const option = $('sender').selectedOptions[0];
  return option.value === 'other' ? { from: $('sender-other').value.trim() } : { from: option.value, push_name: option.dataset.name };
}

async function send(draft) {
  const note = $('composer-note');
  note.textContent = '';
  try { await ask('/send', { ...sender(), text: $('composer-text').value, ...draft }); return true; }
  catch (error) { note.textContent = error.message; return false; }
}

let lastText = '';

function currentText() {
  return $('composer-text').value.trim() || lastText;
}

const TROUBLE = {
  again: () => ({ how: 'again' }),
  late: () => ({ how: 'late' }),
  edit: () => ({ how: 'edit' }),
  group: () => ({ how: 'group' }),
  forged: () => ({ how: 'forged' }),
  lid: () => ({ from: '190000000000117@lid', push_name: 'Ana' }),
  other: () => sender().from === '+447700900456' ? { from: '+447700900123', push_name: 'Ana' } : { from: '+447700900456', push_name: 'Ben' },
  reworded: () => {
    const code = /[[［]\s*([0-9A-Za-z ]{8,24})\s*[\]］]/.exec(currentText());
    return { text: code ? `hello! my code is ${code[1].toLowerCase()} thanks` : `well, ${currentText()}` };
  },
};

$('trouble').addEventListener('click', async (event) => {
  const button = event.target.closest('button[data-do]');
  if (!button) return;
  if (button.dataset.do !== 'again' && !currentText()) {
    $('composer-note').textContent = 'Write a message first, or sign in.';
    return;
  }
  const text = currentText();
  if (await send({ text, ...TROUBLE[button.dataset.do]() }) && button.dataset.do !== 'forged') lastText = text;
});

$('composer').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = $('composer-text').value.trim();
  if (!text) return;
  if (await send({ text })) { lastText = text; $('composer-text').value = ''; }
});

$('composer-text').addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); $('composer').requestSubmit(); }
});

$('sender').addEventListener('change', () => {
  const other = $('sender').value === 'other';
  $('sender-other').hidden = !other;
  if (other) $('sender-other').focus();
  nameReceiver();
});

$('sender-other').addEventListener('input', nameReceiver);

// What the app does.

$('mint-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const note = $('mint-note');
  // Opened before the request: later, browsers would block it.
  const tab = window.open('', '_blank');
  const fields = { lang: $('mint-lang').value, expires: Number($('mint-expires').value), state: crypto.randomUUID() };
  if ($('mint-name').value.trim()) fields.name = $('mint-name').value.trim();
  if ($('mint-bound').checked) fields.chatId = sender().from;
  try {
    const { status, body } = await ask('/mint', fields);
    if (status !== 200) {
      note.textContent = faultOf({ status, body });
      tab?.close();
      return;
    }
    fresh = body.data.uuid;
    if (tab) tab.location = body.data.start_url;
    else location.assign(body.data.start_url);
    note.textContent = 'The start page is open in another tab.';
  } catch (error) { tab?.close(); note.textContent = error.message; }
});

// Who was sent the last code.
let codeChat = null;

function nameReceiver() {
  const { from, push_name: name } = sender();
  $('code-to').textContent = name || from || 'someone else';
}

function faultOf({ status, body }) {
  return (body.errors ?? []).map((fault) => `${fault.field} ${fault.detail}`).join('; ') || body.detail || `answered ${status}`;
}

function tell(text, good) {
  $('code-note').textContent = text;
  $('code-note').classList.toggle('bad', !good);
}

$('code-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const chatId = sender().from;
  try {
    const answer = await ask('/code', { chatId, no_whatsapp: $('code-sms').checked });
    if (answer.status !== 200) return tell(faultOf(answer), false);
    [codeChat, fresh] = [chatId, answer.body.data.uuid];
    $('check').value = '';
    tell('Sent. It arrives on the phone.', true);
  } catch (error) { tell(error.message, false); }
});

$('check-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const code = $('check').value.trim();
  if (!code) return;
  try {
    const answer = await ask('/code/check', { chatId: codeChat ?? sender().from, code });
    const good = answer.status === 200;
    tell(good ? '✓ 200, validated: the person has this chat.' : `✗ ${answer.status} ${answer.body.code}: ${faultOf(answer)}`, good);
  } catch (error) { tell(error.message, false); }
});

$('paste-form').addEventListener('submit', (event) => {
  event.preventDefault();
  let text = null;
  try { text = new URL($('paste').value.trim()).searchParams.get('text'); } catch { /* said below */ }
  $('mint-note').textContent = text ? 'The message is written: press Send.' : 'That is no wa.me link with a text.';
  if (text) { $('paste').value = ''; compose(text); }
});

$('inbox-status').addEventListener('change', () => ask('/inbox/status', { status: Number($('inbox-status').value) }).catch(() => {}));

// News.

function show(state) {
  const atEnd = $('chat').scrollHeight - $('chat').scrollTop - $('chat').clientHeight < 60;
  const before = $('bubbles').childElementCount;
  $('api').textContent = state.api;
  $('business-name').textContent = state.business.name;
  $('business-number').textContent = state.business.number;
  $('code-sms-label').hidden = !state.sms;
  $('avatar').textContent = [...state.business.name][0] ?? '';
  keep($('bubbles'), state.bubbles, (item) => item.id, bubble, refreshBubble);
  newest = state.callbacks.at(-1)?.id ?? 0;
  keep($('callbacks'), [...state.callbacks].reverse(), (item) => item.id, callback);
  if (state.requests) {
    keep($('requests'), state.requests, (item) => item.uuid, request, refreshRequest);
    refreshAges(state.requests, state.now);
    $('requests-empty').hidden = state.requests.length > 0;
  }
  $('chat-empty').hidden = state.bubbles.length > 0;
  $('callbacks-empty').hidden = state.callbacks.length > 0;
  if (document.activeElement !== $('inbox-status')) $('inbox-status').value = String(state.inbox_status);
  if (atEnd && $('bubbles').childElementCount !== before) $('chat').scrollTop = $('chat').scrollHeight;
}

function connected(yes) {
  const badge = $('link-state');
  const word = yes ? 'live' : 'the daemon is not running';
  if (badge.textContent !== word) badge.textContent = word;
  badge.classList.toggle('away', !yes);
}

async function follow() {
  let after = null;
  for (;;) {
    if (document.hidden) await new Promise((seen) => document.addEventListener('visibilitychange', seen, { once: true }));
    try {
      const response = await fetch(after == null ? '/state.json' : `/state.json?after=${after}`);
      const state = await response.json();
      after = state.revision;
      connected(true);
      show(state);
    } catch {
      connected(false);
      after = null;
      await pause(1000);
    }
  }
}

// The start page opens `/?text=…` instead of WhatsApp.
const written = new URLSearchParams(location.search).get('text');
if (location.search) history.replaceState(null, '', '/');
if (written) {
  compose(written);
  $('composer-note').textContent = 'The message is written, as in WhatsApp: press Send.';
}

follow();
