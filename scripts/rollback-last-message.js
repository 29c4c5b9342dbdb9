// Before going back to the Node backend: it keeps the text of the latest message where we keep an object, and its lists show nothing else.
//
//   mongosh "mongodb://…/app" scripts/rollback-last-message.js
//
// Stop this server first. Can be repeated, and be undone by starting this server again: it reads both.
// From MongoDB 4.2 on (an update with a pipeline).
db.runCommand({
  "update": "directconversations",
  "updates": [
    {
      "q": { "lastMessage": { "$type": "object" } },
      "u": [{ "$set": { "lastMessage": { "$ifNull": ["$lastMessage.content", ""] } } }],
      "multi": true
    }
  ],
  "writeConcern": { "w": "majority", "j": true }
});
