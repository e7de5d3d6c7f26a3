// A browser without JavaScript: follows redirects, keeps cookies, fills in and submits whatever form it is shown.
import assert from 'node:assert/strict';
import { parse } from 'node-html-parser';

/** More pages than this between the authorization request and the client mean that the server goes in circles. */
const MAX_PAGES = 10;

export class Browser {
  #cookies = new Map();

  /**
   * Opens `start`, signs `person` in and presses `decision` until the server sends the browser to `redirectUri`.
   * Returns that address, which a real client would be listening on.
   */
  async authorize(start, redirectUri, person, decision) {
    let request = { method: 'GET', url: new URL(start) };
    const shown = [];
    for (let pages = 0; pages < MAX_PAGES; pages += 1) {
      const response = await this.#send(request);
      const location = response.headers.get('location');
      if (location) {
        assert.ok([302, 303].includes(response.status), `a redirect has status ${response.status}`);
        const target = new URL(location, request.url);
        if (target.href.startsWith(redirectUri)) return target;
        request = { method: 'GET', url: target };
        continue;
      }
      const html = await response.text();
      assert.equal(response.status, 200, `${request.method} ${request.url.pathname} was refused: ${html}`);
      assert.match(response.headers.get('content-type'), /^text\/html\b/);
      const form = chooseForm(parse(html));
      assert.ok(form, `a page without a form: ${html}`);
      const kind = form.querySelector('[type=password]') ? 'sign-in' : 'consent';
      assert.ok(!shown.includes(kind), `the ${kind} page was shown twice: ${html}`);
      shown.push(kind);
      request = submit(form, request.url, { username: person.username, password: person.password, decision });
    }
    assert.fail(`no redirect to ${redirectUri} after ${MAX_PAGES} pages`);
  }

  /**
   * Lets a device in, or not: opens its complete verification URI, confirms the code that is filled in there, signs
   * `person` in and presses `decision`. Returns the text of the last page, which has nothing left to press.
   */
  async activate(start, person, decision) {
    let request = { method: 'GET', url: new URL(start) };
    for (let pages = 0; pages < MAX_PAGES; pages += 1) {
      const response = await this.#send(request);
      const location = response.headers.get('location');
      if (location) {
        request = { method: 'GET', url: new URL(location, request.url) };
        continue;
      }
      const html = await response.text();
      assert.equal(response.status, 200, `${request.method} ${request.url.pathname} was refused: ${html}`);
      const page = parse(html);
      const form = chooseForm(page) ?? page.querySelector('form:has([name=user_code])');
      if (!form) return page.querySelector('main, body').text;
      request = submit(form, request.url, { username: person.username, password: person.password, decision });
    }
    assert.fail(`no end after ${MAX_PAGES} pages`);
  }

  async #send({ method, url, body }) {
    const headers = { accept: 'text/html' };
    const cookies = [...this.#cookies].map(([name, value]) => `${name}=${value}`);
    if (cookies.length > 0) headers.cookie = cookies.join('; ');
    // What browsers send with a form of a page that has `Referrer-Policy: no-referrer`.
    if (method === 'POST') headers.origin = 'null';
    const response = await fetch(url, { method, headers, body, redirect: 'manual' });
    for (const cookie of response.headers.getSetCookie()) this.#keep(cookie);
    return response;
  }

  #keep(cookie) {
    const [pair, ...attributes] = cookie.split(';').map((part) => part.trim());
    const name = pair.slice(0, pair.indexOf('='));
    const gone = attributes.some((attribute) => /^max-age=(0|-\d+)$/i.test(attribute));
    if (gone) this.#cookies.delete(name);
    else this.#cookies.set(name, pair.slice(name.length + 1));
  }
}

/** The form that asks for a password or a decision; other forms on a page are not for this browser. */
function chooseForm(page) {
  const forms = page.querySelectorAll('form');
  return forms.find((form) => form.querySelector('[type=password], [name=decision]'));
}

/** The request that a browser makes when the form is submitted (HTML, "constructing the entry list"). */
function submit(form, page, answers) {
  const entries = new URLSearchParams();
  for (const field of form.querySelectorAll('input[name]')) {
    const name = field.getAttribute('name');
    const type = (field.getAttribute('type') ?? 'text').toLowerCase();
    if (['submit', 'button', 'image', 'reset'].includes(type)) continue;
    if (['checkbox', 'radio'].includes(type) && !field.hasAttribute('checked')) continue;
    entries.append(name, answers[name] ?? field.getAttribute('value') ?? '');
  }
  const buttons = form.querySelectorAll('button, input[type=submit]');
  const decisions = buttons.filter((button) => button.getAttribute('name') === 'decision');
  const pressed =
    decisions.length > 0
      ? decisions.find((button) => button.getAttribute('value') === answers.decision)
      : buttons[0];
  assert.ok(pressed, `no button to press: ${form}`);
  const name = pressed.getAttribute('name');
  if (name) entries.append(name, pressed.getAttribute('value') ?? '');

  const url = new URL(form.getAttribute('action') || page.href, page);
  if ((form.getAttribute('method') ?? 'get').toLowerCase() === 'post') return { method: 'POST', url, body: entries };
  url.search = entries.toString();
  return { method: 'GET', url };
}
