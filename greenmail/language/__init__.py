"""What the server says to people, in other languages than English: LANGUAGE (RFC 5255 3) and LANG (RFC 6856 3).

Texts are English where they are made, and are translated where they are sent. A language is a module with its tag, its
name, and a table from English texts; what the table lacks goes into its sentence OTHERWISE. To add a language: such a
module, and its line in `choice.TABLES`.
"""
