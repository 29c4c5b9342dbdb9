// HTTP to the server this page came from.

export interface Failure {
  ok: false;
  code: string;
  message: string;
  retryAfterMs?: number;
}

export type Credential = { token: string } | { adminKey: string };

export type Answer<T> = { ok: true; data: T } | Failure;

/** One request in the envelope of the REST routes. Never throws. */
export async function rest<T>(method: 'GET' | 'POST', path: string, credential?: Credential, body?: unknown): Promise<Answer<T>> {
  const headers: Record<string, string> = {};
  if (credential && 'token' in credential) headers['authorization'] = `Bearer ${credential.token}`;
  if (credential && 'adminKey' in credential) headers['x-admin-key'] = credential.adminKey;
  if (body !== undefined) headers['content-type'] = 'application/json';
  try {
    const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const answer = await response.json();
    if (answer.success) return { ok: true, data: answer.data };
    return { ok: false, code: answer.code ?? `HTTP_${response.status}`, message: answer.message ?? response.statusText, retryAfterMs: answer.retryAfterMs };
  } catch {
    return { ok: false, code: 'NO_ANSWER', message: 'The server does not answer' };
  }
}

/** An admin key, or a token of an admin: a token has three parts joined by dots. */
export function credentialOf(text: string): Credential {
  const bare = text.trim().replace(/^Bearer\s+/i, '');
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(bare) ? { token: bare } : { adminKey: bare };
}
