// Compiled in scripts/test, never run: what an app writes with the types, and what they refuse.

import { io, type Socket } from 'socket.io-client';

import type { AnswerTo, ClientToServerEvents, ErrorCode, Message, ServerToClientEvents } from './samvad';

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io('http://localhost:3000', { auth: { token: '' } });

const show = (message: Message) => console.log(message.senderName ?? message.senderId, message.content, message.createdAt);

socket.on('connected', ({ user, protocol }) => console.log(user.type, user.id, protocol));
socket.on('dm:message_received', show);
socket.on('dm:messages_read', ({ messageIds, readAt }) => console.log(messageIds.length, readAt));
socket.on('call:incoming', (call) => console.log(call.callType, call.agoraToken ?? 'no token'));
socket.on('dm:error', ({ code, retryAfterMs }) => console.error(code, retryAfterMs ?? 0));

export const send = async (conversationId: string, content: string): Promise<Message> => {
  const sent = { conversationId, content, clientMessageId: crypto.randomUUID() };
  const answer: AnswerTo<'dm:send_message'> = await socket.timeout(10_000).emitWithAck('dm:send_message', sent);
  if (answer.ok) return answer.message;
  const code: ErrorCode = answer.code;
  throw new Error(code);
};

export const catchUp = async (conversationId: string, after: string) => {
  const answer = await socket.emitWithAck('dm:sync', { conversationId, after, limit: 200 });
  return answer.ok ? answer.messages : [];
};

socket.emit('get_stats', {}, (answer) => console.log(answer.ok));

// @ts-expect-error there is no such event
socket.on('dm:message_recieved', show);
// @ts-expect-error a conversation must be named
socket.emit('dm:join_conversation', {}, () => {});
// @ts-expect-error there is no such kind
socket.emit('dm:send_message', { conversationId: 'c', messageType: 'sticker' }, () => {});
// @ts-expect-error a refusal has no message object
socket.emit('dm:send_message', { conversationId: 'c' }, (answer) => show(answer.message));

export const typed = async () => {
  const answer = await socket.emitWithAck('dm:mark_read', { conversationId: 'c' });
  // @ts-expect-error the answer may be a refusal
  return answer.unreadCount;
};
