// imapflow against a running server. Usage: node imapflow.mjs PORT CERTIFICATE
import assert from 'node:assert';
import fs from 'node:fs';
import { ImapFlow } from 'imapflow';

const client = new ImapFlow({
    host: 'localhost', port: Number(process.argv[2]), secure: true, logger: false,
    auth: { user: 'alice', pass: 'secret' }, tls: { ca: fs.readFileSync(process.argv[3]) },
});
await client.connect();
const names = (await client.list()).map((box) => box.path);
assert(names.includes('INBOX') && names.includes('Entwürfe'), names);
const lock = await client.getMailboxLock('INBOX');
try {
    assert.equal(client.mailbox.exists, 10);
    const seen = [];
    for await (const message of client.fetch('1:*', { uid: true, flags: true, envelope: true, bodyStructure: true, size: true })) {
        seen.push(message.envelope.subject);
    }
    assert.deepEqual(seen, Array.from({ length: 10 }, (_, n) => `message ${n + 1}`));
    const source = await client.fetchOne('3', { source: true });
    assert(source.source.includes('Body of message 3.'));
    const { content } = await client.download('2');
    let octets = 0;
    for await (const piece of content) octets += piece.length;
    assert(octets > 100);
    assert.deepEqual(await client.search({ subject: 'message 7' }), [7]);
    assert(await client.messageFlagsAdd('1:2', ['\\Flagged', '$Work']));
    assert.deepEqual(await client.search({ flagged: true }), [1, 2]);
    const moved = await client.messageMove('1', 'Archive');
    assert.equal(moved.uidMap.size, 1);
    assert(await client.messageDelete('1'));
    await client.noop();
    assert.equal(client.mailbox.exists, 8);
} finally {
    lock.release();
}
const appended = await client.append('Sent', 'Subject: by imapflow\r\n\r\nhello\r\n', ['\\Seen'], new Date());
assert(appended.uid > 0);
await client.mailboxCreate(['Proj', 'Äpfel']);
await client.mailboxRename(['Proj', 'Äpfel'], ['Proj', 'Birnen']);
await client.mailboxDelete(['Proj', 'Birnen']);
const status = await client.status('Sent', { messages: true, unseen: true, uidNext: true });
assert.equal(status.messages, 1);
await client.logout();
console.log('all done');
