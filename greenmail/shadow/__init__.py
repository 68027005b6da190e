"""`greenmail shadow`: the rehearsal before a switch. Logs in to the old server and to GreenMail as a client, reading
only, and names whatever a client would see differently.

    command   the options                     place     URLs, and what is believed of certificates
    logins    users, passwords, master users  records   the answers that imaplib gives, taken apart
    client    an IMAP connection              popper    a POP3 connection
    names     mailboxes, subscriptions        messages  UIDs, flags, dates, sizes      bodies    octets of a sample
    account   all of one user                 kinds     every kind of difference       report    text and JSON
    verbs     all users, one after another    private   a GreenMail for the time of the comparison

To add something to be compared: a line in `kinds`, and a function that yields `Difference`s of that kind.
"""
