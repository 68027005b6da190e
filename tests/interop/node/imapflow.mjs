// imapflow against a running server. Usage: node imapflow.mjs PORT CERTIFICATE
import assert from 'node:assert';
import fs from 'node:fs';
import { ImapFlow } from 'imapflow';

const client = new ImapFlow({
    host: 'localhost', port: Number(process.argv[2]), secure: true, logger: false,
    auth: { user: 'alice', pass: 'secret' }, tls: { ca: fs.readFileSync(process.argv[3]) },
});
await client.connect();
assert(client._deflate && client._inflate, 'COMPRESS=DEFLATE is not in use');
const quota = await client.getQuota('INBOX');
assert.equal(quota.quotaRoot, 'User quota');
assert.deepEqual([quota.storage.limit, quota.message.usage, quota.message.limit], [10485760, 10, 1000]);
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
    const { mailboxId } = client.mailbox;
    const { emailId } = await client.fetchOne('1', { uid: true });
    assert(mailboxId && emailId, 'OBJECTID');
    const moved = await client.messageMove('1', 'Archive');
    assert.equal(moved.uidMap.size, 1);
    await client.mailboxOpen('Archive');
    assert.notEqual(client.mailbox.mailboxId, mailboxId);
    assert.equal((await client.fetchOne(String(client.mailbox.exists), { uid: true })).emailId, emailId);
    await client.mailboxOpen('INBOX');
    assert.equal(client.mailbox.mailboxId, mailboxId);
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
const gone = [], changed = [];
const other = new ImapFlow({
    host: 'localhost', port: Number(process.argv[2]), secure: true, logger: false, qresync: true,
    auth: { user: 'alice', pass: 'secret' }, tls: { ca: fs.readFileSync(process.argv[3]) },
});
other.on('expunge', (event) => gone.push(event));
other.on('flags', (event) => changed.push(event));
await other.connect();
assert(other.enabled.has('QRESYNC') && other.enabled.has('CONDSTORE'));
const { uidValidity, highestModseq, exists } = await other.mailboxOpen('INBOX');
await other.mailboxClose();
const again = await client.getMailboxLock('INBOX');
try {
    assert(await client.messageFlagsAdd('2', ['$Label1'], {}));
    assert(await client.messageDelete('1'));
} finally {
    again.release();
}
const opened = await other.mailboxOpen('INBOX', { uidValidity, changedSince: highestModseq });
assert.equal(opened.exists, exists - 1);
assert(opened.highestModseq > highestModseq);
assert.equal(gone.length, 1);
assert(gone[0].vanished && gone[0].earlier, gone);
assert.equal(changed.length, 1);
assert(changed[0].flags.has('$Label1') && changed[0].modseq > highestModseq, changed);
const newer = [];
for await (const message of other.fetch('1:*', { flags: true }, { uid: true, changedSince: highestModseq })) newer.push(message.uid);
assert.deepEqual(newer, [changed[0].uid]);
assert(await other.messageDelete('1'));
assert(gone.some((event) => event.vanished && !event.earlier), gone);
assert.equal((await other.status('INBOX', { messages: true })).messages, exists - 2);
await other.logout();
await client.logout();
console.log('all done');
