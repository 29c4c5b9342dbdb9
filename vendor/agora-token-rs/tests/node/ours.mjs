// Drives the Rust crate through its example program, one process per request: JSON in, JSON out.

import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const manifest = fileURLToPath(new URL('../../Cargo.toml', import.meta.url));

// Cargo says where it put the program; guessing would break with another target directory.
function compileExample() {
  const messages = execFileSync(
    'cargo',
    ['build', '--quiet', '--manifest-path', manifest, '--example', 'agora_token', '--message-format', 'json'],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 64 * 1024 * 1024 },
  );
  const artifacts = messages.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  const example = artifacts.find((artifact) => artifact.executable && artifact.target.name === 'agora_token');
  if (!example) throw new Error('cargo built no agora_token example');
  return example.executable;
}

const program = compileExample();

function ask(command, request) {
  const { stdout, stderr, error } = spawnSync(program, [command], { input: JSON.stringify(request), encoding: 'utf8' });
  if (error) throw error;
  if (!stdout) throw new Error(`agora_token ${command} gave no answer: ${stderr}`);
  return JSON.parse(stdout);
}

export function build(request) {
  const answer = ask('build', request);
  if (answer.error) throw new Error(answer.error);
  return answer.token;
}

// Answers with `error` instead of throwing when the token cannot be read.
export const parse = (request) => ask('parse', request);
