// Messages as they are shown, and how what is heard of one is brought together.

import type { Payload } from './line';
import type { Kind, Person } from './people';

export type Status = 'pending' | 'failed' | 'sent' | 'delivered' | 'read';

export interface Message {
  _id: string;
  clientMessageId?: string;
  conversationKey: string;
  senderId: string;
  senderType: Kind;
  senderName?: string;
  recipientId: string;
  recipientType: Kind;
  content: string;
  messageType: string;
  mediaUrl?: string;
  replyTo?: string;
  status: Status;
  createdAt: string;
  isDeleted: boolean;
  callType?: 'voice' | 'video';
  callStatus?: string;
  callDuration?: number;
  /** Why it could not be sent. */
  failure?: string;
}

const RANK: Record<Status, number> = { failed: 0, pending: 1, sent: 2, delivered: 3, read: 4 };

/** A status never goes back, in whatever order it is heard. */
export function later(a: Status, b: Status): Status {
  return RANK[b] > RANK[a] ? b : a;
}

export function messageOf(payload: Payload): Message {
  return payload as Message;
}

export function senderOf(message: Message): Person {
  return { id: message.senderId, type: message.senderType, name: message.senderName };
}

/** Puts one in its place, `(createdAt, _id)`, or brings it together with what is there. What is on its way stands last. */
export function merged(list: Message[], message: Message): Message[] {
  const isIt = (other: Message) =>
    other._id === message._id || (message.clientMessageId !== undefined && other.clientMessageId === message.clientMessageId && other.senderType === message.senderType && other.senderId === message.senderId);
  const known = list.find(isIt);
  const one = known ? { ...known, ...message, status: later(known.status, message.status), isDeleted: known.isDeleted || message.isDeleted } : message;
  if (one.status !== 'failed' && one.status !== 'pending') delete one.failure;
  return [...list.filter((other) => !isIt(other)), one].sort(inOrder);
}

function inOrder(a: Message, b: Message): number {
  const waits = (message: Message) => Number(message.status === 'pending' || message.status === 'failed');
  return waits(a) - waits(b) || compare(a.createdAt, b.createdAt) || compare(a._id, b._id);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A line that stands for a message in a list. */
export function summary(message: Pick<Message, 'content' | 'messageType' | 'isDeleted'> & { mediaUrl?: string }): string {
  if (message.isDeleted) return 'Message deleted';
  return message.content || { image: 'Image', audio: 'Audio', video: 'Video', file: 'File', location: 'Location' }[message.messageType] || '';
}
