'use strict';

const $ = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

const parameters = new URLSearchParams(location.search);
for (const [name, value] of parameters) $('parameters').append(make('dt', '', name), make('dd', '', value));
const token = parameters.get('token');
$('bare').hidden = parameters.size > 0;
$('redeem-form').hidden = !token;

$('redeem-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const fields = { token };
  if ($('verifier').value) fields.verifier = $('verifier').value;
  try {
    const response = await fetch('/redeem', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(fields) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.message);
    const { status, body } = answer;
    const subject = body.data?.subject;
    const verdict = status === 200
      ? make('p', 'badge good', `✓ Hello ${subject?.value ?? 'there'}. Now your server may log this browser in.`)
      : make('p', 'badge bad', `✗ ${status}: ${body.title ?? 'refused'}. ${body.detail ?? ''}`);
    $('answer').replaceChildren(verdict, make('pre', '', JSON.stringify(body, null, 2)));
  } catch (error) {
    $('answer').replaceChildren(make('p', 'badge bad', `✗ ${error.message}`));
  }
});
