// Who somebody is, and how a conversation of two is called.

export type Kind = 'admin' | 'astrologer' | 'user';

export interface Person {
  id: string;
  type: Kind;
  name?: string;
}

export interface DemoPerson extends Person {
  name: string;
  token: string;
  expiresAt: string;
}

export const KINDS: Kind[] = ['user', 'astrologer', 'admin'];

/** All admins are one person to everybody. */
export function isSame(a: Person, b: Person): boolean {
  return a.type === b.type && (a.type === 'admin' || a.id === b.id);
}

/** Where the conversation of two people lives. `undefined`: these two have none. */
export function canonicalKey(a: Person, b: Person): string | undefined {
  const inKey = (person: Person) => person.id.replaceAll('_', '~');
  const of = (kind: Kind) => [a, b].find((person) => person.type === kind);
  const [admin, astrologer, user] = [of('admin'), of('astrologer'), of('user')];
  if (admin && astrologer) return `admin_${inKey(astrologer)}`;
  if (admin && user) return `admin_user_${inKey(user)}`;
  if (user && astrologer) return `user_${inKey(user)}_${inKey(astrologer)}`;
  return undefined;
}

export function nameOf(person: Person): string {
  return person.name ?? (person.type === 'admin' ? 'Admin' : person.id);
}

export function initials(person: Person): string {
  const words = nameOf(person).split(/[\s_-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]].map((word) => word![0]) : [words[0]?.slice(0, 2)];
  return letters.join('').toUpperCase();
}

/** The claims of a token, unchecked: only to show what somebody pasted. */
export function claimsOf(token: string): Record<string, unknown> | undefined {
  try {
    const part = token.replace(/^Bearer\s+/i, '').split('.')[1]!;
    return JSON.parse(new TextDecoder().decode(bytesOfBase64(part.replaceAll('-', '+').replaceAll('_', '/'))));
  } catch {
    return undefined;
  }
}

export function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
