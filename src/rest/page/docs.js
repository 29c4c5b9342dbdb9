// Shows /asyncapi.json and /openapi.json. Text is only ever set as text: nothing of the documents becomes markup.

const el = (tag, attributes = {}, ...inside) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...inside.filter((part) => part !== undefined && part !== null));
  return node;
};

/** A text of the documents; what stands between backticks is code. */
const prose = (text) => text.split('`').map((part, i) => (i % 2 ? el('code', {}, part) : part));

const named = (reference) => reference.split('/').pop();
const at = (root, reference) => reference.slice(2).split('/').reduce((value, key) => value[key], root);

/** What a schema is, in a word or two; objects of the documents are links. */
const kind = (schema) => {
  if (!schema) return ['anything'];
  if (schema.$ref) return [el('a', { href: `#object-${named(schema.$ref)}` }, named(schema.$ref))];
  if (schema.oneOf) return schema.oneOf.flatMap((one, i) => (i ? [' or ', ...kind(one)] : kind(one)));
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((word) => JSON.stringify(word)).join(', ')];
  if (schema.type === 'array') return ['list of ', ...kind(schema.items)];
  const range = [schema.minimum !== undefined && `from ${schema.minimum}`, schema.maximum !== undefined && `to ${schema.maximum}`];
  const most = [schema.maxLength && `at most ${schema.maxLength} characters`, schema.pattern && schema.pattern];
  return [[schema.format ?? schema.type ?? 'anything', ...range, ...most].filter(Boolean).join(' ')];
};

const fields = (schema) => {
  const properties = Object.entries(schema?.properties ?? {});
  if (properties.length === 0) return el('p', { class: 'optional' }, schema?.oneOf || schema?.$ref ? el('span', {}, ...kind(schema)) : schema?.enum ? schema.enum.join(', ') : schema?.type && schema.type !== 'object' ? el('span', {}, ...kind(schema)) : 'no fields');
  const rows = properties.map(([name, field]) => {
    const needed = schema.required?.includes(name);
    const inner = field.type === 'object' && field.properties ? field : field.items?.properties ? field.items : undefined;
    const also = field['x-aliases'] ? ` Also accepted as ${field['x-aliases'].join(', ')}.` : '';
    return el('tr', {},
      el('td', {}, el('code', needed ? {} : { class: 'optional' }, needed ? name : `${name}?`)),
      el('td', {}, ...(inner ? [field.type === 'array' ? 'list of' : '', fields(inner)] : kind(field))),
      el('td', {}, ...prose(`${field.description ?? ''}${also}`)));
  });
  return el('table', {}, el('tbody', {}, ...rows));
};

const card = (id, head, words, ...inside) => {
  const node = el('details', { id }, el('summary', {}, ...head), el('div', { class: 'inside' }, ...inside));
  node.dataset.words = `${node.textContent} ${words}`.toLowerCase();
  return node;
};

const section = (title, body) => (body ? [el('h3', {}, title), body] : []);

const clientEvent = (doc, operation) => {
  const name = operation['x-event'];
  const message = at(doc, at(doc, operation.messages[0].$ref).$ref);
  const ack = at(doc, at(doc, operation.reply.messages[0].$ref).$ref).payload;
  const accepted = at(doc, at(doc, ack.$ref).oneOf[0].$ref);
  const alias = operation['x-alias-of'] ? ` Older name of ${operation['x-alias-of']}.` : '';
  return card(`client-${name}`, [el('code', {}, name), el('span', {}, ...prose(operation.summary + alias))], '',
    ...section('Payload', fields(at(doc, message.payload.$ref))),
    ...section('Ack', fields(accepted)),
    ...section('Heard as well', operation['x-emits'].length ? el('code', {}, operation['x-emits'].join(', ')) : undefined),
    ...section('Errors', el('code', { class: 'bad' }, operation['x-errors'].join(', '))));
};

const serverEvent = (doc, operation) => {
  const { payload } = at(doc, at(doc, operation.messages[0].$ref).$ref);
  const name = operation['x-event'];
  return card(`server-${name}`, [el('code', {}, name), el('span', {}, ...prose(operation.summary))], '', el('p', {}, ...kind(payload)),
    fields(payload.$ref ? at(doc, payload.$ref) : payload));
};

const route = (path, method, operation) => {
  const parameters = (operation.parameters ?? []).map((one) => [one.name, { ...one.schema, description: one.description, 'x-aliases': one['x-aliases'] }]);
  const required = (operation.parameters ?? []).filter((one) => one.required).map((one) => one.name);
  const who = operation['x-admins-only'] ? ' Admins only.' : operation.security.length ? '' : ' No credential needed.';
  const answers = Object.entries(operation.responses).filter(([status]) => status !== 'default');
  const body = operation.requestBody?.content?.['application/json']?.schema;
  return card(`route-${operation.operationId}`,
    [el('code', {}, el('span', { class: 'method' }, method.toUpperCase()), ` ${path}`), el('span', {}, ...prose(operation.summary + who))], '',
    ...section('Path and query', parameters.length ? fields({ properties: Object.fromEntries(parameters), required }) : undefined),
    ...section('Body', body && fields(body)),
    ...answers.flatMap(([status, answer]) => {
      const schema = answer.content?.['application/json']?.schema;
      return section(`${status} ${answer.description}`, schema && fields(schema));
    }));
};

const heading = (id, title) => el('h2', { id }, title);

const show = async () => {
  const [events, routes] = await Promise.all(['/asyncapi.json', '/openapi.json'].map(async (path) => {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return answer.json();
  }));
  const operations = Object.values(events.operations);
  const schemas = { ...routes.components.schemas, ...events.components.schemas };
  document.getElementById('all').replaceChildren(
    el('p', {}, ...prose(events.info.description)),
    heading('client', 'Events to the server'),
    ...operations.filter((one) => one.action === 'receive').map((one) => clientEvent(events, one)),
    heading('server', 'Events to clients'),
    ...operations.filter((one) => one.action === 'send').map((one) => serverEvent(events, one)),
    heading('routes', 'Routes'),
    ...Object.entries(routes.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, one]) => route(path, method, one))),
    heading('objects', 'Objects'),
    ...Object.entries(schemas).sort(([a], [b]) => a.localeCompare(b)).map(([name, schema]) =>
      card(`object-${name}`, [el('code', {}, name), el('span', {}, ...prose(schema.description ?? ''))], '', fields(schema))),
    heading('codes', 'Error codes'),
    ...Object.entries(events['x-codes']).map(([code, { status, meaning }]) =>
      card(`code-${code}`, [el('code', {}, code), el('span', {}, ...prose(meaning))], '', `By REST: ${status}`)),
  );
  document.getElementById('all').removeAttribute('aria-busy');
  open();
};

/** Opens what the address names. */
const open = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.scrollIntoView();
};

document.getElementById('find').addEventListener('input', ({ target }) => {
  const wanted = target.value.trim().toLowerCase();
  for (const node of document.querySelectorAll('details')) node.hidden = !node.dataset.words.includes(wanted);
});
addEventListener('hashchange', open);
show().catch((error) => document.getElementById('all').replaceChildren(el('p', { class: 'bad' }, `The documents could not be loaded: ${error.message}`)));
