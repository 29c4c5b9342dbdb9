// Collections as docs/protocol.md#models describes them, and the indexes these queries need. Schemas serve reading and indexes; the two
// busiest writes go to the driver underneath (`Model.collection`), because casting a document we have just made ourselves costs CPU.

import mongoose from "mongoose";
import { settings } from "./settings.mjs";

const { Schema } = mongoose;
export const { ObjectId } = mongoose.Types;
mongoose.set("bufferCommands", false);

const date = { createdAt: Date, updatedAt: Date };
const options = (collection) => ({ collection, autoIndex: false, autoCreate: false, minimize: false });

const messages = new Schema(
  {
    conversationId: String, conversationRef: Schema.Types.ObjectId,
    senderId: String, senderType: String, senderName: String, senderAvatar: String, recipientId: String, recipientType: String,
    messageType: String, content: String, mediaUrl: String, mediaSize: Number, mediaDuration: Number, thumbnailUrl: String,
    status: String, readAt: Date, deliveredAt: Date, replyTo: Schema.Types.ObjectId, replyToId: Schema.Types.ObjectId,
    callType: String, callStatus: String, callDuration: Number, callId: Schema.Types.Mixed,
    isDeleted: Boolean, deletedAt: Date, deletedBy: [String], clientMessageId: String, timestamp: Date, ...date,
  },
  options("directmessages"),
);
// History: ids grow with time, so the id alone is order and cursor.
messages.index({ conversationId: 1, _id: -1 });
// What is unread.
messages.index({ conversationId: 1, recipientType: 1, status: 1 });
// A resent message. Partial: most documents of older programs have no such field.
messages.index(
  { senderType: 1, senderId: 1, clientMessageId: 1 },
  { unique: true, partialFilterExpression: { clientMessageId: { $exists: true } } },
);

const conversations = new Schema(
  {
    conversationId: String, participants: [Schema.Types.Mixed], conversationType: String, lastMessage: Schema.Types.Mixed,
    lastMessageAt: Date, lastMessageSenderId: String, lastMessageSenderType: String, unreadCount: Schema.Types.Mixed,
    isActive: Boolean, contextType: String, aliases: [String], ...date,
  },
  options("directconversations"),
);
conversations.index({ conversationId: 1 }, { unique: true });
conversations.index({ "participants.id": 1, lastMessageAt: -1, _id: -1 });

const calls = new Schema(
  {
    callerId: String, callerType: String, callerName: String, calleeId: String, calleeType: String, recipientId: String,
    recipientType: String, callType: String, status: String, agoraChannelName: String, channelName: String, agoraUid: Number,
    conversationId: String, initiatedAt: Date, startedAt: Date, ringingAt: Date, answeredAt: Date, acceptedAt: Date, connectedAt: Date,
    endedAt: Date, ringDeadline: Date, duration: Number, serverDuration: Number, endReason: String, endDetail: String, endedBy: String,
    endedByType: String, open: Boolean, ...date,
  },
  options("calls"),
);
// Somebody's calls, and among them the one that is not over.
calls.index({ callerId: 1, open: 1 });
calls.index({ recipientId: 1, open: 1 });
// Calls that have rung too long. Few, however many there have been.
calls.index({ open: 1, ringDeadline: 1 }, { partialFilterExpression: { open: true } });

export const Message = mongoose.model("DirectMessage", messages);
export const Conversation = mongoose.model("DirectConversation", conversations);
export const Call = mongoose.model("Call", calls);

/** Connects; every write waits for the journal of a majority. */
export async function connect({ makeIndexes }) {
  await mongoose.connect(settings.mongodbUri, {
    dbName: settings.mongodbName,
    maxPoolSize: settings.poolSize,
    writeConcern: { w: "majority", journal: true },
    autoIndex: false,
    autoCreate: false,
  });
  if (makeIndexes) await Promise.all([Message, Conversation, Call].map((model) => model.createIndexes()));
}

export const disconnect = () => mongoose.disconnect();
export const isConnected = () => mongoose.connection.readyState === 1;
export const isDuplicate = (error) => error?.code === 11000;
