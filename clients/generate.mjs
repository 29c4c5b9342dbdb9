#!/usr/bin/env node
// Makes the types of clients/typescript and clients/dart from docs/asyncapi.json, which is what the program says of itself.
//
//   clients/generate.mjs           writes them
//   clients/generate.mjs --check   fails if what is there is something else
//
// Needs Node alone.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const document = JSON.parse(readFileSync(at('../docs/asyncapi.json'), 'utf8'));
const follow = (reference) => reference.slice(2).split('/').reduce((value, key) => value[key], document);
const named = (reference) => reference.split('/').pop();

const schemas = Object.entries(document.components.schemas).sort(([a], [b]) => (a < b ? -1 : 1));
const events = (action) =>
  Object.values(document.operations)
    .filter((operation) => operation.action === action)
    .map((operation) => {
      const payload = (message) => follow(follow(message.$ref).$ref).payload.$ref;
      return {
        name: operation['x-event'],
        older: operation['x-alias-of'],
        summary: operation.summary,
        payload: named(payload(operation.messages[0])),
        ack: operation.reply && named(payload(operation.reply.messages[0])),
      };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
const codes = Object.entries(document['x-codes']);

const isObject = (schema) => schema.type === 'object';
const oneLine = (text) => text.replace(/\s+/g, ' ').trim();

const HEAD = `Made by clients/generate.mjs from docs/asyncapi.json: change that, not this. Version ${document.info.version} of the contract.`;

// TypeScript

const tsType = (schema) => {
  if (schema.$ref) return named(schema.$ref);
  if (schema.oneOf) return schema.oneOf.map(tsType).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((word) => JSON.stringify(word)).join(' | ');
  switch (schema.type) {
    case 'string': return 'string';
    case 'integer': case 'number': return 'number';
    case 'boolean': return 'boolean';
    case 'array': return `Array<${tsType(schema.items)}>`;
    default: throw new Error(`no TypeScript for ${JSON.stringify(schema)}`);
  }
};

const tsKey = (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name));
const tsDoc = (text, indent = '') => (text ? `${indent}/** ${oneLine(text).replaceAll('*/', '*\\/')} */\n` : '');

const tsSchema = ([name, schema]) => {
  const doc = tsDoc(schema.description);
  if (!isObject(schema)) return `${doc}export type ${name} = ${tsType(schema)};\n`;
  const fields = Object.entries(schema.properties ?? {}).map(([field, inner]) => {
    const needed = schema.required?.includes(field) ? '' : '?';
    return `${tsDoc(inner.description, '  ')}  ${tsKey(field)}${needed}: ${tsType(inner)};\n`;
  });
  if (fields.length === 0) return `${doc}export type ${name} = Record<string, never>;\n`;
  return `${doc}export interface ${name} {\n${fields.join('')}}\n`;
};

const typescript = () => {
  const server = events('send').map(({ name, summary, payload }) => `${tsDoc(summary, '  ')}  ${JSON.stringify(name)}: (payload: ${payload}) => void;\n`);
  const client = events('receive').map(({ name, older, summary, payload, ack }) => {
    const words = older ? `${summary} Older name of \`${older}\`.` : summary;
    return `${tsDoc(words, '  ')}  ${JSON.stringify(name)}: (payload: ${payload}, ack: (answer: ${ack}) => void) => void;\n`;
  });
  return [
    `// ${HEAD}\n`,
    ...schemas.map(tsSchema),
    `/** What the server says: \`Socket<ServerToClientEvents, ClientToServerEvents>\` of socket.io-client. */\nexport interface ServerToClientEvents {\n${server.join('')}}\n`,
    `/** What a client may say. The ack is part of each: \`const answer: AnswerTo<"dm:sync"> = await socket.timeout(10_000).emitWithAck("dm:sync", payload)\`. */\nexport interface ClientToServerEvents {\n${client.join('')}}\n`,
    `/** What the ack of an event holds. Needed beside \`timeout\`, with which socket.io-client forgets the type. */\nexport type AnswerTo<Name extends keyof ClientToServerEvents> = Parameters<Parameters<ClientToServerEvents[Name]>[1]>[0];\n`,
  ].join('\n');
};

// Dart

const RESERVED = new Set(['assert', 'break', 'case', 'catch', 'class', 'const', 'continue', 'default', 'do', 'else', 'enum', 'extends', 'false', 'final', 'finally', 'for', 'if', 'in', 'is', 'new', 'null', 'rethrow', 'return', 'super', 'switch', 'this', 'throw', 'true', 'try', 'var', 'void', 'while', 'with']);
const camel = (text) => {
  const [first, ...rest] = text.split(/[^A-Za-z0-9]+/).filter(Boolean).map((word) => (word === word.toUpperCase() ? word.toLowerCase() : word));
  const name = first[0].toLowerCase() + first.slice(1) + rest.map((word) => word[0].toUpperCase() + word.slice(1)).join('');
  return RESERVED.has(name) ? `${name}_` : name;
};
// A leading underscore makes a name private in Dart.
const dartField = (name) => (name === '_id' ? 'documentId' : camel(name));
const dartDoc = (text, indent = '') => (text ? `${indent}/// ${oneLine(text)}\n` : '');
const dartText = (text) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('$', '\\$')}'`;

const resolved = (schema) => (schema.$ref ? follow(schema.$ref) : schema);
const dartType = (schema) => {
  const inner = resolved(schema);
  if (isObject(inner)) return named(schema.$ref);
  switch (inner.type) {
    case 'string': return inner.format === 'date-time' ? 'DateTime' : 'String';
    case 'integer': return 'int';
    case 'number': return 'num';
    case 'boolean': return 'bool';
    case 'array': return `List<${dartType(inner.items)}>`;
    default: throw new Error(`no Dart for ${JSON.stringify(schema)}`);
  }
};

const dartRead = (schema, value) => {
  const type = dartType(schema);
  if (isObject(resolved(schema))) return `${type}.fromJson((${value} as Map).cast<String, dynamic>())`;
  if (type === 'DateTime') return `DateTime.parse(${value} as String)`;
  if (type === 'int') return `(${value} as num).toInt()`;
  if (type.startsWith('List<')) return `[for (final one in ${value} as List) ${dartRead(resolved(schema).items, 'one')}]`;
  return `${value} as ${type}`;
};

const dartWrite = (schema, value) => (dartType(schema) === 'DateTime' ? `${value}.toUtc().toIso8601String()` : value);

const dartClass = ([name, schema]) => {
  const fields = Object.entries(schema.properties ?? {}).map(([field, inner]) => ({ field, inner, name: dartField(field), needed: schema.required?.includes(field) ?? false }));
  const lines = [`${dartDoc(schema.description)}final class ${name} {\n`];
  const parameters = fields.map(({ name: own, needed }) => `${needed ? 'required ' : ''}this.${own}`);
  lines.push(parameters.length ? `  const ${name}({${parameters.join(', ')}});\n` : `  const ${name}();\n`);
  if (name.endsWith('Request')) {
    const entries = fields.map(({ field, inner, name: own, needed }) => (needed ? `        ${dartText(field)}: ${dartWrite(inner, own)},\n` : `        if (${own} != null) ${dartText(field)}: ${dartWrite(inner, `${own}!`)},\n`));
    lines.push(entries.length ? `\n  Map<String, dynamic> toJson() => {\n${entries.join('')}      };\n` : '\n  Map<String, dynamic> toJson() => {};\n');
  } else {
    const entries = fields.map(({ field, inner, name: own, needed }) => {
      const value = `json[${dartText(field)}]`;
      return `        ${own}: ${needed ? '' : `${value} == null ? null : `}${dartRead(inner, value)},\n`;
    });
    lines.push(entries.length ? `\n  factory ${name}.fromJson(Map<String, dynamic> json) => ${name}(\n${entries.join('')}      );\n` : `\n  factory ${name}.fromJson(Map<String, dynamic> json) => const ${name}();\n`);
  }
  for (const { inner, name: own, needed } of fields) lines.push(`\n${dartDoc(inner.description, '  ')}  final ${dartType(inner)}${needed ? '' : '?'} ${own};\n`);
  return `${lines.join('')}}\n`;
};

const dartWords = (name, doc, words) => `${dartDoc(doc)}abstract final class ${name} {\n${words.map(([word, meaning]) => `${dartDoc(meaning, '  ')}  static const ${camel(word)} = ${dartText(word)};\n`).join('')}}\n`;

const dart = () => {
  const classes = schemas.filter(([, schema]) => isObject(schema)).map(dartClass);
  const words = schemas.filter(([name, schema]) => schema.enum && name !== 'ErrorCode').map(([name, schema]) => dartWords(`${name}Words`, schema.description, schema.enum.map((word) => [word])));
  return [
    `// ${HEAD}\n`,
    dartWords('ClientEvents', 'Events a client may send.', events('receive').map(({ name, older, summary }) => [name, older ? `${summary} Older name of ${older}.` : summary])),
    dartWords('ServerEvents', 'Events the server sends.', events('send').map(({ name, summary }) => [name, summary])),
    dartWords('ErrorCodes', 'Why a request was refused.', codes.map(([code, { meaning }]) => [code, meaning])),
    ...words,
    `/// What an ack says: what was asked for, or why not.
final class Answer<T> {
  const Answer._(this.accepted, this.refused);

  /// Reads an ack: \`Answer.read(data, DmSyncAccepted.fromJson)\`.
  factory Answer.read(Object? data, T Function(Map<String, dynamic>) accepted) {
    final json = (data as Map).cast<String, dynamic>();
    return json['ok'] == true ? Answer._(accepted(json), null) : Answer._(null, Refused.fromJson(json));
  }

  final T? accepted;
  final Refused? refused;
}
`,
    ...classes,
  ].join('\n');
};

const made = { 'typescript/samvad.ts': typescript(), 'dart/lib/samvad.dart': dart() };
let stale = false;
for (const [path, text] of Object.entries(made)) {
  const file = at(`./${path}`);
  if (process.argv.includes('--check')) {
    if (readFileSync(file, 'utf8') !== text) {
      console.error(`clients/${path} is not what clients/generate.mjs makes of docs/asyncapi.json`);
      stale = true;
    }
  } else {
    writeFileSync(file, text);
  }
}
process.exitCode = stale ? 1 : 0;
