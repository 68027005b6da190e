"""`greenmail doctor`: an audit of Maildirs, repairs that can be taken back, and the rebuilding of our own index files.

    command   the verbs                    finding   what a check says          checks   the table of all checks
    target    whose mail is looked at      survey    what lies in a mailbox     audit    runs the checks on one account
    report    text and JSON                repair    carries out `--fix`        undo     the undo log, and the way back

One module for each family of faults: uidlist_faults, message_files, sizes, keyword_letters, lock_files, leftovers,
mailbox_names, ownership, maildirsize, pop3_forecast. To add a check: one function there, one line in `checks`.
"""
