// Who somebody is, and which conversations are theirs. Identity comes from the token alone.

import { createSecretKey } from "node:crypto";
import jwt from "jsonwebtoken";
import { settings } from "./settings.mjs";
import { Refusal } from "./failure.mjs";

// A key object once; from a text jsonwebtoken would make one for every token.
const key = createSecretKey(Buffer.from(settings.jwtSecret));
const ID = /^[A-Za-z0-9_-]{1,64}$/;
const TYPES = new Set(["admin", "astrologer", "user"]);

/** The person of a token. All admins are one identity. */
export function verify(token) {
  if (typeof token !== "string" || !token) throw new Refusal("auth.missing");
  let claims;
  try {
    claims = jwt.verify(token, key, { algorithms: ["HS256"], clockTolerance: 60 });
  } catch (error) {
    throw new Refusal(error.name === "TokenExpiredError" ? "auth.expired" : "auth.invalid");
  }
  const type = claims.astrologerId ? "astrologer" : (claims.type ?? claims.userType ?? claims.role);
  const id = String(claims.astrologerId ?? claims.userId ?? claims.id ?? claims._id ?? claims.sub ?? "");
  if (!claims.exp || !TYPES.has(type) || !ID.test(id) || (id === "admin" && type !== "admin")) throw new Refusal("auth.invalid");
  return { id, type, identity: type === "admin" ? "admin" : id, name: claims.name, picture: claims.profilePicture };
}

export function participant(id, type) {
  if (type === "admin") return { id: id ?? "admin", type, identity: "admin" };
  if (!id || !ID.test(id) || !TYPES.has(type)) throw new Refusal("INVALID_PAYLOAD", "a person is an id and a type");
  return { id, type, identity: id };
}

export const isSame = (a, b) => a.type === b.type && a.identity === b.identity;
export const personal = (person) => `p:${person.type}:${person.identity}`;
export const room = (conversation) => `c:${conversation}`;

const written = (id) => id.replaceAll("_", "~");
const read = (id) => id.replaceAll("~", "_");

/** The canonical key of two people and what kind of conversation theirs is; admin first, then user, then astrologer. */
export function conversationOf(a, b) {
  const rank = { admin: 0, user: 1, astrologer: 2 };
  const [first, second] = rank[a.type] <= rank[b.type] ? [a, b] : [b, a];
  if (isSame(a, b)) throw new Refusal("SELF_CONVERSATION_BLOCKED");
  if (first.type === second.type) throw new Refusal("FORBIDDEN", "these two may not write to each other");
  if (first.type === "user") return { key: `user_${written(first.id)}_${written(second.id)}`, type: "user_astrologer" };
  return second.type === "user"
    ? { key: `admin_user_${written(second.id)}`, type: "admin_user" }
    : { key: `admin_${written(second.id)}`, type: "admin_astrologer" };
}

/** The two people a canonical key names; undefined for any other text. */
export function partiesOf(conversation) {
  if (typeof conversation !== "string") return undefined;
  const parts = conversation.split("_");
  const admin = { id: "admin", type: "admin", identity: "admin" };
  const other = (type, id) => ({ id: read(id), type, identity: read(id) });
  if (parts.length === 3 && parts[0] === "user") return [other("user", parts[1]), other("astrologer", parts[2])];
  if (parts.length === 3 && parts[0] === "admin" && parts[1] === "user") return [admin, other("user", parts[2])];
  if (parts.length === 2 && parts[0] === "admin") return [admin, other("astrologer", parts[1])];
  return undefined;
}

/** The other person of a conversation `me` takes part in; undefined when it is none of theirs. */
export function otherIn(conversation, me) {
  const parties = partiesOf(conversation);
  if (!parties) return undefined;
  if (isSame(parties[0], me)) return parties[1];
  return isSame(parties[1], me) ? parties[0] : undefined;
}
